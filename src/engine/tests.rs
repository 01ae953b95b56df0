mod concurrency;
mod configuration;
mod deadlines;
mod limits;
mod lists;
mod operators;
mod overrides;
mod permits;
mod restoring;
mod retiring;
mod rows_that_go;
mod runs;
mod sink;
mod timelines;

use std::collections::BTreeMap;
use std::time::Duration;

use breaker::{
    Attribution, EnteredBy, Field, Key, Layer, Numbering, Outcome, Override, OverrideKind, Reason, Recorded,
    Report, Scope, Snapshot, Stats, Value, Verdict, WallOffset,
};

use super::*;
use crate::catalog::{Changed, Declaration};

/// Keeps what it is given.
#[derive(Debug, Default, Clone)]
struct Kept(Arc<parking_lot::Mutex<Vec<(Key, Transition)>>>);

impl TransitionSink for Kept {
    fn append(&self, event: Event<'_>) -> Appended {
        let mut kept = self.0.lock();
        kept.push((event.key.clone(), event.transition.clone()));
        (kept.len() as u64).into()
    }
}

impl Kept {
    fn edges(&self) -> Vec<(State, State, Reason)> {
        self.0.lock().iter().map(|(_, change)| (change.from, change.to(), change.reason)).collect()
    }
}

const LIMITS: Limits = Limits {
    breakers_max: 4,
    breakers_per_service_max: 4,
    breakers_per_caller_max: 4,
    own_series_max: 2,
    idle_ttl: Duration::from_hours(1),
};

fn at(seconds: u64) -> Time {
    Time::from_micros(1_700_000_000_000_000) + Duration::from_secs(seconds)
}

fn identity(issuer: u64) -> StoreIdentity {
    StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer, numbering: Numbering::Own }
}

/// One failure opens `db` for 30 s; two probes of it decide.
fn declaration() -> Declaration {
    let db = Layer::default()
        .with(Field::FailureThreshold, Value::Count(1))
        .and_then(|layer| layer.with(Field::Timeout, Value::Duration(Duration::from_secs(30))))
        .unwrap();
    Declaration { enabled: true, services: BTreeMap::from([("db".to_owned(), db)]), ..Declaration::default() }
}

fn waiting(seconds: u64) -> Declaration {
    let mut declaration = declaration();
    let db = declaration.services.get_mut("db").unwrap();
    db.set(Field::Timeout, Value::Duration(Duration::from_secs(seconds))).unwrap();
    declaration
}

fn catalog(declaration: &Declaration, revision: u64) -> Arc<Catalog> {
    Arc::new(Catalog::new(declaration, revision, &BTreeMap::new()).unwrap())
}

fn engine() -> (Engine, Kept) {
    let kept = Kept::default();
    let catalog = catalog(&declaration(), 1);
    (Engine::new(LIMITS, identity(1), &catalog, Box::new(kept.clone()), at(0)), kept)
}

fn by_permit(permit: Option<Permit>) -> Target<'static> {
    Target { permit, service: "", name: "", epoch: None }
}

fn trip(engine: &Engine, service: &str, name: &str, now: Time) {
    let permit = engine.allow(service, name, now).unwrap().permit;
    if permit.is_some() {
        engine.record(by_permit(permit), &Report::plain(Outcome::Failure), now).unwrap();
    }
}

fn of_service(kind: OverrideKind, expires_at: Option<Time>) -> Override {
    Override {
        kind,
        scope: Scope::Service,
        expires_at,
        ttl: None,
        actor: "bob".to_owned(),
        reason: "a drill".to_owned(),
    }
}

fn ann() -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: "done".to_owned() }
}

fn walk(engine: &Engine, service: &str, set: Option<Override>, now: Time) -> usize {
    engine.note_service_overrides(set.map(|set| (service.to_owned(), set.into())), now);
    let mut walk = engine.walk(Some(service), ann());
    while engine.walk_on(&mut walk, 1, now) {}
    walk.reached().changed
}
