//! What replicas count of breakers that fail, published and read.

use std::collections::BTreeSet;
use std::time::Duration;

use breaker::{
    AgedCalls, CallCounts, CallerId, CallerSighting, FailureRun, Key, PublishedCounts, ReadCounts,
};
use breakerd::store::{COUNTS_MAX, CountCursor, CountExchange, CountPage, Told};
use sqlx::postgres::PgListener;

use super::bed::SharedBed;
use super::on_every_shared_store;
use crate::store_contract::change::key;

on_every_shared_store!(
    what_one_publishes_the_others_read,
    what_was_published_before_is_overwritten,
    each_epoch_has_counts_of_its_own,
    what_was_counted_under_another_timeline_is_not_read,
    only_what_is_fresh_is_read,
    whoever_exchanges_is_live_for_three_seconds,
    a_page_goes_on_where_the_one_before_ended,
    as_many_breakers_as_are_allowed_are_published_at_once,
    an_exchange_is_no_change,
);

/// Long beside what a test takes.
const LONG: Duration = Duration::from_hours(1);

fn exchange(boot: u64, published: Vec<(Key, PublishedCounts)>) -> CountExchange {
    CountExchange {
        replica: format!("replica-{boot}").into(),
        boot,
        timeline: 0,
        published,
        hints: false,
        fresher_than: LONG,
        live_within: Duration::from_secs(3),
        after: None,
        limit: 1_000,
    }
}

fn counts(failures: u64) -> PublishedCounts {
    let calls = CallCounts { successes: 7, slow_successes: 1, failures, slow_failures: 2 };
    let sighting = |caller| CallerSighting { caller: CallerId(caller), age: Duration::from_millis(30) };
    PublishedCounts {
        epoch: 4,
        series: 1_767_225_600_000_000,
        total: calls,
        window: vec![
            AgedCalls { age: None, calls: CallCounts { successes: 7, ..CallCounts::default() } },
            AgedCalls { age: Some(Duration::from_millis(20)), calls },
        ],
        run: Some(FailureRun { failures: 3, age: Duration::from_millis(90) }),
        success_age: Some(Duration::from_millis(100)),
        failed_callers: vec![sighting(u64::MAX), sighting(1)],
        slow_callers: vec![sighting(2)],
        trouble_age: Some(Duration::from_millis(20)),
    }
}

async fn ask(bed: &SharedBed, exchange: &CountExchange) -> CountPage {
    bed.store.exchange_counts(exchange).await.unwrap()
}

/// What is read, without its age.
async fn read(bed: &SharedBed, exchange: &CountExchange) -> Vec<(Key, u64, PublishedCounts)> {
    let page = ask(bed, exchange).await;
    assert_eq!(page.next, None);
    page.rows.into_iter().map(|(key, ReadCounts { boot, counts, .. })| (key, boot, counts)).collect()
}

async fn what_one_publishes_the_others_read(bed: &mut SharedBed) {
    let (a, b) = (key("a", ""), key("b", "x"));
    let first = ask(bed, &exchange(1, vec![(b.clone(), counts(5)), (a.clone(), counts(6))])).await;
    assert_eq!(first.rows, [], "its own it knows");
    bed.pass(Duration::from_millis(250)).await;
    let page = ask(bed, &exchange(2, vec![(a.clone(), counts(9))])).await;
    let brief: Vec<_> = page.rows.iter().map(|(key, read)| (key.clone(), read.boot)).collect();
    assert_eq!(brief, [(a.clone(), 1), (b.clone(), 1)]);
    assert_eq!(page.rows[0].1.counts, counts(6));
    assert_eq!(page.rows[1].1.counts, counts(5));
    for (_, read) in &page.rows {
        assert!(
            read.age >= Duration::from_millis(250) && read.age < Duration::from_mins(2),
            "{:?}",
            read.age
        );
    }
    assert_eq!(read(bed, &exchange(1, vec![])).await, [(a, 2, counts(9))]);
}

async fn what_was_published_before_is_overwritten(bed: &mut SharedBed) {
    let a = key("a", "");
    ask(bed, &exchange(1, vec![(a.clone(), counts(5))])).await;
    bed.pass(Duration::from_secs(5)).await;
    ask(bed, &exchange(1, vec![(a.clone(), counts(8))])).await;
    let recent = CountExchange { fresher_than: Duration::from_secs(4), ..exchange(2, vec![]) };
    assert_eq!(read(bed, &recent).await, [(a, 1, counts(8))]);
}

async fn each_epoch_has_counts_of_its_own(bed: &mut SharedBed) {
    let a = key("a", "");
    let later = PublishedCounts { epoch: 6, ..counts(1) };
    ask(bed, &exchange(1, vec![(a.clone(), counts(5))])).await;
    ask(bed, &exchange(1, vec![(a.clone(), later.clone())])).await;
    assert_eq!(read(bed, &exchange(2, vec![])).await, [(a.clone(), 1, counts(5)), (a, 1, later)]);
}

async fn what_was_counted_under_another_timeline_is_not_read(bed: &mut SharedBed) {
    let a = key("a", "");
    ask(bed, &exchange(1, vec![(a.clone(), counts(5))])).await;
    let other = CountExchange { timeline: 9, ..exchange(2, vec![(a.clone(), counts(6))]) };
    assert_eq!(read(bed, &other).await, []);
    assert_eq!(read(bed, &exchange(3, vec![])).await, [(a.clone(), 1, counts(5))]);
    // The same replica goes on under the other one.
    ask(bed, &CountExchange { timeline: 9, ..exchange(1, vec![(a.clone(), counts(7))]) }).await;
    assert_eq!(read(bed, &exchange(3, vec![])).await, []);
    assert_eq!(read(bed, &CountExchange { timeline: 9, ..exchange(2, vec![]) }).await, [(a, 1, counts(7))]);
}

async fn only_what_is_fresh_is_read(bed: &mut SharedBed) {
    let (a, b) = (key("a", ""), key("b", ""));
    ask(bed, &exchange(1, vec![(a.clone(), counts(5))])).await;
    bed.pass(Duration::from_secs(6)).await;
    ask(bed, &exchange(1, vec![(b.clone(), counts(6))])).await;
    let fresh = CountExchange { fresher_than: Duration::from_secs(5), ..exchange(2, vec![]) };
    assert_eq!(read(bed, &fresh).await, [(b.clone(), 1, counts(6))]);
    bed.pass(Duration::from_secs(6)).await;
    // Whoever comes by deletes what is older than ten seconds.
    ask(bed, &exchange(2, vec![])).await;
    assert_eq!(read(bed, &exchange(2, vec![])).await, [(b, 1, counts(6))]);
    if let Some(database) = bed.database() {
        assert_eq!(database.text("SELECT count(*)::text FROM counts").await.as_deref(), Some("1"));
    }
}

async fn whoever_exchanges_is_live_for_three_seconds(bed: &mut SharedBed) {
    let boots = [1, u64::MAX, u64::MAX / 2 + 1];
    for boot in boots {
        ask(bed, &exchange(boot, vec![])).await;
    }
    let page = ask(bed, &exchange(7, vec![])).await;
    assert_eq!((page.rows, page.live), (vec![], BTreeSet::from(boots)));
    bed.pass(Duration::from_millis(3_500)).await;
    ask(bed, &exchange(1, vec![])).await;
    assert_eq!(ask(bed, &exchange(7, vec![])).await.live, BTreeSet::from([1]));
}

async fn a_page_goes_on_where_the_one_before_ended(bed: &mut SharedBed) {
    let services = ["B", "a", "a.b", "a_b", "b"];
    for boot in [1, 2] {
        let published = services.iter().map(|service| (key(service, ""), counts(boot))).collect();
        ask(bed, &exchange(boot, published)).await;
    }
    for limit in [0, 1, 2, 3, 9, 10, 11] {
        let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let request = CountExchange { after: after.clone(), limit, ..exchange(3, vec![]) };
            let page = ask(bed, &request).await;
            assert!(page.rows.len() <= limit.max(1) as usize);
            assert_eq!(page.live, BTreeSet::from([1, 2]), "limit {limit}, after {after:?}");
            seen.extend(page.rows.into_iter().map(|(key, read)| (key.service().to_string(), read.boot)));
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // Bytes, and no alphabet of any language.
        let expected = services.iter().flat_map(|service| [1, 2].map(|boot| ((*service).to_owned(), boot)));
        assert_eq!(seen, expected.collect::<Vec<_>>(), "limit {limit}");
        assert_eq!(pages, 10_u32.div_ceil(limit.max(1)), "limit {limit}");
    }
    let behind = CountCursor { key: key("b", ""), boot: 2, epoch: 4 };
    let request = CountExchange { after: Some(behind), ..exchange(3, vec![]) };
    let page = ask(bed, &request).await;
    assert_eq!((page.rows, page.live), (vec![], BTreeSet::from([1, 2])), "nothing is behind it");
}

async fn as_many_breakers_as_are_allowed_are_published_at_once(bed: &mut SharedBed) {
    let published: Vec<_> =
        (0..COUNTS_MAX).map(|number| (key("db", &format!("{number:04}")), counts(3))).collect();
    ask(bed, &exchange(1, published.clone())).await;
    let page = ask(bed, &exchange(2, vec![])).await;
    assert_eq!((page.rows.len(), page.next), (COUNTS_MAX, None));
    assert!(page.rows.iter().zip(&published).all(|((read, _), (key, _))| read == key));
}

async fn an_exchange_is_no_change(bed: &mut SharedBed) {
    let mut listener = None;
    if let Some(database) = bed.database() {
        let breakerd::store::Target::Postgres(url) = &database.target else { unreachable!() };
        let mut heard = PgListener::connect(url).await.unwrap();
        heard.listen_all(["breakerd", "breakerd_counts"]).await.unwrap();
        listener = Some(heard);
    }
    let revision = bed.store.revision().await.unwrap();
    let published = vec![(key("a", ""), counts(5))];
    ask(bed, &exchange(1, published.clone())).await;
    ask(bed, &CountExchange { hints: true, ..exchange(1, published) }).await;
    ask(bed, &exchange(1, vec![])).await;
    assert_eq!(bed.store.revision().await.unwrap(), revision);
    if let Some(mut listener) = listener {
        let heard = listener.recv().await.unwrap();
        assert_eq!((heard.channel(), heard.payload()), ("breakerd_counts", ""));
        let more = tokio::time::timeout(Duration::from_millis(200), listener.recv()).await;
        assert!(more.is_err(), "one hint, and nothing else: {more:?}");
    }
}

/// A store in memory tells of nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_listens_is_told_of_a_hint() {
    let bed = SharedBed::postgres().await;
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let told = move |told| {
        let _ = sender.send(told);
    };
    let listening = async {
        tokio::select! {
            error = bed.store.listen(&told) => panic!("{error}"),
            () = async {
                // When it begins it does not know what it missed.
                assert_eq!(heard.recv().await, Some(Told::Changes));
                assert_eq!(heard.recv().await, Some(Told::Counts));
                let published = vec![(key("a", ""), counts(5))];
                ask(&bed, &exchange(1, published.clone())).await;
                ask(&bed, &CountExchange { hints: true, ..exchange(1, published) }).await;
                assert_eq!(heard.recv().await, Some(Told::Counts));
                assert!(heard.try_recv().is_err());
            } => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(30), listening).await.expect("it is told");
    bed.end().await;
}
