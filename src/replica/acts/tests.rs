use std::sync::Arc;

use breaker::{Attribution, Needed, Outcome, Override, OverrideKind, Reason, Recorded, Report, Scope, State};
use breakerd_common::clock::{Clock, ManualClock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::{Engine, Permit, Target};
use crate::journal::Journal;
use crate::journal::writer::Writer;
use crate::replica::tests::life::Life;
use crate::replica::{Answers, Tail};
use crate::store::{Availability, MemoryStore, StoredTransition, TransitionQuery, TransitionStore as _};

const NOW: Time = Time::from_micros(1_700_000_000_000_000);

/// A replica; its tail reads when it is told to.
struct One {
    engine: Arc<Engine>,
    journal: Arc<Journal>,
    replica: Replica,
    tail: Tail,
    _folder: tempfile::TempDir,
}

/// Two replicas on one store.
struct Two {
    clock: ManualClock,
    store: Arc<MemoryStore>,
    replicas: [One; 2],
    stop: CancellationToken,
}

impl Drop for Two {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Two {
    fn new() -> Self {
        let clock = ManualClock::new(NOW);
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), 7));
        let stop = CancellationToken::new();
        let replicas = [1, 2].map(|boot| One::start(boot, &clock, &store, &stop));
        Self { clock, store, replicas, stop }
    }

    /// The first replica trips, and all know it.
    async fn trip(&mut self) {
        self.fail();
        self.replicas[0].journal.emptied().await;
        self.catch_up(1).await;
        assert_eq!([self.shown(0), self.shown(1)], [Some((State::Open, 1)); 2]);
    }

    fn fail(&self) {
        let target = Target { permit: None, service: "db", name: "a", epoch: None };
        for _ in 0..5 {
            self.replicas[0].engine.record(target, &Report::plain(Outcome::Failure), NOW).unwrap();
        }
    }

    fn allow(&self, index: usize) -> Option<Permit> {
        self.replicas[index].engine.allow("db", "a", self.clock.now()).unwrap().permit
    }

    fn report(&self, index: usize, permit: Option<Permit>) -> Recorded {
        let target = Target { permit, service: "db", name: "a", epoch: None };
        let report = Report::plain(Outcome::Failure);
        self.replicas[index].engine.record(target, &report, self.clock.now()).unwrap().recorded
    }

    async fn catch_up(&mut self, index: usize) {
        self.replicas[index].tail.catch_up().await.unwrap();
    }

    fn shown(&self, index: usize) -> Option<(State, u64)> {
        let view = self.replicas[index].engine.view("db", "a", self.clock.now())?;
        Some((view.state, view.view.snapshot.epoch))
    }

    /// Time passes while an act waits.
    async fn act(&self, index: usize, act: OperatorAct) -> Result<ActDone, ActError> {
        let key = Key::new("db", "a").unwrap();
        let wait = Duration::from_mins(1);
        let act = self.replicas[index].replica.act(Creator::Server, Unknown::Create, &key, act, wait);
        tokio::select! {
            biased;
            done = act => done,
            () = self.pass() => unreachable!(),
        }
    }

    async fn pass(&self) {
        loop {
            tokio::task::yield_now().await;
            self.clock.advance(Duration::from_millis(50));
        }
    }

    /// The first replica's journal gets to the store.
    async fn settle(&self) {
        // Beyond the longest pause of its writer.
        self.clock.advance(Duration::from_secs(2));
        self.replicas[0].journal.emptied().await;
    }

    async fn history(&self) -> Vec<StoredTransition> {
        let query = TransitionQuery { oldest_first: true, limit: 100, ..TransitionQuery::default() };
        self.store.transitions(&query).await.unwrap()
    }

    fn journalled(&self, index: usize) -> u64 {
        self.replicas[index].journal.stats(NOW).appended
    }
}

impl One {
    fn start(boot: u64, clock: &ManualClock, store: &Arc<MemoryStore>, stop: &CancellationToken) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let Life { engine, journal, folder } = Life::new(&format!("r{boot}"), boot, Arc::clone(&clock));
        let answers = Arc::new(Answers::new(Arc::clone(&engine), Arc::clone(&clock)));
        let writer = Writer::to_shared(Arc::clone(&journal), store.clone(), answers);
        tokio::spawn(writer.run(stop.clone()));
        let (hint, shared) = (Arc::new(Notify::new()), store.clone());
        let tail = Tail::new(Arc::clone(&engine), shared, Arc::clone(&clock), Arc::clone(&hint));
        let coordinator =
            Coordinator::new(Arc::clone(&engine), store.clone(), Arc::clone(&clock), &journal, boot);
        let replica = Replica::of_several(Arc::clone(&engine), clock, Arc::new(coordinator), hint);
        Self { engine, journal, replica, tail, _folder: folder }
    }
}

fn ann() -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() }
}

fn set(kind: OverrideKind) -> OperatorAct {
    let Attribution { actor, reason } = ann();
    let set_by = Override { kind, scope: Scope::Breaker, expires_at: None, ttl: None, actor, reason };
    OperatorAct::SetOverride(set_by)
}

#[tokio::test]
async fn a_reset_on_one_is_seen_by_the_other_and_is_kept_once_the_store_has_it() {
    let mut two = Two::new();
    two.trip().await;
    let done = two.act(1, OperatorAct::Reset(ann())).await.unwrap();
    assert!(done.is_stored && done.acted.changed);
    assert_eq!(done.acted.breaker.unwrap().state, State::Closed);
    assert_eq!((two.shown(0), two.shown(1)), (Some((State::Open, 1)), Some((State::Closed, 2))));
    two.catch_up(0).await;
    assert_eq!(two.shown(0), Some((State::Closed, 2)));
    assert_eq!(two.journalled(1), 1, "should the store go back");
    let reset = &two.history().await[1];
    assert_eq!((reset.reason, &*reset.id.replica), (Reason::Reset, "r2"));
    assert_eq!(reset.attribution, Some(ann()));
    let counters = two.replicas[1].engine.view("db", "a", two.clock.now()).unwrap().counters;
    let counted: u64 = counters.opened.unwrap().transitions.values().sum();
    assert_eq!(counted, 1, "the winner counts it");
}

#[tokio::test]
async fn without_the_store_an_act_is_unavailable_and_changes_nothing() {
    let mut two = Two::new();
    two.trip().await;
    two.store.set_availability(Availability::Unavailable);
    let began_at = two.clock.now();
    let acts = [OperatorAct::Reset(ann()), OperatorAct::Probe(ann()), set(OverrideKind::Disabled)];
    for act in acts {
        let error = two.act(1, act).await.unwrap_err();
        assert!(matches!(error, ActError::Unavailable { .. }), "{error}");
    }
    assert!(two.clock.now().since(began_at) >= 3 * ACT_WAITS, "the store was waited for");
    assert_eq!((two.shown(1), two.journalled(1)), (Some((State::Open, 1)), 0));
    two.store.set_availability(Availability::Available);
    assert_eq!(two.history().await.len(), 1, "the trip");
}

#[tokio::test]
async fn forced_open_stands_without_the_store_which_has_it_afterwards() {
    let mut two = Two::new();
    two.trip().await;
    two.store.set_availability(Availability::Unavailable);
    let done = two.act(0, set(OverrideKind::ForcedOpen)).await.unwrap();
    assert!(done.acted.changed && !done.is_stored);
    assert_eq!(two.shown(0), Some((State::ForcedOpen, 1)), "on the row that was known");
    // It would undo what came after it.
    for act in [OperatorAct::Reset(ann()), set(OverrideKind::MetricsOnly), OperatorAct::Delete(ann())] {
        assert!(matches!(two.act(0, act).await, Err(ActError::Unconfirmed)));
    }
    two.store.set_availability(Availability::Available);
    // Meanwhile another operator, who has not heard of it.
    two.act(1, OperatorAct::Reset(ann())).await.unwrap();
    two.catch_up(0).await;
    assert_eq!(two.shown(0).unwrap().0, State::ForcedOpen, "it holds until the store has answered");
    two.settle().await;
    assert_eq!(two.shown(0).unwrap().0, State::ForcedOpen);
    two.catch_up(1).await;
    assert_eq!(two.shown(1), two.shown(0));
    assert!(two.act(0, OperatorAct::Reset(ann())).await.unwrap().acted.changed);
    let reasons: Vec<_> = two.history().await.iter().map(|row| (row.reason, row.epoch)).collect();
    assert_eq!(reasons.last(), Some(&(Reason::Reset, Some(4))), "{reasons:?}");
}

#[tokio::test]
async fn an_act_that_did_not_know_of_another_is_done_on_the_row_that_stands() {
    let mut two = Two::new();
    two.trip().await;
    two.act(1, set(OverrideKind::Disabled)).await.unwrap();
    assert_eq!(two.shown(0), Some((State::Open, 1)), "it has not heard of it");
    let done = two.act(0, OperatorAct::Reset(ann())).await.unwrap();
    assert_eq!((done.acted.epoch, done.acted.changed), (3, true));
    let history = two.history().await;
    let brief: Vec<_> = history.iter().map(|row| (row.reason, row.epoch, row.superseded)).collect();
    let expected = [
        (Reason::ConsecutiveFailures, Some(1), false),
        (Reason::OverrideSet, Some(2), false),
        (Reason::Reset, None, true),
        (Reason::Reset, Some(3), false),
    ];
    assert_eq!(brief, expected);
}

#[tokio::test]
async fn a_reset_does_not_end_a_forced_open_that_its_operator_had_not_seen() {
    let mut two = Two::new();
    two.trip().await;
    two.act(0, set(OverrideKind::ForcedOpen)).await.unwrap();
    two.settle().await;
    let refused = two.act(1, OperatorAct::Reset(ann())).await.unwrap_err();
    let ActError::Refused(OperatorError::WrongState(wrong)) = refused else { panic!("{refused}") };
    assert_eq!((wrong.state, wrong.needed), (State::ForcedOpen, Needed::NoNewForcedOpen));
    assert_eq!(two.shown(1), Some((State::ForcedOpen, 2)));
    // Now it is known.
    assert!(two.act(1, OperatorAct::Reset(ann())).await.unwrap().acted.changed);
}

#[tokio::test]
async fn what_another_operator_did_already_is_not_done_again() {
    let mut two = Two::new();
    two.trip().await;
    two.act(0, OperatorAct::Reset(ann())).await.unwrap();
    let done = two.act(1, OperatorAct::Reset(ann())).await.unwrap();
    assert_eq!((done.acted.epoch, done.acted.changed), (2, false));
    assert_eq!(two.shown(1), Some((State::Closed, 2)));
    // And the same override again is no change.
    two.act(1, set(OverrideKind::Disabled)).await.unwrap();
    assert!(!two.act(1, set(OverrideKind::Disabled)).await.unwrap().acted.changed);
    assert_eq!(two.shown(1), Some((State::Disabled, 3)));
}

#[tokio::test]
async fn an_act_whose_answer_is_lost_is_done_once() {
    let mut two = Two::new();
    two.trip().await;
    two.store.lose_answers(2);
    let done = two.act(1, OperatorAct::Probe(ann())).await.unwrap();
    assert_eq!((done.acted.epoch, done.acted.changed), (2, true));
    assert_eq!(two.shown(1), Some((State::HalfOpen, 2)));
    assert_eq!(two.history().await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_without_the_store() {
    let mut two = Two::new();
    two.trip().await;
    two.store.set_availability(Availability::Unavailable);
    let refused = two.act(0, OperatorAct::ClearOverride(ann())).await;
    assert!(matches!(refused, Err(ActError::Refused(OperatorError::WrongState(_)))));
    let nobody = Key::new("db", "slip").unwrap();
    let act = two.replicas[0].replica.act(
        Creator::Server,
        Unknown::Refuse,
        &nobody,
        set(OverrideKind::Disabled),
        ACT_WAITS,
    );
    assert!(matches!(act.await, Err(ActError::Refused(OperatorError::NotThere))));
}

#[tokio::test]
async fn a_breaker_that_is_deleted_is_deleted_on_all() {
    let mut two = Two::new();
    two.trip().await;
    let done = two.act(1, OperatorAct::Delete(ann())).await.unwrap();
    assert_eq!((done.acted.epoch, done.acted.changed), (2, true));
    assert!(
        two.replicas[1].engine.retire_deleted("db", "a", 0, two.clock.now()),
        "nothing but its epoch is left"
    );
    assert_eq!(two.replicas[0].engine.len(), 1);
    two.catch_up(0).await;
    assert_eq!((two.shown(0), two.replicas[0].engine.len()), (Some((State::Closed, 2)), 0));
    // It is there again at once, and goes on from its epoch.
    two.fail();
    two.settle().await;
    assert_eq!(two.shown(0), Some((State::Open, 3)));
}

#[tokio::test]
async fn a_breaker_is_deleted_through_a_replica_that_does_not_use_it() {
    // Retired here, in use there: deleted once, and used again there.
    let mut two = Two::new();
    two.trip().await;
    two.act(1, OperatorAct::Delete(ann())).await.unwrap();
    two.replicas[1].engine.retire_deleted("db", "a", 0, two.clock.now());
    two.catch_up(0).await;
    two.allow(0);
    let done = two.act(1, OperatorAct::Delete(ann())).await.unwrap();
    assert_eq!((done.acted.epoch, done.acted.changed), (3, true));
    two.catch_up(0).await;
    assert_eq!((two.shown(0), two.replicas[0].engine.len()), (Some((State::Closed, 3)), 0));

    // Not known here: the other one uses it, and it never changed its state.
    let mut two = Two::new();
    let before = two.allow(0);
    let done = two.act(1, OperatorAct::Delete(ann())).await.unwrap();
    assert_eq!((done.acted.epoch, done.acted.changed), (1, true));
    two.catch_up(0).await;
    assert_eq!((two.shown(0), two.replicas[0].engine.len()), (Some((State::Closed, 1)), 0));
    assert_eq!(two.report(0, before), Recorded::Late);
}

#[tokio::test]
async fn a_trip_that_the_store_hears_of_late_has_waited_meanwhile() {
    let two = Two::new();
    two.store.set_availability(Availability::Unavailable);
    two.fail();
    // A wall clock that is set is nothing to it.
    two.clock.set_wall(NOW - Duration::from_hours(2));
    two.clock.advance(Duration::from_secs(20));
    two.store.set_availability(Availability::Available);
    two.settle().await;
    let opened = &two.history().await[0];
    assert_eq!((opened.epoch, opened.wait), (Some(1), Some(Duration::from_mins(1))));
    let stored = two.store.breakers(None, 1).await.unwrap();
    let wall = |time| two.clock.wall_offset().to_wall(time);
    let waits_until = stored[0].snapshot.open_until().unwrap();
    assert!(waits_until <= wall(NOW + Duration::from_secs(61)), "{waits_until:?}");
}

#[tokio::test]
async fn a_trip_whose_wait_was_over_before_the_store_heard_of_it_is_history_only() {
    let mut two = Two::new();
    two.store.set_availability(Availability::Unavailable);
    two.fail();
    two.clock.advance(Duration::from_mins(2));
    two.store.set_availability(Availability::Available);
    two.settle().await;
    assert_eq!(two.shown(0), Some((State::Closed, 0)));
    let history = two.history().await;
    assert_eq!(history.len(), 1);
    assert!(history[0].superseded && history[0].to == State::Open);
    two.catch_up(1).await;
    assert_eq!(two.shown(1), None);
}
