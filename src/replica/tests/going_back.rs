//! A store that goes back, and goes back once more: what replicas had on disk of the timeline between.

use breaker::{
    CausingOutcome, Numbering, Override, OverrideKind, Probe, ProbeClaim, ProbeOutcome, ProbeReport, Reason,
    RowVersion, StoredRow,
};

use super::bed::{by_another, to_half_open};
use super::on_store::{Late, OnStore};
use super::*;
use crate::engine::{Event, Origin, StoreAnswer, TransitionSink as _};
use crate::journal::JournalOptions;
use crate::journal::writer::AnswerSink as _;
use crate::protocol_rules::{Rule, without};
use crate::replica::Answers;
use crate::store::{
    Availability, Change, ChangedRow, MemorySnapshot, MemoryStore, ProbeRequest, Proposal, RowCursor,
    SharedStore, StoredTransition, TimelineStore as _, TransitionId, TransitionQuery,
};

/// A store with a half-open breaker, and a standby that has it.
async fn half_open(clock: &ManualClock) -> (Arc<MemoryStore>, MemorySnapshot) {
    let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), 7));
    store.propose_shared(&[to_half_open(0, "a", 1)]).await.unwrap();
    let standby = store.snapshot();
    (store, standby)
}

/// The half-opens that entered again: their epochs, with none for one of a timeline that is over, and the epochs that they left.
fn entered_again(store: &MemoryStore) -> Vec<(Option<u64>, u64)> {
    let query = TransitionQuery { oldest_first: true, limit: 99, ..TransitionQuery::default() };
    let is_again = |row: &StoredTransition| (row.to, row.reason) == (State::HalfOpen, Reason::Restart);
    let rows = store.history(&query);
    rows.iter().filter(|row| is_again(row)).map(|row| (row.epoch, row.base_epoch)).collect()
}

/// The replica has decided this, in the timeline of the beginning.
fn append(replica: &OnStore, proposal: &Proposal) {
    let Change::Transition(transition) = &proposal.change else { unreachable!() };
    replica.journal.append(Event {
        key: &proposal.key,
        transition,
        origin: Origin::Own,
        numbering: Numbering::Store,
        service_override: None,
        timeline: Some(0),
    });
}

/// Somebody begins the first timeline after the one of the beginning, whose number this is.
async fn begin_timeline(store: &MemoryStore) -> u32 {
    store.begin_timeline(0, 0).await.unwrap();
    store.meta().await.unwrap().timeline
}

/// The store goes back once more, and hears from the replica what had entered again in the timeline between.
async fn check_kept(replica: &OnStore, tail: &mut Tail, store: &MemoryStore, standby: &MemorySnapshot) {
    store.promote(standby);
    tail.catch_up().await.unwrap();
    replica.send().await;
    assert_eq!(entered_again(store), [(Some(2), 1), (None, 1)]);
}

#[tokio::test]
async fn a_half_open_that_entered_again_is_in_the_history_when_the_store_went_back_once_more() {
    let clock = ManualClock::new(NOW);
    let (store, standby) = half_open(&clock).await;
    let replicas = [("r0", 1), ("r1", 2)].map(|life| OnStore::new(life, 0, &store, &clock));
    let mut tails = Vec::new();
    for replica in &replicas {
        tails.push(replica.replication.catch_up(0).await.unwrap());
        assert_eq!(replica.shown(), (1, State::HalfOpen));
    }
    for is_sent in [true, false] {
        store.promote(&standby);
        for (replica, tail) in replicas.iter().zip(&mut tails) {
            tail.catch_up().await.unwrap();
            if is_sent {
                assert_eq!(replica.shown(), (2, State::HalfOpen));
                replica.send().await;
            }
        }
        assert_eq!(entered_again(&store), [(Some(2), 1)]);
    }
    for replica in &replicas {
        replica.send().await;
        let is_again = |(state, _): &&(State, u64)| *state == State::HalfOpen;
        assert_eq!(replica.stood.lock().iter().find(is_again), None, "no replica proposed it");
    }
    assert_eq!(entered_again(&store), [(Some(2), 1), (None, 1)], "that of the timeline between, once");
}

#[tokio::test]
async fn a_replica_that_started_without_its_store_follows_it_when_it_went_back() {
    let clock = ManualClock::new(NOW);
    let (store, standby) = half_open(&clock).await;
    let replica = OnStore::new(("r0", 1), 0, &store, &clock);
    let mut tail = replica.replication.start_alone(&[], &[]);
    tail.catch_up().await.unwrap();
    for _ in 0..2 {
        store.promote(&standby);
        tail.catch_up().await.unwrap();
        replica.send().await;
    }
    assert_eq!(entered_again(&store), [(Some(2), 1), (None, 1)]);
}

/// A new timeline took the emergency stop up, and the journal has that, as it has an act that won. Another replica reset it since.
#[tokio::test]
async fn a_forced_open_that_the_store_had_says_nothing_over_a_newer_row_at_a_start_without_the_store() {
    let clock = ManualClock::new(NOW);
    let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), 7));
    let mut stop = to_half_open(3, "a", 1);
    let Change::Transition(transition) = &mut stop.change else { unreachable!() };
    let set_by = Override { kind: OverrideKind::ForcedOpen, ..by_another() };
    transition.after =
        Snapshot { epoch: 4, state: State::ForcedOpen, set_by: Some(set_by), ..Snapshot::pristine() };
    (transition.reason, transition.base_epoch) = (Reason::Restart, 3);
    let key = stop.key.clone();
    let row = |epoch| {
        let snapshot = Snapshot { epoch, ..Snapshot::pristine() };
        let version = RowVersion { timeline: 0, revision: epoch };
        ChangedRow {
            key: key.clone(),
            row: StoredRow { version, snapshot, age: Duration::ZERO },
            entered_by: None,
            decided_by: None,
        }
    };
    for (epoch, is_kept, shown) in
        [(5, true, (5, State::Closed)), (5, false, (5, State::ForcedOpen)), (3, true, (3, State::ForcedOpen))]
    {
        let replica = OnStore::new(("r0", 1), 0, &store, &clock);
        if is_kept {
            replica.journal.keep(stop.clone());
        } else {
            append(&replica, &stop);
        }
        let options = JournalOptions {
            replica: "r0".into(),
            boot: 2,
            bytes_max: 1024 * 1024,
            breakers_max: 10,
            clock: Arc::new(clock.clone()),
        };
        let (_, recovered) = Journal::open(replica.folder.path(), options).unwrap();
        replica.replication.start_alone(&[row(epoch)], &recovered.unanswered);
        assert_eq!(replica.shown(), shown);
    }
}

/// Whoever began the timeline may have died over it.
#[tokio::test]
async fn a_replica_that_starts_in_the_timeline_keeps_what_entered_again_there() {
    let clock = ManualClock::new(NOW);
    let (store, standby) = half_open(&clock).await;
    let timeline = begin_timeline(&store).await;
    let replica = OnStore::new(("r0", 1), timeline, &store, &clock);
    let mut tail = replica.replication.catch_up(0).await.unwrap();
    assert_eq!(replica.shown(), (2, State::HalfOpen));
    check_kept(&replica, &mut tail, &store, &standby).await;
}

/// Where the outcome of a probe closes the breaker, and who sent it never hears of that.
async fn close(store: &MemoryStore) -> TransitionId {
    let key = Key::new("db", "a").unwrap();
    let claim = ProbeClaim { epoch: 1, nonces: vec![5], sent_at: NOW };
    let id = TransitionId { replica: "r9".into(), boot: 9, seq: 0 };
    let report = ProbeReport {
        epoch: 1,
        probe: Probe { slot: 0, nonce: 5 },
        outcome: Some(ProbeOutcome { failed: false, slow: false }),
        causing: CausingOutcome::default(),
        wait: Duration::from_secs(1),
        retry_after: None,
        config_revision: 0,
        rejected_calls: 3,
    };
    let requests = [
        ProbeRequest::Claim { key: key.clone(), claim, timeline: 0 },
        ProbeRequest::Settle { key, id: id.clone(), report, age: Duration::ZERO },
    ];
    store.ask_probes(&requests).await.unwrap();
    id
}

/// What outcomes of probes decided.
fn decided(store: &MemoryStore) -> Vec<StoredTransition> {
    let query = TransitionQuery { oldest_first: true, limit: 99, ..TransitionQuery::default() };
    store.history(&query).into_iter().filter(|row| row.reason == Reason::ProbesSucceeded).collect()
}

#[tokio::test]
async fn what_an_outcome_decided_is_kept_by_each_replica_that_reads_it() {
    let clock = ManualClock::new(NOW);
    let (store, standby) = half_open(&clock).await;
    let replicas = [("r0", 1), ("r1", 2)].map(|life| OnStore::new(life, 0, &store, &clock));
    let mut tails = Vec::new();
    for replica in &replicas {
        tails.push(replica.replication.catch_up(0).await.unwrap());
    }
    let id = close(&store).await;
    tails[0].catch_up().await.unwrap();
    // The second is told by an answer to something else.
    let tripped = to_half_open(5, "a", 1);
    let Change::Transition(transition) = &tripped.change else { unreachable!() };
    replicas[1].journal.append(Event {
        key: &tripped.key,
        transition,
        origin: Origin::Own,
        numbering: Numbering::Store,
        service_override: None,
        timeline: Some(0),
    });
    replicas[1].send().await;
    // The store has it, and is not asked about it.
    store.set_availability(Availability::Unavailable);
    for replica in &replicas {
        assert_eq!(replica.shown(), (2, State::Closed));
        replica.send().await;
        assert!(replica.journal.is_empty());
    }
    store.set_availability(Availability::Available);
    assert_eq!(decided(&store).len(), 1);

    for order in [[0, 1], [1, 0]] {
        store.promote(&standby);
        assert_eq!(decided(&store), []);
        for index in order {
            tails[index].catch_up().await.unwrap();
            replicas[index].send().await;
            let [row] = decided(&store).try_into().unwrap();
            assert_eq!(
                (row.id, row.base_epoch, row.timeline, row.superseded),
                (id.clone(), 1, Some(0), true)
            );
        }
    }
    for replica in &replicas {
        assert_eq!(*replica.stood.lock(), [], "no replica proposed it");
    }
}

/// How many of the half-opens that entered again, and of what outcomes decided, the history has after the store went back behind
/// them: one of each was read.
async fn kept() -> (usize, usize) {
    let clock = ManualClock::new(NOW);
    let mut kept = Vec::new();
    for is_closed in [false, true] {
        let (store, standby) = half_open(&clock).await;
        let replica = OnStore::new(("r0", 1), 0, &store, &clock);
        let mut tail = replica.replication.catch_up(0).await.unwrap();
        if is_closed {
            close(&store).await;
        } else {
            store.promote(&standby);
        }
        tail.catch_up().await.unwrap();
        replica.send().await;
        assert_eq!(replica.shown().0, 2);
        store.promote(&standby);
        tail.catch_up().await.unwrap();
        replica.send().await;
        let rows = if is_closed { decided(&store).len() } else { entered_again(&store).len() };
        kept.push(rows - usize::from(!is_closed));
    }
    (kept[0], kept[1])
}

#[test]
fn the_history_lacks_what_no_replica_keeps() {
    let kept_without = |rule| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        without(rule, || runtime.block_on(kept()))
    };
    assert_eq!(kept_without(None), (1, 1));
    assert_eq!(kept_without(Some(Rule::EnteredAgainKept)), (0, 1));
    assert_eq!(kept_without(Some(Rule::DecidedRowsKept)), (1, 0));
}

/// The answer brings the row before it is read.
#[tokio::test]
async fn a_replica_whose_journal_is_answered_first_keeps_what_entered_again() {
    let clock = ManualClock::new(NOW);
    let (store, standby) = half_open(&clock).await;
    let timeline = begin_timeline(&store).await;
    let replica = OnStore::new(("r0", 1), timeline, &store, &clock);
    append(&replica, &to_half_open(5, "a", 1));
    let mut tail = replica.replication.catch_up(1).await.unwrap();
    assert_eq!(replica.shown(), (2, State::HalfOpen));
    check_kept(&replica, &mut tail, &store, &standby).await;
}

/// An outcome or an act may be answered, of a breaker that is not known here, before the tail has read its row.
#[tokio::test]
async fn a_row_that_an_answer_brings_between_is_kept_when_it_is_read() {
    let clock = ManualClock::new(NOW);
    let (store, standby) = half_open(&clock).await;
    let replica = OnStore::new(("r0", 1), 0, &store, &clock);
    let mut tail = replica.replication.start_alone(&[], &[]);
    let timeline = begin_timeline(&store).await;
    replica.engine.begin_timeline(timeline);
    let page = store.rows_after(&RowCursor::default(), &[], 9).await.unwrap();
    let ChangedRow { key, row, entered_by, .. } = &page.rows[0];
    replica.engine.take_answer(key, &StoreAnswer::AnsweredRow(row), *entered_by, NOW);
    assert_eq!(replica.shown(), (2, State::HalfOpen));
    tail.catch_up().await.unwrap();
    check_kept(&replica, &mut tail, &store, &standby).await;
}

/// The store answers in a new timeline, of which the replica has not heard yet: its journal sends it again.
#[tokio::test]
async fn an_answer_of_another_timeline_settles_nothing() {
    let clock = ManualClock::new(NOW);
    let (store, _) = half_open(&clock).await;
    let replica = OnStore::new(("r0", 1), 0, &store, &clock);
    let mut tail = replica.replication.catch_up(0).await.unwrap();
    append(&replica, &trip());
    begin_timeline(&store).await;
    replica.send().await;
    assert!(!replica.journal.is_empty());
    let [answered] = store.propose_shared(&[to_half_open(9, "c", 1)]).await.unwrap().try_into().unwrap();
    let answers = Answers::new(Arc::clone(&replica.engine), Arc::new(clock.clone()));
    assert!(!answers.is_present(&answered));
    let is_taken_for_present =
        without(Some(Rule::OtherTimelineSettlesNothing), || answers.is_present(&answered));
    assert!(is_taken_for_present);
    tail.catch_up().await.unwrap();
    replica.send().await;
    assert!(replica.journal.is_empty());
}

fn trip() -> Proposal {
    let mut trip = to_half_open(5, "b", 1);
    let Change::Transition(transition) = &mut trip.change else { unreachable!() };
    transition.after =
        Snapshot { wait: Some(Duration::from_secs(9)), state: State::Open, ..Snapshot::pristine() };
    trip
}

/// The store answers in its new timeline, and the replica goes over into that before the answer comes: what it asked is sent again.
#[tokio::test]
async fn what_is_sent_again_before_its_answer_comes_is_logged_once() {
    let clock = ManualClock::new(NOW);
    let (store, _) = half_open(&clock).await;
    let late = Late::new(&store);
    let replica = OnStore::over(("r0", 1), 0, Arc::<Late>::clone(&late), &clock);
    let mut tail = replica.replication.catch_up(0).await.unwrap();
    append(&replica, &trip());
    begin_timeline(&store).await;
    let goes_over = async {
        late.proposed.acquire().await.unwrap().forget();
        tail.catch_up().await.unwrap();
        late.delivered.add_permits(9);
    };
    tokio::join!(replica.send(), goes_over);
    replica.send().await;
    assert!(replica.journal.is_empty());
    assert_eq!(*replica.stood.lock(), [(State::Open, 1)]);
}

/// The transitions that took up a state of before: of which timeline they are, and whether they stand.
fn taken_up(store: &MemoryStore) -> Vec<(State, Option<u32>, bool)> {
    let query = TransitionQuery { oldest_first: true, limit: 99, ..TransitionQuery::default() };
    let is_taken_up = |row: &StoredTransition| row.reason == Reason::Restart && row.id.replica == "r0".into();
    let rows = store.history(&query);
    rows.iter().filter(|row| is_taken_up(row)).map(|row| (row.to, row.timeline, !row.superseded)).collect()
}

/// Who proposed it died before it was answered, and another replica has read the row.
async fn taken_up_is_kept() -> bool {
    let clock = ManualClock::new(NOW);
    let (store, standby) = half_open(&clock).await;
    let late = Late::new(&store);
    let dies = OnStore::over(("r0", 1), 0, Arc::<Late>::clone(&late), &clock);
    let mut dying = dies.replication.catch_up(0).await.unwrap();
    close(&store).await;
    dying.catch_up().await.unwrap();
    assert_eq!(dies.shown(), (2, State::Closed));

    store.promote(&standby);
    tokio::select! {
        _ = dying.catch_up() => unreachable!("it has no answer"),
        proposed = late.proposed.acquire() => proposed.unwrap().forget(),
    }
    let timeline = store.meta().await.unwrap().timeline;
    assert_eq!(taken_up(&store), [(State::Closed, Some(timeline), true)]);
    let reads = OnStore::new(("r1", 2), timeline, &store, &clock);
    let mut tail = reads.replication.catch_up(0).await.unwrap();
    assert_eq!(reads.shown(), (3, State::Closed));
    drop(dying);

    store.promote(&standby);
    tail.catch_up().await.unwrap();
    reads.send().await;
    taken_up(&store) == [(State::Closed, Some(timeline), false)]
}

#[test]
fn a_state_that_was_taken_up_is_in_the_history_whoever_died_when_the_store_went_back_once_more() {
    let is_kept_without = |rule| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        without(rule, || runtime.block_on(taken_up_is_kept()))
    };
    assert!(is_kept_without(None));
    assert!(!is_kept_without(Some(Rule::DecidedRowsKept)));
}
