//! What only the store in memory promises: its faults, its copies, and that it does the same again.

use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, State, Time};
use breakerd::store::{
    Answer, Availability, ConfigEdit, ConfigStore, MemoryStore, RequestId, Retention, StoreAdmin, StoreError,
    TimelineStore, TransitionQuery, TransitionStore,
};
use breakerd_common::clock::ManualClock;
use futures_util::FutureExt;

use super::change::{NOON, key, own, proposed, trip};
use super::configuration::{thresholds, try_write};

/// What a call comes to at its first poll, without a runtime: it waits for nothing.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("no call waits")
}

fn store(seed: u64) -> (MemoryStore, ManualClock) {
    let clock = ManualClock::new(NOON + Duration::from_hours(1));
    (MemoryStore::new(Arc::new(clock.clone()), seed), clock)
}

fn propose(store: &MemoryStore, seq: u64, key: &Key) -> Result<Vec<Answer>, StoreError> {
    at_once(store.propose(&[trip(seq, key)]))
}

fn set_threshold(store: &MemoryStore, based_on: u64) -> Result<(), StoreError> {
    at_once(try_write(store, based_on, thresholds("a", 3), &["a"], None)).map(drop)
}

fn history_len(store: &MemoryStore) -> usize {
    at_once(store.transitions(&TransitionQuery { limit: 99, ..TransitionQuery::default() })).unwrap().len()
}

/// What each call that reads came to.
fn reads(store: &MemoryStore) -> Vec<Result<(), StoreError>> {
    let request = RequestId { id: "one".to_owned(), digest: 1 };
    vec![
        at_once(store.breakers(None, 1)).map(drop),
        at_once(store.transitions(&TransitionQuery::default())).map(drop),
        at_once(store.history_floor()).map(drop),
        at_once(store.breakers_without_history(Time::MAX, None, 1)).map(drop),
        at_once(store.configuration()).map(drop),
        at_once(store.request(&request)).map(drop),
        at_once(store.changes(&breakerd::store::ChangeQuery::default())).map(drop),
        at_once(store.meta()).map(drop),
        at_once(store.revision()).map(drop),
        at_once(store.position(0)).map(drop),
        at_once(store.ping()),
    ]
}

/// What each call that writes came to.
fn writes(store: &MemoryStore) -> Vec<Result<(), StoreError>> {
    let request = RequestId { id: "one".to_owned(), digest: 1 };
    let none = Retention { before: Time::ZERO, requests_before: Time::ZERO };
    vec![
        propose(store, 90, &key("z", "")).map(drop),
        at_once(store.prune(none)).map(drop),
        at_once(store.delete_breakers(&[(key("z", ""), 1)])).map(drop),
        set_threshold(store, 0),
        at_once(store.keep_request(&request)),
        at_once(store.renew_timeline(0, 0)),
        at_once(store.check_writable()),
    ]
}

fn is_unavailable(answer: &Result<(), StoreError>) -> bool {
    matches!(answer, Err(error @ StoreError::Unavailable { .. }) if error.is_transient())
}

#[test]
fn a_store_that_is_unavailable_answers_nothing_and_changes_nothing() {
    let (store, _) = store(1);
    store.set_availability(Availability::Unavailable);
    for answer in reads(&store).iter().chain(&writes(&store)) {
        assert!(is_unavailable(answer), "{answer:?}");
    }
    store.set_availability(Availability::Available);
    assert_eq!(at_once(store.revision()).unwrap(), 0);
    assert_eq!(at_once(store.meta()).unwrap().timeline, 0);
    assert!(reads(&store).iter().chain(&writes(&store)).all(Result::is_ok));
    assert_eq!(at_once(store.revision()).unwrap(), 3);
}

#[test]
fn a_store_that_is_read_only_answers_what_reads_and_changes_nothing() {
    let (store, _) = store(1);
    propose(&store, 1, &key("a", "")).unwrap();
    store.set_availability(Availability::ReadOnly);
    let answers = writes(&store);
    assert!(answers.iter().all(is_unavailable), "{answers:?}");
    let error = answers[0].as_ref().unwrap_err().to_string();
    assert_eq!(error, "write transitions: store is read-only");
    assert!(reads(&store).iter().all(Result::is_ok));
    assert_eq!((at_once(store.revision()).unwrap(), history_len(&store)), (1, 1));
}

#[test]
fn a_call_whose_answer_is_lost_has_taken_effect() {
    let (store, _) = store(1);
    store.lose_answers(2);
    propose(&store, 1, &key("a", "")).unwrap_err();
    set_threshold(&store, 0).unwrap_err();
    assert_eq!(at_once(store.revision()).unwrap(), 2, "two answers were to be lost, and not three");
    let again = propose(&store, 1, &key("a", "")).unwrap();
    assert_eq!(again, [Answer::Won { epoch: 1, revision: 1 }], "it is known");
    let stored = at_once(store.configuration()).unwrap();
    assert_eq!((stored.revision, stored.set.len()), (2, 1));
    // A call that does not come through loses no answer.
    store.lose_answers(1);
    store.set_availability(Availability::Unavailable);
    propose(&store, 2, &key("b", "")).unwrap_err();
    store.set_availability(Availability::Available);
    assert_eq!(history_len_lost(&store), (true, 1));
    // Those that are to be lost are not added up, and may be taken back.
    store.lose_answers(9);
    store.lose_answers(0);
    assert_eq!(history_len(&store), 1);
}

/// Whether the answer to a read was lost, and what the next one says.
fn history_len_lost(store: &MemoryStore) -> (bool, usize) {
    (at_once(store.ping()).is_err(), history_len(store))
}

#[test]
fn a_store_that_goes_back_holds_what_it_held_and_can_be_told() {
    let (store, clock) = store(1);
    propose(&store, 1, &key("a", "")).unwrap();
    let (backup, meta) = (store.snapshot(), at_once(store.meta()).unwrap());
    propose(&store, 2, &key("b", "")).unwrap();
    set_threshold(&store, 0).unwrap();
    at_once(store.renew_timeline(0, 0)).unwrap();
    at_once(store.keep_request(&RequestId { id: "one".to_owned(), digest: 1 })).unwrap();
    let seen = at_once(store.position(0)).unwrap().newest;
    clock.advance(Duration::from_secs(1));
    // The fault is one of the server, and not of what it holds.
    store.lose_answers(1);
    store.restore(&backup);
    at_once(store.ping()).unwrap_err();

    assert_eq!(at_once(store.meta()).unwrap(), meta);
    assert!(at_once(store.position(seen.revision)).unwrap().went_back_behind(seen));
    assert_eq!((at_once(store.revision()).unwrap(), history_len(&store)), (1, 1));
    assert!(at_once(store.configuration()).unwrap().set.is_empty());
    let request = RequestId { id: "one".to_owned(), digest: 2 };
    assert_eq!(at_once(store.request(&request)).unwrap(), None);
    assert_eq!(at_once(store.breakers(None, 9)).unwrap().len(), 1);
    // What it had answered it does not know any more, and its revisions are given again: with another nonce.
    let again = propose(&store, 2, &key("b", "")).unwrap();
    assert_eq!(again, [Answer::Won { epoch: 1, revision: 2 }]);
    set_threshold(&store, 0).unwrap();
    at_once(store.renew_timeline(0, 0)).unwrap();
    let position = at_once(store.position(seen.revision)).unwrap();
    assert_eq!(position.newest.revision, seen.revision);
    assert!(position.went_back_behind(seen), "{position:?}");
    // The backup is as it was, however often it is restored, and another store can be made of it.
    store.restore(&backup);
    assert_eq!(at_once(store.revision()).unwrap(), 1);
    let (copy, _) = self::store(2);
    copy.restore(&backup);
    assert_eq!(at_once(copy.meta()).unwrap(), meta);
    propose(&copy, 3, &key("c", "")).unwrap();
    assert_eq!((history_len(&copy), history_len(&store)), (2, 1));
}

#[test]
fn the_same_calls_get_the_same_answers_with_the_same_seed_and_other_nonces_with_another() {
    let play = |seed| {
        let (store, clock) = store(seed);
        let mut said = Vec::new();
        for round in 0..40 {
            let keys: Vec<_> = (0..5).map(|n| key("service", &format!("{}", (n * 7 + round) % 11))).collect();
            let batch: Vec<_> = (round * 5..)
                .zip(&keys)
                .map(|(seq, key)| match seq % 3 {
                    0 => trip(seq, key),
                    1 => proposed(seq, key, State::Open, State::HalfOpen, 1),
                    _ => own(seq, key, State::HalfOpen, State::Closed, round),
                })
                .collect();
            said.push(format!("{:?}", at_once(store.propose(&batch))));
            clock.advance(Duration::from_millis(round));
        }
        set_threshold(&store, 0).unwrap();
        at_once(store.renew_timeline(0, 3)).unwrap();
        said.push(format!("{:?}", at_once(store.breakers(None, 99))));
        let all = TransitionQuery { limit: 999, ..TransitionQuery::default() };
        said.push(format!("{:?}", at_once(store.transitions(&all))));
        let position = format!("{:?} {:?}", at_once(store.position(3)), at_once(store.meta()));
        (said, position)
    };
    let (first, second, other) = (play(7), play(7), play(8));
    assert_eq!(first, second);
    assert_eq!(first.0, other.0, "only what is random is another");
    assert_ne!(first.1, other.1);
}

#[test]
fn several_that_share_it_go_on_when_one_closes_it() {
    let (store, _) = store(1);
    at_once(store.close());
    propose(&store, 1, &key("a", "")).unwrap();
    assert_eq!(at_once(store.revision()).unwrap(), 1);
}

#[test]
fn a_change_that_fails_leaves_nothing_behind() {
    let (store, _) = store(1);
    let declaration = breakerd::catalog::Declaration { generation: Some(u64::MAX), ..Default::default() };
    let edit = ConfigEdit::FileApplied(declaration);
    let error = at_once(try_write(&store, 0, edit, &[""], None)).unwrap_err();
    assert!(error.to_string().contains("generation"), "{error}");
    assert_eq!(at_once(store.revision()).unwrap(), 0);
    assert_eq!(at_once(store.configuration()).unwrap(), breakerd::store::StoredConfiguration::default());
}
