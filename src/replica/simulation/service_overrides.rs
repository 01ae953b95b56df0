//! Overrides of the whole service: operators set and clear them through any replica, and each replica follows the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Attribution, OverrideKind, Reason, Time};
use breakerd_common::clock::Clock;
use tokio::sync::watch;

use super::checker::SERVICE;
use super::executor::{Executor, Owner};
use super::link::Link;
use super::world::Caller;
use crate::engine::{Engine, NotedOverride};
use crate::store::{
    ConfigWritten, ServiceOverride, StoreError, StoredChange, StoredConfiguration, StoredTransition,
};

/// Who takes back what a service has no more.
pub(super) const WALKER: &str = "the walk";
/// What the names of those begin with who set overrides of the service.
const OPERATOR: &str = "service operator";
/// Between two walks.
const WALK_EVERY: Duration = Duration::from_secs(2);
/// Between two attempts to read the configuration.
const READ_AGAIN: Duration = Duration::from_millis(200);

/// What the overrides of the service were set for, by operator; none: until they are cleared.
pub(super) type Durations = BTreeMap<String, Option<Duration>>;

fn by(actor: &str) -> Attribution {
    Attribution { actor: actor.to_owned(), reason: String::new() }
}

/// Takes note of the overrides that a configuration has.
pub(super) fn note(engine: &Engine, stored: StoredConfiguration, now: Time) {
    let noted = stored
        .overrides
        .into_iter()
        .map(|(service, set)| (service, NotedOverride { set_by: set.as_override(), revision: set.revision }));
    engine.note_service_overrides(noted, now);
}

fn walk(engine: &Engine, now: Time) {
    let mut walk = engine.walk(None, by(WALKER));
    while engine.walk_on(&mut walk, 10, now) {}
}

/// What a replica does with the configuration that others write.
pub(super) async fn follow(
    executor: Executor,
    engine: Arc<Engine>,
    link: Arc<Link>,
    clock: Arc<dyn Clock>,
    mut newest: watch::Receiver<u64>,
) {
    let mut known = u64::MAX;
    loop {
        if *newest.borrow_and_update() != known {
            let Ok(stored) = link.configuration().await else {
                clock.sleep_until(clock.now() + READ_AGAIN).await;
                continue;
            };
            known = stored.revision;
            note(&engine, stored, clock.now());
            let pause = executor.draw(|random| Duration::from_millis(50) + random.micros(100_000));
            clock.sleep_until(clock.now() + pause).await;
            if *newest.borrow() != known {
                continue;
            }
        }
        walk(&engine, clock.now());
        if !engine.ended_service_overrides(clock.now()).is_empty() {
            let _ = forget(&link).await;
        }
        tokio::select! {
            biased;
            changed = newest.changed() => if changed.is_err() { return },
            () = clock.sleep_until(clock.now() + WALK_EVERY) => {}
        }
    }
}

async fn forget(link: &Link) -> Result<(), StoreError> {
    let stored = link.configuration().await?;
    if let Some(set) = stored.overrides.get(SERVICE) {
        link.write_override(stored.revision, None, set.expires_at, WALKER).await?;
    }
    Ok(())
}

/// Sets and clears overrides of the service until the callers stop.
pub(super) async fn operate(caller: Caller) {
    while caller.goes_on() {
        let pause = caller.executor.draw(|random| random.micros(3_000_000));
        caller.executor.sleep(pause).await;
        let (drawn, actor, index) = caller
            .executor
            .draw(|random| (random.below(6), format!("{OPERATOR} {:x}", random.number()), random.below(3)));
        let set = |kind, ttl| {
            Some(ServiceOverride {
                kind,
                expires_at: None,
                ttl,
                attribution: by(&actor),
                set_at: Time::ZERO,
                revision: 0,
            })
        };
        let set = match drawn {
            0 => set(OverrideKind::ForcedOpen, None),
            1 => set(OverrideKind::Disabled, None),
            2 => set(OverrideKind::ForcedOpen, Some(Duration::from_secs(1))),
            3 => set(OverrideKind::MetricsOnly, Some(Duration::from_secs(2))),
            _ => None,
        };
        let Some((replica, engine, link, clock)) = caller.serving(index) else { continue };
        if let Some(set) = &set {
            caller.checker.service_override(&actor, set.ttl);
        }
        caller.checker.log(|| format!("r{replica} is to set {set:?} on the service"));
        caller.executor.spawn(Owner::Replica(replica), async move {
            let Ok(stored) = link.configuration().await else { return };
            if set.is_none() && !stored.overrides.contains_key(SERVICE) {
                return;
            }
            let written = link.write_override(stored.revision, set, None, &actor).await;
            if let (Ok(ConfigWritten::Written(_)), Ok(stored)) = (written, link.configuration().await) {
                note(&engine, stored, clock.now());
                walk(&engine, clock.now());
            }
        });
    }
}

/// What is wrong with how overrides of the service came to its breakers; `changes` and `rows` are the oldest first.
pub(super) fn check(
    changes: &[StoredChange],
    durations: &Durations,
    rows: &[StoredTransition],
) -> Vec<String> {
    let mut problems = Vec::new();
    for row in rows.iter().filter(|row| row.epoch.is_some()) {
        let actor = row.attribution.as_ref().map_or("", |by| &by.actor);
        let before = changes.iter().rev().find(|change| change.cursor.revision < row.cursor.revision);
        let in_force = before.filter(|change| {
            let ttl = durations.get(&change.attribution.actor).copied().flatten();
            change.after.is_some() && ttl.is_none_or(|ttl| row.recorded_at < change.at + ttl)
        });
        let in_force = in_force.map(|change| &*change.attribution.actor);
        let is_wrong = match row.reason {
            Reason::OverrideSet if actor.starts_with(OPERATOR) => in_force != Some(actor),
            Reason::OverrideCleared if actor == WALKER => in_force.is_some(),
            _ => false,
        };
        if is_wrong {
            problems.push(format!(
                "{}: {} by {actor} at epoch {:?}, while the service has that of {in_force:?}",
                row.key, row.reason, row.epoch
            ));
        }
    }
    problems
}
