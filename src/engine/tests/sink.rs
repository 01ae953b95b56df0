//! What the sink hears beside transitions.

use std::sync::atomic::AtomicUsize;

use super::*;

/// Keeps what it hears.
#[derive(Debug, Default, Clone)]
struct Heard {
    kept: Kept,
    moved: Arc<parking_lot::Mutex<Vec<String>>>,
    all_changed: Arc<AtomicUsize>,
}

impl TransitionSink for Heard {
    fn append(&self, event: Event<'_>) -> Appended {
        self.kept.append(event)
    }

    fn moved(&self, key: &Key) {
        self.moved.lock().push(key.name().to_string());
    }

    fn all_changed(&self) {
        self.all_changed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Heard {
    /// The names of the breakers that were moved since the last look.
    fn moved(&self) -> Vec<String> {
        std::mem::take(&mut self.moved.lock())
    }

    /// How often everything changed since the last look.
    fn all_changed(&self) -> usize {
        self.all_changed.swap(0, Ordering::Relaxed)
    }
}

fn engine() -> (Engine, Heard) {
    let heard = Heard::default();
    let catalog = catalog(&declaration(), 1);
    (Engine::new(LIMITS, identity(1), &catalog, Box::new(heard.clone()), at(0)), heard)
}

fn own(kind: OverrideKind) -> Override {
    Override { scope: Scope::Breaker, ..of_service(kind, None) }
}

#[test]
fn a_wait_that_ends_at_another_time_is_announced_and_one_that_ends_now_is_a_transition() {
    let (engine, heard) = engine();
    trip(&engine, "db", "", at(0));
    engine.apply(&catalog(&waiting(10), 2), at(5));
    assert_eq!(heard.moved(), ["db"]);
    engine.apply(&catalog(&waiting(10), 3), at(5));
    assert!(heard.moved().is_empty(), "it ends when it did");
    engine.apply(&catalog(&waiting(2), 4), at(6));
    assert_eq!(heard.kept.edges().len(), 2);
    assert!(heard.moved().is_empty(), "the transition says so");
}

#[test]
fn a_breaker_that_is_born_into_an_override_is_announced_once() {
    let (engine, heard) = engine();
    engine.note_service_overrides(
        [("other".to_owned(), of_service(OverrideKind::ForcedOpen, None).into())],
        at(0),
    );
    engine.allow("other", "born", at(0)).unwrap();
    assert_eq!(heard.moved(), ["born"]);
    engine.allow("other", "born", at(1)).unwrap();
    assert!(heard.moved().is_empty());
    let disabled = own(OverrideKind::Disabled);
    engine.set_override(Creator::Server, Unknown::Create, "other", "set", disabled, at(1)).unwrap();
    assert_eq!(heard.kept.edges().len(), 1);
    engine.allow("other", "set", at(1)).unwrap();
    assert!(heard.moved().is_empty(), "its first transition said so");
}

#[test]
fn calls_of_a_breaker_that_is_open_announce_nothing() {
    let (engine, heard) = engine();
    trip(&engine, "db", "", at(0));
    engine.allow("db", "", at(1)).unwrap();
    engine.allow("web", "", at(1)).unwrap();
    assert!(heard.moved().is_empty());
}

#[test]
fn everything_changes_when_breakerd_is_disabled_and_when_it_is_enabled() {
    let (engine, heard) = engine();
    engine.apply(&catalog(&waiting(10), 2), at(0));
    assert_eq!(heard.all_changed(), 0, "another setting");
    engine.apply(&catalog(&Declaration { enabled: false, ..declaration() }, 3), at(0));
    assert_eq!(heard.all_changed(), 1);
    engine.apply(&catalog(&Declaration { enabled: false, ..waiting(10) }, 4), at(0));
    assert_eq!(heard.all_changed(), 0, "it was disabled before");
    engine.apply(&catalog(&declaration(), 5), at(0));
    assert_eq!(heard.all_changed(), 1);
}

#[test]
fn everything_changes_with_each_override_while_there_are_retired_breakers() {
    let (engine, heard) = engine();
    let retired = Snapshot { epoch: 2, entered_at: at(0), ..Snapshot::pristine() };
    engine.restore(&Key::new("other", "retired").unwrap(), &retired, None, 0, at(3_600));
    assert_eq!(engine.retired(), 1);
    let note = |kind| {
        engine.note_service_overrides([("other".to_owned(), of_service(kind, None).into())], at(3_600));
        heard.all_changed()
    };
    assert_eq!((note(OverrideKind::ForcedOpen), note(OverrideKind::ForcedOpen)), (1, 0));
    assert_eq!(note(OverrideKind::Disabled), 1, "another one in the place of the first");
}
