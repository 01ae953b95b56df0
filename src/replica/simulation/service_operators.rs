//! Operators, who set and clear overrides of the service at random.

use std::time::Duration;

use breaker::{Attribution, OverrideKind, Time};
use breakerd_common::clock::Clock as _;

use super::callers::Caller;
use super::checker::SERVICE;
use super::executor::Owner;
use super::service_checks::OPERATOR;
use super::service_overrides::{note, walk};
use crate::store::{ConfigWritten, ServiceOverride};

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
                attribution: Attribution { actor: actor.clone(), reason: String::new() },
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
