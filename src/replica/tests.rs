mod bed;
mod calls;
mod decided;
mod going_back;
pub(super) mod life;
mod on_store;
mod recording;
mod service_overrides;
mod stop;

use async_trait::async_trait;
use breaker::{Key, Outcome, Recorded, Report, RowVersion, Snapshot, State, StoredRow};
use breakerd_common::clock::ManualClock;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::bed::Bed;
use self::life::Life;
use super::*;
use crate::engine::{OperatorAct, RecordResult, StoreAnswer, Target, Unknown, Waits};
use crate::journal::Journal;
use crate::journal::writer::Writer;
use crate::store::{
    Answered, ChangeId, ChangedRow, Position, ProbeRequest, ProbeResponse, Proposal, RowCursor, RowPlace,
    RowsPage, SharedStore, StoreError, UnreadableRow,
};

const NOW: Time = Time::from_micros(1_700_000_000_000_000);

/// A store that gives no probe, and can read no row that it would have to write.
#[derive(Default)]
struct Unwilling {
    claimed: Mutex<Vec<String>>,
    asked: Notify,
}

#[async_trait]
impl SharedStore for Unwilling {
    async fn propose_shared(&self, _: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        Err(StoreError::Corrupt { act: "write transitions", problem: "a row is wrong".to_owned() })
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        let refused = |request: &ProbeRequest| {
            self.claimed.lock().push(request.key().name().to_string());
            let row = ChangedRow {
                key: request.key().clone(),
                row: row(State::HalfOpen, 0),
                entered_by: None,
                decided_by: None,
            };
            ProbeResponse::Claimed { grant: None, row, newest: ChangeId::default() }
        };
        let responses = requests.iter().map(refused).collect();
        self.asked.notify_one();
        Ok(responses)
    }

    async fn rows_after(&self, _: &RowCursor, _: &[u64], _: u32) -> Result<RowsPage, StoreError> {
        std::future::pending().await
    }

    async fn use_rows(&self, _: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        std::future::pending().await
    }

    async fn begin_timeline(&self, _: u32, _: u32) -> Result<(), StoreError> {
        std::future::pending().await
    }
}

/// A row whose epoch is its revision.
fn row(state: State, revision: u64) -> StoredRow {
    let snapshot = Snapshot { epoch: revision, state, ..Snapshot::pristine() };
    StoredRow { version: RowVersion { timeline: 0, revision }, snapshot, age: Duration::ZERO }
}

fn key(name: &str) -> Key {
    Key::new("db", name).unwrap()
}

struct Bench {
    engine: Arc<Engine>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    store: Arc<Unwilling>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let Life { engine, journal, folder } = Life::new("here", 1, Arc::clone(&clock));
        Self { engine, journal, clock, store: Arc::default(), _folder: folder }
    }

    fn adopt(&self, name: &str, row: &StoredRow) {
        self.engine.take_answer(&key(name), &StoreAnswer::Row(row), None, NOW);
    }

    /// A call that wants a probe.
    fn want(&self, name: &str) {
        let allowed = self.engine.try_allow_for(Creator::Server, "db", name, Waits::For(None), NOW).unwrap();
        assert!(allowed.decision.waits.is_some());
    }
}

/// Hundreds that wanted a probe, and want it no more, stand before one that still does.
#[tokio::test]
async fn a_breaker_that_asks_is_not_forgotten_behind_those_that_do_not_any_more() {
    let bench = Bench::new();
    let names: Vec<_> = (0..600).map(|number| number.to_string()).collect();
    for name in &names {
        bench.adopt(name, &row(State::HalfOpen, 1));
        bench.want(name);
        bench.adopt(name, &row(State::Closed, 2));
    }
    // The one whose turn comes last.
    let last = names.iter().max_by_key(|name| bench.engine.seals().key_id("db", name)).unwrap();
    bench.adopt(last, &row(State::HalfOpen, 3));
    bench.want(last);
    let Bench { engine, journal, clock, store, .. } = &bench;
    let coordinator = Coordinator::new(Arc::clone(engine), store.clone(), Arc::clone(clock), journal, 1);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { coordinator.run(stop).await }
    });
    tokio::time::timeout(Duration::from_secs(20), store.asked.notified()).await.expect("it is claimed for");
    assert_eq!(*store.claimed.lock(), std::slice::from_ref(last));
    stop.cancel();
    running.await.unwrap();
}

/// Its first row was written by a later version.
struct Newer;

#[async_trait]
impl SharedStore for Newer {
    async fn propose_shared(&self, _: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        std::future::pending().await
    }

    async fn ask_probes(&self, _: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        std::future::pending().await
    }

    async fn use_rows(&self, _: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        std::future::pending().await
    }

    async fn begin_timeline(&self, _: u32, _: u32) -> Result<(), StoreError> {
        std::future::pending().await
    }

    async fn rows_after(&self, after: &RowCursor, _: &[u64], _: u32) -> Result<RowsPage, StoreError> {
        let newest = ChangeId { revision: 2, nonce: 1 };
        let place = RowPlace { revision: 1, service: "db".to_owned(), name: "a".to_owned() };
        let problem = "state cannot be QUARANTINED".to_owned();
        let is_first = after.revision == 0;
        let changed =
            ChangedRow { key: key("b"), row: row(State::HalfOpen, 2), entered_by: None, decided_by: None };
        Ok(RowsPage {
            rows: if is_first { vec![changed] } else { Vec::new() },
            unreadable: if is_first { vec![UnreadableRow { place, problem }] } else { Vec::new() },
            next: RowCursor { revision: 2, part: None },
            is_last: true,
            configuration: 0,
            position: Position { timeline: 0, newest, nonce: None, is_checked: true },
            seen: Vec::new(),
        })
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_no_other_from_being_adopted() {
    let bench = Bench::new();
    let mut tail = Tail::new(Arc::clone(&bench.engine), Arc::new(Newer), bench.clock, Arc::default());
    tail.catch_up().await.unwrap();
    let epoch = |name| bench.engine.view("db", name, NOW).map(|view| view.view.snapshot.epoch);
    assert_eq!((epoch("a"), epoch("b")), (None, Some(2)));
}

#[tokio::test]
async fn a_trip_that_the_store_rejects_for_good_does_not_stand_for_ever() {
    let bench = Bench::new();
    let target = Target { permit: None, service: "db", name: "a", epoch: None };
    for _ in 0..5 {
        bench.engine.record(target, &Report::plain(Outcome::Failure), NOW).unwrap();
    }
    let state = || bench.engine.view("db", "a", NOW).unwrap().state;
    assert_eq!(state(), State::Open);
    let answers = Arc::new(Answers::new(Arc::clone(&bench.engine), Arc::clone(&bench.clock)));
    let stop = CancellationToken::new();
    let writer = Writer::to_shared(Arc::clone(&bench.journal), bench.store.clone(), answers);
    let running = tokio::spawn(writer.run(stop.clone()));
    bench.journal.emptied().await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(state(), State::Closed);
}

#[tokio::test]
async fn an_act_that_loses_to_others_each_time_says_what_stands() {
    let bed = Bed::half_open(&["a"], 1).await;
    bed.asked.is_contended.store(true, std::sync::atomic::Ordering::Relaxed);
    let by = breaker::Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() };
    let act = OperatorAct::Reset(by);
    let a = key("a");
    let done = bed.replica.act(Creator::Server, Unknown::Create, &a, act, Duration::from_secs(1));
    match done.await {
        Err(ActError::Superseded { state, epoch }) => assert_eq!((state, epoch), (State::Disabled, 5)),
        done => panic!("{done:?}"),
    }
}
