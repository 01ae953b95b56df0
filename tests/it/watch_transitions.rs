//! `WatchTransitions`: compared with the history of the store, row by row.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, Numbering, State, Time};
use breakerd::feed::{HistoryTail, Page, RowsAfter};
use breakerd::metrics::Metrics;
use breakerd::store::{Change, HistoryCursor, Proposal, Retention, Store, TransitionId};
use breakerd_api::v1;
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use breakerd_api::v1::watch_transitions_response::Event;
use breakerd_api::v1::{ListTransitionsRequest, WatchTransitionsRequest, WatchTransitionsResponse};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::grpc_world::{START, World, trip};
use crate::process::{PATIENCE, Process};
use crate::support::{Bed, new_database};

type Client = OperationsServiceClient<Channel>;
type Stream = Streaming<WatchTransitionsResponse>;

pub(crate) async fn next(stream: &mut Stream) -> Option<WatchTransitionsResponse> {
    // It breaks off with the process.
    tokio::time::timeout(PATIENCE, stream.message()).await.expect("the stream hangs").ok().flatten()
}

/// The next message that is no heartbeat; without one the test fails.
pub(crate) async fn news(stream: &mut Stream) -> Event {
    let news = async {
        loop {
            let event = next(stream).await.expect("the stream ended").event.unwrap();
            if !matches!(event, Event::Heartbeat(_)) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, news).await.expect("the stream tells nothing but that it is alive")
}

pub(crate) async fn watch(client: &mut Client, token: &str) -> Stream {
    let request =
        WatchTransitionsRequest { resume_token: token.to_owned(), ..WatchTransitionsRequest::default() };
    client.watch_transitions(request).await.unwrap().into_inner()
}

/// The states of the snapshot, whether it began anew, and the token of the mark.
pub(crate) async fn snapshot(stream: &mut Stream) -> (Vec<v1::StateSnapshot>, bool, String) {
    let (mut states, mut restarted) = (Vec::new(), false);
    loop {
        let message = next(stream).await.unwrap();
        match message.event.unwrap() {
            Event::State(state) => states.push(state),
            Event::Resync(_) => restarted = true,
            Event::Bookmark(_) => return (states, restarted, message.resume_token),
            other => panic!("{other:?} within a snapshot"),
        }
    }
}

/// The next `count` transitions, each with its token.
pub(crate) async fn transitions(stream: &mut Stream, count: usize) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    let all = async {
        while seen.len() < count {
            let message = next(stream).await.unwrap();
            if let Some(Event::Transition(transition)) = message.event {
                seen.push((transition.id, message.resume_token));
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the stream tells nothing but that it is alive");
    seen
}

async fn history(client: &mut Client) -> Vec<String> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListTransitionsRequest {
            page_size: 1_000,
            page_token,
            order: v1::TransitionOrder::OldestFirst as i32,
            ..ListTransitionsRequest::default()
        };
        let page = client.list_transitions(request).await.unwrap().into_inner();
        all.extend(page.transitions.into_iter().map(|transition| transition.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

pub(crate) async fn look(world: &World) {
    let tail = Arc::clone(&world.app.loaded().unwrap().feeds.tail);
    tail.poll_store(START).await.unwrap();
}

#[tokio::test]
async fn a_watch_tells_the_newest_states_and_then_the_history_and_every_token_resumes_behind_its_row() {
    let world = World::new().await;
    let (mut breakers, mut client) = (world.breakers().await, world.operations().await);
    trip(&mut breakers, "sentinel", "before").await;
    world.write_behind().await;
    look(&world).await;
    let mut stream = watch(&mut client, "").await;
    let (states, restarted, mark) = snapshot(&mut stream).await;
    assert!(!restarted);
    assert_eq!((states.len(), &*states[0].name, states[0].epoch), (1, "before", 1));
    for name in ["a", "b", "c", "d", "e"] {
        trip(&mut breakers, "sentinel", name).await;
        world.write_behind().await;
    }
    look(&world).await;
    let seen = transitions(&mut stream, 5).await;
    let written = history(&mut client).await;
    let ids: Vec<_> = seen.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, written[1..]);
    let tokens = std::iter::once(&mark).chain(seen.iter().map(|(_, token)| token));
    for (done, token) in tokens.enumerate().take(5) {
        let mut again = watch(&mut client, token).await;
        let rest: Vec<_> = transitions(&mut again, 5 - done).await.into_iter().map(|(id, _)| id).collect();
        assert_eq!(rest, written[1 + done..]);
    }
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_token_of_another_store_and_one_that_is_newer_begin_anew() {
    let (world, other) = (World::new().await, World::new().await);
    let (mut breakers, mut client) = (world.breakers().await, world.operations().await);
    trip(&mut breakers, "sentinel", "").await;
    world.write_behind().await;
    look(&world).await;
    let mut others = other.operations().await;
    other.write_behind().await;
    let mut stream = watch(&mut others, "").await;
    let (_, _, foreign) = snapshot(&mut stream).await;
    drop(stream);
    let mut stream = watch(&mut client, &foreign).await;
    let (states, restarted, _) = snapshot(&mut stream).await;
    assert!(restarted && states.len() == 1);
    let wrong = WatchTransitionsRequest { resume_token: "?".into(), ..WatchTransitionsRequest::default() };
    assert_eq!(client.watch_transitions(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    drop(stream);
    other.end().await;
    world.end().await;
}

#[tokio::test]
async fn a_token_from_before_what_was_let_go_of_begins_anew() {
    let world = World::new().await;
    let (mut breakers, mut client) = (world.breakers().await, world.operations().await);
    let mut stream = watch(&mut client, "").await;
    let (_, _, mark) = snapshot(&mut stream).await;
    drop(stream);
    for name in ["a", "b"] {
        trip(&mut breakers, "sentinel", name).await;
        world.write_behind().await;
    }
    let forever = Time::from_micros(4_000_000_000_000_000);
    let retention = Retention { before: forever, requests_before: forever };
    while world.store.prune(retention).await.unwrap().transitions > 0 {}
    assert!(world.store.history_floor().await.unwrap() > 0);
    let mut stream = watch(&mut client, &mark).await;
    let (states, restarted, token) = snapshot(&mut stream).await;
    assert!(restarted && states.len() == 2, "{states:?}");
    let mut again = watch(&mut client, &token).await;
    trip(&mut breakers, "sentinel", "c").await;
    world.write_behind().await;
    look(&world).await;
    assert_eq!(transitions(&mut again, 1).await.len(), 1);
    drop((stream, again));
    world.end().await;
}

/// A row of the history for each of `count` breakers, `batch` in a transaction.
pub(crate) async fn write(store: &Arc<dyn Store>, from: u64, count: u64, batch: u64) {
    let mut seq = from;
    while seq < from + count {
        let proposals: Vec<_> = (seq..(seq + batch).min(from + count)).map(proposal).collect();
        store.propose(&proposals).await.unwrap();
        seq += batch;
    }
}

fn proposal(seq: u64) -> Proposal {
    let id = TransitionId { replica: "here".into(), boot: 1, seq };
    let key = Key::new("s", &format!("n{seq}")).unwrap();
    let mut after = breaker::Snapshot::pristine();
    after.epoch = 1;
    after.state = State::Open;
    after.open_count = 1;
    after.wait = Some(Duration::from_mins(1));
    after.entered_at = START;
    let transition = breaker::Transition {
        from: State::Closed,
        after,
        reason: breaker::Reason::ConsecutiveFailures,
        at: START,
        stats: breaker::Stats::default(),
        lasted: None,
        rejected_calls: 0,
        outcome: None,
        attribution: None,
        shadow: false,
        base_epoch: 0,
    };
    Proposal {
        id,
        key,
        change: Change::Transition(Box::new(transition)),
        numbering: Numbering::Own,
        store_unavailable: false,
        decided_at: Time::ZERO,
        service_override: None,
        age: Duration::ZERO,
        decided_in: breakerd::store::DecidedIn::default(),
    }
}

/// Follows from `place` as a watcher does, until there is nothing more.
async fn follow(tail: &HistoryTail, mut place: HistoryCursor, limit: u32) -> (Vec<u64>, HistoryCursor) {
    let mut seen = Vec::new();
    loop {
        let rows = match tail.after(place, limit as usize) {
            RowsAfter::Rows(rows) => rows,
            RowsAfter::Nothing { .. } => return (seen, place),
            RowsAfter::NotInMemory => match tail.read(place, limit).await.unwrap() {
                Page::Rows(rows) if rows.is_empty() => return (seen, place),
                Page::Rows(rows) => rows,
                Page::TooOld => panic!("nothing was let go of"),
            },
        };
        for row in rows {
            seen.push(row.id.seq);
            place = row.cursor;
        }
    }
}

/// Whoever follows in steps of any size, through memory and past it, is told every row once.
async fn nothing_is_left_out(bed: &Bed) {
    let tail = HistoryTail::with_rows_max(50, Arc::clone(&bed.store), Metrics::default().watch);
    let zero = HistoryCursor { revision: 0, number: u32::MAX };
    let mut watchers: Vec<(u32, Vec<u64>, HistoryCursor)> =
        [1, 7, 49, 128].map(|limit| (limit, Vec::new(), zero)).to_vec();
    let (mut written, mut random) = (0, 7_u64);
    for round in 0..40 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let count = (random >> 33) % 90;
        write(&bed.store, written, count, 1 + (random >> 50) % 40).await;
        written += count;
        if random >> 62 != 0 {
            tail.poll_store(START).await.unwrap();
        }
        for (index, (limit, seen, place)) in watchers.iter_mut().enumerate() {
            if (round + index) % (index + 1) == 0 {
                let (more, last) = follow(&tail, *place, *limit).await;
                seen.extend(more);
                *place = last;
            }
        }
    }
    tail.poll_store(START).await.unwrap();
    let all: Vec<u64> = (0..written).collect();
    for (limit, mut seen, place) in watchers {
        seen.extend(follow(&tail, place, limit).await.0);
        assert_eq!(seen, all, "in steps of {limit}");
    }
}

#[tokio::test]
async fn nothing_is_left_out_and_nothing_told_twice_sqlite() {
    let bed = Bed::sqlite().await;
    nothing_is_left_out(&bed).await;
    bed.end().await;
}

#[tokio::test]
async fn nothing_is_left_out_and_nothing_told_twice_postgres() {
    let bed = Bed::postgres().await;
    nothing_is_left_out(&bed).await;
    bed.end().await;
}

/// A watcher that breaks off and resumes, over a breakerd that is killed again and again.
async fn kills_leave_no_gap(folder: &Path, database_url: Option<&str>) {
    std::fs::write(
        folder.join("breakerd.toml"),
        "[circuit_breaker]\nfailure_threshold = 1\ntimeout_seconds = 300\n",
    )
    .unwrap();
    let mut process = Process::ready(folder, database_url).await;
    let mut client = process.operations().await;
    let mut stream = watch(&mut client, "").await;
    let (states, _, mut token) = snapshot(&mut stream).await;
    assert_eq!(states, []);
    let mut seen: Vec<String> = Vec::new();
    let mut random = 3_u64;
    for round in 0..4 {
        let mut breakers = process.breakers().await;
        for number in 0..30 {
            let request = v1::RecordOutcomeRequest {
                service: "orders".into(),
                name: format!("{round}-{number}"),
                outcome: v1::Outcome::Failure as i32,
                ..v1::RecordOutcomeRequest::default()
            };
            breakers.record_outcome(request).await.unwrap();
        }
        // Reads on here and there, and breaks off.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let count = usize::try_from((random >> 33) % 20).unwrap();
        for (id, after) in transitions(&mut stream, count).await {
            seen.push(id);
            token = after;
        }
        drop(stream);
        process.kill();
        process = Process::ready(folder, database_url).await;
        client = process.operations().await;
        stream = watch(&mut client, &token).await;
    }
    let left = 120 - seen.len();
    seen.extend(transitions(&mut stream, left).await.into_iter().map(|(id, _)| id));
    let written = history(&mut client).await;
    let mut times: HashMap<&String, u32> = HashMap::new();
    for id in &seen {
        *times.entry(id).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "no row twice");
    assert_eq!(seen, written, "in the order of the history, and whole");
}

#[tokio::test]
async fn kills_leave_no_gap_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    kills_leave_no_gap(folder.path(), None).await;
}

#[tokio::test]
async fn kills_leave_no_gap_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let url = new_database().await;
    kills_leave_no_gap(folder.path(), Some(&url)).await;
}
