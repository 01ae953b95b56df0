//! Schedules explored: shuttle runs each body under many interleavings of its threads.
//! `cargo test --lib --features shuttle shuttle`

use std::collections::BTreeMap;
use std::time::Duration;

use breaker::{
    Attribution, Field, Key, Layer, Numbering, Outcome, Override, OverrideKind, Report, Scope, Value,
};
use shuttle::sync::Arc;
use shuttle::thread;

use super::*;
use crate::catalog::Declaration;

/// Schedules tried of each body.
const SCHEDULES: usize = 2_000;

#[derive(Default, Clone)]
struct Kept(
    std::sync::Arc<std::sync::Mutex<Vec<(Key, Transition)>>>,
    std::sync::Arc<std::sync::Mutex<usize>>,
);

impl TransitionSink for Kept {
    fn append(&self, event: Event<'_>) -> Appended {
        let mut kept = self.0.lock().expect("nobody panics");
        kept.push((event.key.clone(), event.transition.clone()));
        (kept.len() as u64).into()
    }

    fn all_changed(&self) {
        *self.1.lock().expect("nobody panics") += 1;
    }
}

fn declaration(failure_threshold: u32) -> Declaration {
    let defaults = Layer::default()
        .with(Field::FailureThreshold, Value::Count(failure_threshold))
        .and_then(|layer| layer.with(Field::Timeout, Value::Duration(Duration::from_secs(30))))
        .expect("in range");
    Declaration { enabled: true, defaults, ..Declaration::default() }
}

fn catalog(failure_threshold: u32, revision: u64) -> std::sync::Arc<Catalog> {
    let catalog = Catalog::new(&declaration(failure_threshold), revision, &BTreeMap::new());
    std::sync::Arc::new(catalog.expect("no contradiction"))
}

fn engine(breakers_max: usize) -> (Arc<Engine>, Kept) {
    let limits = Limits {
        breakers_max,
        breakers_per_service_max: breakers_max,
        breakers_per_caller_max: breakers_max,
        own_series_max: 1,
        idle_ttl: Duration::from_secs(60),
    };
    let identity =
        StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer: 1, numbering: Numbering::Own };
    let kept = Kept::default();
    let engine = Engine::new(limits, identity, &catalog(1, 1), Box::new(kept.clone()), at(0));
    (Arc::new(engine), kept)
}

fn at(seconds: u64) -> Time {
    Time::from_micros(1_700_000_000_000_000) + Duration::from_secs(seconds)
}

fn fail(engine: &Engine, name: &str, now: Time) -> Option<RecordResult> {
    let permit = engine.allow("db", name, now).ok()?.permit?;
    let target = Target { permit: Some(permit), service: "", name: "", epoch: None };
    engine.record(target, &Report::plain(Outcome::Failure), now).ok()
}

fn explore(body: impl Fn() + Send + Sync + 'static) {
    shuttle::check_pct(body, SCHEDULES, 3);
}

#[test]
fn shuttle_no_schedule_gives_more_probes_than_permitted() {
    explore(|| {
        let (engine, _) = engine(8);
        fail(&engine, "", at(0));
        let askers: Vec<_> = (0..4)
            .map(|_| {
                let engine = Arc::clone(&engine);
                thread::spawn(move || engine.allow("db", "", at(30)).is_ok_and(|a| a.permit.is_some()))
            })
            .collect();
        let timer = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || engine.tick(at(30)))
        };
        let given = askers.into_iter().map(|asker| asker.join().expect("no panic"));
        assert_eq!(given.filter(|given| *given).count(), 2);
        timer.join().expect("no panic");
    });
}

#[test]
fn shuttle_changes_reach_the_outbox_in_the_order_of_their_epochs() {
    explore(|| {
        let (engine, kept) = engine(8);
        let threads: Vec<_> = (0..3_u64)
            .map(|i| {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    fail(&engine, "", at(40 * i));
                    engine.tick(at(40 * i + 30));
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        let epochs: Vec<_> =
            kept.0.lock().expect("nobody panics").iter().map(|(_, change)| change.after.epoch).collect();
        assert_eq!(epochs, (1..=epochs.len() as u64).collect::<Vec<_>>());
    });
}

#[test]
fn shuttle_a_breaker_born_during_a_change_of_thresholds_is_judged_by_the_new_ones() {
    explore(|| {
        let (engine, _) = engine(8);
        let born = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || engine.allow("db", "new", at(0)).is_ok())
        };
        let change = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || engine.apply(&catalog(7, 2), at(0)))
        };
        assert!(born.join().expect("no panic"));
        change.join().expect("no panic");
        let view = engine.view("db", "new", at(0)).expect("it was born");
        assert_eq!((view.thresholds.failure_threshold(), view.config_revision), (7, 2));
    });
}

#[test]
fn shuttle_the_bound_on_breakers_holds_and_retiring_loses_no_count() {
    explore(|| {
        let (engine, _) = engine(2);
        engine.allow("db", "old", at(0)).expect("there is room");
        let threads: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    let made = engine.allow("db", name, at(61)).is_ok();
                    assert!(engine.len() <= 2);
                    made
                })
            })
            .collect();
        let sweep = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || engine.sweep(u64::MAX, at(61)))
        };
        let made: usize = threads.into_iter().map(|t| usize::from(t.join().expect("no panic"))).sum();
        sweep.join().expect("no panic");
        assert!((1..=2).contains(&made));
        let mut seen = 0;
        engine.for_each(at(61), |_| seen += 1);
        assert_eq!(seen, engine.len());
    });
}

#[test]
fn shuttle_the_end_of_an_override_is_told_once_of_a_breaker_that_is_retired_meanwhile() {
    explore(|| {
        let (engine, kept) = engine(2);
        let set = Override {
            kind: OverrideKind::ForcedOpen,
            scope: Scope::Service,
            expires_at: None,
            ttl: None,
            actor: "ann".to_owned(),
            reason: "a drill".to_owned(),
        };
        engine.note_service_overrides([("db".to_owned(), set.into())], at(0));
        engine.allow("db", "x", at(0)).expect("there is room");
        let sweep = {
            let engine = Arc::clone(&engine);
            // The store has nothing yet: one that was told of the end stays until it has that.
            thread::spawn(move || engine.sweep(0, at(61)))
        };
        let end = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || {
                engine.note_service_overrides([], at(0));
                let by = Attribution { actor: "ann".to_owned(), reason: String::new() };
                let mut walk = engine.walk(Some("db"), by);
                while engine.walk_on(&mut walk, 1, at(61)) {}
            })
        };
        let retired = sweep.join().expect("no panic");
        end.join().expect("no panic");
        let sent = kept.0.lock().expect("nobody panics").len();
        let anew = *kept.1.lock().expect("nobody panics");
        assert_eq!((sent, engine.len()), (1 - retired, 1 - retired));
        assert!(sent + anew >= 1, "somebody who follows was told that it denies");
    });
}

fn by() -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: String::new() }
}

/// Closed, at epoch 2.
fn trip_and_reset(engine: &Engine, name: &str) {
    fail(engine, name, at(0));
    engine.reset("db", name, by(), at(0)).expect("it is there");
}

/// Every change of a breaker has an epoch of its own, in order; and what is in the shards is in the index.
fn check_consistent(engine: &Engine, kept: &Kept) {
    let epochs: Vec<_> =
        kept.0.lock().expect("nobody panics").iter().map(|(_, change)| change.after.epoch).collect();
    assert_eq!(epochs, (1..=epochs.len() as u64).collect::<Vec<_>>());
    let view = engine.view("db", "x", at(61)).expect("it is never forgotten");
    assert_eq!(view.view.snapshot.epoch, epochs.len() as u64);
    let mut seen = 0;
    engine.for_each(at(61), |_| seen += 1);
    let query = ListQuery { limit: 9, ..ListQuery::default() };
    assert_eq!((seen, engine.list(&query, at(61), |_| true).len()), (engine.len(), engine.len()));
}

#[test]
fn shuttle_a_call_a_sweep_and_a_deletion_of_one_breaker_lose_no_epoch() {
    explore(|| {
        let (engine, kept) = engine(2);
        trip_and_reset(&engine, "x");
        let threads = [
            {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    let decision = engine.allow("db", "x", at(61)).expect("there is room").decision;
                    assert!((2..=3).contains(&decision.epoch), "{}", decision.epoch);
                })
            },
            {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    engine.sweep(u64::MAX, at(61));
                })
            },
            {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    engine.delete("db", "x", by(), at(61)).expect("it is known all the time");
                    engine.retire_deleted("db", "x", u64::MAX, at(61));
                })
            },
        ];
        for thread in threads {
            thread.join().expect("no panic");
        }
        check_consistent(&engine, &kept);
    });
}

#[test]
fn shuttle_a_trip_beside_a_sweep_is_kept_and_an_old_permit_changes_nothing() {
    explore(|| {
        let (engine, kept) = engine(2);
        let old = engine.allow("db", "x", at(0)).expect("there is room").permit;
        trip_and_reset(&engine, "x");
        let threads = [
            {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    fail(&engine, "x", at(61));
                })
            },
            {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    engine.sweep(u64::MAX, at(61));
                })
            },
            {
                let engine = Arc::clone(&engine);
                thread::spawn(move || {
                    let target = Target { permit: old, service: "", name: "", epoch: None };
                    let answer = engine.record(target, &Report::plain(Outcome::Failure), at(61));
                    assert_eq!(answer.map(|answer| answer.recorded), Ok(breaker::Recorded::Late));
                })
            },
        ];
        for thread in threads {
            thread.join().expect("no panic");
        }
        check_consistent(&engine, &kept);
    });
}
