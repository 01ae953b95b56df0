//! Suggests the nearest known name, for errors about an unknown one.
//!
//! Only names that the client may see are compared, so that an error shows no more than a list would.

use std::collections::BTreeSet;
use std::sync::Arc;

use breaker::Time;
use breakerd_common::nearest::nearest;

use super::client_info::ClientInfo;
use super::status::Failure;
use crate::app::{App, Loaded};
use crate::auth::Right;
use crate::control::Configuration;
use crate::engine::Engine;

/// Names that are compared at most, of each kind: a millisecond. Of more, those that come first in their order.
const CANDIDATES_MAX: usize = 4_096;

/// Breakers of a service that are named in place of one that it does not have.
const NAMED_MAX: usize = 5;

/// `failure` with the nearest known name added, if it is about an unknown one.
#[cold]
pub(super) async fn suggest(failure: Failure, app: &App, loaded: &Loaded, client: &ClientInfo) -> Failure {
    let Failure::NotFound(mut unknown) = failure else { return failure };
    let lookup = Lookup {
        engine: Arc::clone(&loaded.engine),
        configuration: loaded.control.configuration(),
        client: client.clone(),
        now: app.clock.now(),
    };
    let nearest_to = unknown.clone();
    // Off the threads that decide. It fails only when it panics or the runtime ends: then there is no suggestion.
    let found = tokio::task::spawn_blocking(move || match &nearest_to.name {
        Some(name) => lookup.breaker(&nearest_to.service, name),
        None => Suggestion { nearest: lookup.service(&nearest_to.service), others: Vec::new() },
    });
    let Suggestion { nearest, others } = found.await.unwrap_or_default();
    (unknown.nearest, unknown.others) = (nearest, others);
    Failure::NotFound(unknown)
}

#[derive(Debug, Default)]
struct Suggestion {
    /// The nearest known name.
    nearest: Option<String>,
    /// If no name is near: breakers that the service has.
    others: Vec<String>,
}

/// The names that a client may see.
struct Lookup {
    engine: Arc<Engine>,
    configuration: Arc<Configuration>,
    client: ClientInfo,
    now: Time,
}

impl Lookup {
    /// The nearest service.
    fn service(&self, name: &str) -> Option<String> {
        let may_see = |service: &str| self.client.may(Right::Read, service);
        let in_use = self.engine.services_in_use(CANDIDATES_MAX, may_see);
        let configured =
            self.configuration.services().filter(|service| may_see(service)).take(CANDIDATES_MAX);
        let names: BTreeSet<&str> = configured.chain(in_use.iter().map(|key| &**key.service())).collect();
        nearest(name, names).map(str::to_owned)
    }

    /// The nearest breaker of the same service as `SERVICE/NAME`, or what else the service has; if the service is not
    /// known, a breaker of the nearest service.
    fn breaker(&self, service: &str, name: &str) -> Suggestion {
        if !self.engine.knows_service(service) || !self.client.may(Right::Read, service) {
            // It is unknown, so another one is nearest.
            let near = self.service(service).filter(|near| near != service);
            let breaker = if name == service { "" } else { name };
            return Suggestion { nearest: near.and_then(|near| self.of(&near, breaker)), others: Vec::new() };
        }
        let keys = self.engine.breakers_in_use(service, CANDIDATES_MAX);
        // A service without a name means its default breaker: no other name is a typo of that.
        let near = if name == service { None } else { nearest(name, keys.iter().map(|key| &**key.name())) };
        if let Some(near) = near {
            return Suggestion { nearest: Some(shown(service, near)), others: Vec::new() };
        }
        let others = keys.iter().take(NAMED_MAX).map(|key| shown(service, key.name())).collect();
        Suggestion { nearest: None, others }
    }

    /// The breaker of `service` that `name` probably means: that one, the default breaker, or the first that there is.
    fn of(&self, service: &str, name: &str) -> Option<String> {
        for name in [name, ""] {
            if self.engine.knows_breaker(service, name, self.now) {
                return Some(shown(service, name));
            }
        }
        let first = self.engine.breakers_in_use(service, 1);
        first.first().map(|key| shown(service, key.name()))
    }
}

/// A breaker as it is written: the default breaker by the service alone.
fn shown(service: &str, name: &str) -> String {
    if name.is_empty() || name == service { service.to_owned() } else { format!("{service}/{name}") }
}
