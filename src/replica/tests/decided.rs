//! What the outcome of a probe decided is kept, and logged and counted once, whatever becomes of the answer.

use breaker::Reason;
use tokio::task::JoinHandle;

use super::bed::{Asked, Bed};
use super::*;
use crate::engine::Permit;
use crate::store::{MemorySnapshot, StoredTransition, TimelineStore as _, TransitionQuery};

/// A caller reports that its probe failed.
fn fail(bed: &Bed, permit: Option<Permit>) -> JoinHandle<RecordResult> {
    let replica = bed.replica.clone();
    let wait_until = replica.outcomes_wait_until(None);
    tokio::spawn(async move {
        let target = Target { permit, service: "", name: "", epoch: None };
        replica.record(Creator::Server, target, &Report::plain(Outcome::Failure), wait_until).await.unwrap()
    })
}

/// What the history has of what probes decided.
fn history(bed: &Bed) -> Vec<StoredTransition> {
    let query = TransitionQuery { limit: u32::MAX, ..TransitionQuery::default() };
    let of_probes = |row: &StoredTransition| row.reason == Reason::ProbesFailed;
    bed.asked.store.history(&query).into_iter().filter(of_probes).collect()
}

/// How often this replica has counted it.
fn counted(bed: &Bed) -> u64 {
    let view = bed.engine.view("db", "a", bed.clock.now()).unwrap();
    let transitions = view.counters.opened.map(|opened| opened.transitions).unwrap_or_default();
    transitions.get(&(State::HalfOpen, State::Open, Reason::ProbesFailed)).copied().unwrap_or(0)
}

/// Ends when `is_so`. What has a pause goes on meanwhile, but no breaker comes to the end of its wait while the journal's disk is slow.
async fn until(bed: &Bed, is_so: impl Fn(&Bed) -> bool) {
    let waited = async {
        let pauses_end_at = bed.clock.now() + Duration::from_secs(5);
        while !is_so(bed) {
            if bed.clock.now() < pauses_end_at {
                bed.clock.advance(Duration::from_millis(10));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.expect("it comes to that");
}

/// Carries the journal to the store.
fn write(bed: &Bed) -> CancellationToken {
    let clock: Arc<dyn Clock> = Arc::new(bed.clock.clone());
    let answers = Arc::new(Answers::new(Arc::clone(&bed.engine), clock));
    let store: Arc<dyn SharedStore> = Arc::<Asked>::clone(&bed.asked);
    let stop = CancellationToken::new();
    tokio::spawn(Writer::to_shared(Arc::clone(&bed.journal), store, answers).run(stop.clone()));
    stop
}

/// The store loses everything that came after `before`, and this replica hears of it.
async fn go_back(bed: &Bed, before: &MemorySnapshot) {
    let store = &bed.asked.store;
    store.promote(before);
    store.begin_timeline(0, 0).await.unwrap();
    bed.engine.begin_timeline(store.meta().await.unwrap().timeline);
    bed.journal.send_again();
}

#[tokio::test]
async fn what_an_outcome_decided_is_kept_if_its_answer_is_lost_and_the_breaker_changes_again() {
    let bed = Bed::half_open(&["a"], 1).await;
    let (_stop, _running) = bed.run();
    let _stop_writing = write(&bed);
    let before = bed.asked.store.snapshot();
    let permit = bed.allow("a").await.permit;
    bed.asked.store.lose_answers(1);
    let _reported = fail(&bed, permit);
    until(&bed, |bed| !history(bed).is_empty()).await;
    bed.disable("a").await;
    until(&bed, |bed| bed.journal.stored_up_to() == 1).await;
    assert_eq!((history(&bed).len(), counted(&bed)), (1, 1), "it stood");
    go_back(&bed, &before).await;
    assert_eq!(history(&bed), []);
    until(&bed, |bed| bed.journal.stored_up_to() == 1).await;
    let [row] = history(&bed).try_into().unwrap();
    assert_eq!((row.base_epoch, row.timeline, row.superseded), (1, Some(0), true));
    assert_eq!(counted(&bed), 1, "of what stood before");
}

#[tokio::test]
async fn what_an_outcome_decided_is_logged_and_counted_once() {
    let bed = Bed::half_open(&["a"], 1).await;
    let (_stop, _running) = bed.run();
    let _stop_writing = write(&bed);
    let permit = bed.allow("a").await.permit;
    fail(&bed, permit).await.unwrap();
    until(&bed, |bed| bed.journal.stored_up_to() == 1).await;
    assert_eq!(counted(&bed), 1);
    bed.journal.send_again();
    until(&bed, |bed| bed.journal.stored_up_to() == 1).await;
    assert_eq!(counted(&bed), 1, "what is sent again was counted");
}

#[tokio::test]
async fn what_an_outcome_decided_is_kept_though_the_answer_is_of_a_timeline_that_is_over() {
    let bed = Bed::half_open(&["a"], 1).await;
    let (_stop, _running) = bed.run();
    let before = bed.asked.store.snapshot();
    let permit = bed.allow("a").await.permit;
    let deliveries = bed.asked.delivered.forget_permits(usize::MAX);
    let reported = fail(&bed, permit);
    until(&bed, |bed| !history(bed).is_empty()).await;
    go_back(&bed, &before).await;
    bed.asked.delivered.add_permits(deliveries);
    until(&bed, |_| reported.is_finished()).await;
    let _stop_writing = write(&bed);
    until(&bed, |bed| !history(bed).is_empty()).await;
    let [row] = history(&bed).try_into().unwrap();
    assert_eq!((row.base_epoch, row.timeline, row.superseded), (1, Some(0), true));
    assert_eq!(counted(&bed), 0, "it does not stand");
}
