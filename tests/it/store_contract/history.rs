//! Pages of the history.

use std::time::Duration;

use breaker::{Key, State};
use breakerd::store::{Change, Proposal, StoredTransition, TransitionQuery};

use super::bed::StoreBed;
use super::change::{NOON, key, own, transition};
use super::{history, on_every_store};

on_every_store!(
    pages_are_complete_and_without_repeats_while_rows_are_added,
    a_page_holds_no_more_than_was_asked_for,
    the_newest_come_first_unless_asked_otherwise,
);

const SERVICES: [&str; 3] = ["a", "b", "c"];

/// The `n`th of many changes, no two alike: services, names, states and times go round at their own pace.
fn change(n: u64) -> Proposal {
    let states = State::ALL;
    let key: Key = key(SERVICES[place(n, SERVICES.len())], ["", "x", "y", "z"][place(n, 4)]);
    let mut transition = transition(states[place(n / 2, states.len())], states[place(n, states.len())], n);
    transition.at = NOON + Duration::from_secs(n / 3);
    Proposal {
        change: Change::Transition(Box::new(transition)),
        ..own(n, &key, State::Closed, State::Open, n)
    }
}

fn place(n: u64, len: usize) -> usize {
    usize::try_from(n).unwrap() % len
}

/// Writes changes `from..to` in batches of uneven size.
async fn write(bed: &StoreBed, from: u64, to: u64) {
    let changes: Vec<_> = (from..to).map(change).collect();
    for (n, batch) in changes.chunks(5).enumerate() {
        let (first, second) = batch.split_at(n % 5);
        bed.store.propose(first).await.unwrap();
        bed.store.propose(second).await.unwrap();
    }
}

fn filters() -> Vec<TransitionQuery> {
    let some = TransitionQuery::default;
    vec![
        some(),
        TransitionQuery { service: Some("a".to_owned()), ..some() },
        TransitionQuery { name: Some("x".to_owned()), ..some() },
        TransitionQuery { service: Some("b".to_owned()), name: Some("y".to_owned()), ..some() },
        TransitionQuery { to: vec![State::Open], ..some() },
        TransitionQuery { to: vec![State::Closed, State::HalfOpen], ..some() },
        TransitionQuery { from_time: Some(NOON + Duration::from_secs(10)), ..some() },
        TransitionQuery { until_time: Some(NOON + Duration::from_secs(40)), ..some() },
        TransitionQuery {
            service: Some("c".to_owned()),
            to: vec![State::Open, State::Disabled],
            from_time: Some(NOON + Duration::from_secs(5)),
            until_time: Some(NOON + Duration::from_mins(1)),
            ..some()
        },
        TransitionQuery { service: Some("nobody".to_owned()), ..some() },
    ]
}

/// The naive reading of a filter.
fn passes(row: &StoredTransition, query: &TransitionQuery) -> bool {
    query.service.as_ref().is_none_or(|service| **service == **row.key.service())
        && query.name.as_ref().is_none_or(|name| **name == **row.key.name())
        && (query.to.is_empty() || query.to.contains(&row.to))
        && query.from_time.is_none_or(|time| row.occurred_at >= time)
        && query.until_time.is_none_or(|time| row.occurred_at < time)
}

async fn pages_are_complete_and_without_repeats_while_rows_are_added(bed: &mut StoreBed) {
    let mut written = 200;
    write(bed, 0, written).await;
    for filter in filters() {
        for oldest_first in [false, true] {
            let before = history(&*bed.store).await;
            let mut query = TransitionQuery { oldest_first, limit: 7, ..filter.clone() };
            let mut seen = Vec::new();
            loop {
                let page = bed.store.transitions(&query).await.unwrap();
                let Some(last) = page.last() else { break };
                query.after = Some(last.cursor);
                seen.extend(page);
                if seen.len() < 40 {
                    write(bed, written, written + 3).await;
                    written += 3;
                }
            }
            // Towards the past: what was there at the first page. Towards the future: what is there at the last.
            let mut expected = if oldest_first { history(&*bed.store).await } else { before };
            expected.retain(|row| passes(row, &filter));
            if !oldest_first {
                let first = seen.first().map(|row| row.cursor);
                expected.retain(|row| Some(row.cursor) <= first);
                expected.reverse();
            }
            assert_eq!(seen, expected, "{query:?}");
        }
    }
}

async fn a_page_holds_no_more_than_was_asked_for(bed: &mut StoreBed) {
    write(bed, 0, 20).await;
    for limit in [0, 1, 19, 20, 21] {
        let query = TransitionQuery { limit, ..TransitionQuery::default() };
        let page = bed.store.transitions(&query).await.unwrap();
        assert_eq!(page.len(), usize::try_from(limit.min(20)).unwrap());
    }
}

async fn the_newest_come_first_unless_asked_otherwise(bed: &mut StoreBed) {
    write(bed, 0, 20).await;
    let mut newest_first =
        bed.store.transitions(&TransitionQuery { limit: 100, ..TransitionQuery::default() }).await.unwrap();
    newest_first.reverse();
    let oldest_first = history(&*bed.store).await;
    assert_eq!(newest_first, oldest_first);
    assert_eq!(oldest_first.iter().map(|row| row.id.seq).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}
