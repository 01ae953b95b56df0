//! Breakers as the store and the journal kept them.

use super::*;

fn key(name: &str) -> Key {
    Key::new("other", name).unwrap()
}

fn live(engine: &Engine) -> Vec<Arc<Entry>> {
    engine.registry.entries_of(|service| service == "other")
}

#[test]
fn no_tombstone_is_left_of_one_that_never_changed_its_state_or_is_not_closed() {
    let (engine, _) = engine();
    let idle = at(3_600);
    let pristine = Snapshot { entered_at: at(0), ..Snapshot::pristine() };
    engine.restore(&key("pristine"), &pristine, None, 0, idle);
    assert_eq!((engine.len(), engine.retired()), (2, 0));
    let open = Snapshot { epoch: 3, state: State::Open, entered_at: at(0), ..Snapshot::pristine() };
    engine.restore(&key("open"), &open, None, 0, idle);
    assert_eq!((engine.len(), engine.retired()), (3, 0));
}

#[test]
fn one_that_the_store_gives_twice_leaves_one_tombstone() {
    let (engine, _) = engine();
    let closed = Snapshot { epoch: 7, entered_at: at(0), ..Snapshot::pristine() };
    for name in ["a", "a", "b"] {
        engine.restore(&key(name), &closed, None, 0, at(3_600));
    }
    assert_eq!((engine.len(), engine.retired()), (1, 2));
    assert!(!engine.is_empty());
}

#[test]
fn the_newest_transition_is_kept_of_those_only_that_the_journal_has_or_that_are_not_closed() {
    let (engine, _) = engine();
    let keeps = |lsn, state, entered_by: Option<EnteredBy>| {
        let entered_at = at(3_600);
        let snapshot = Snapshot { epoch: 1, state, entered_at, ..Snapshot::pristine() };
        let name = format!("{state}-{lsn}-{}", entered_by.is_some());
        engine.restore(&Key::new("other", &name).unwrap(), &snapshot, entered_by, lsn, entered_at);
        let restored = live(&engine).into_iter().find(|entry| **entry.key.name() == *name).unwrap();
        restored.inner.lock().newest.is_some()
    };
    let reset = EnteredBy { from: State::Open, reason: Reason::Reset, stats: Stats::default() };
    assert!(!keeps(0, State::Closed, None));
    assert!(!keeps(0, State::Closed, Some(reset)), "there may be a million of them");
    assert!(keeps(1, State::Closed, None), "it goes when the store has this");
    assert!(keeps(0, State::Open, Some(reset)));
}
