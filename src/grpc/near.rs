//! The known name that was probably meant, for errors about one that is not known.
//!
//! Only names that the client may see are looked at, so that an error tells nobody what a list would not.

use std::collections::BTreeSet;
use std::sync::Arc;

use breaker::Key;

use super::client_info::ClientInfo;
use super::status::Failure;
use crate::app::Loaded;
use crate::auth::Right;
use crate::nearest::nearest;

/// Names that are compared at most, of each kind: a millisecond. Of more, those that come first in their order.
const CANDIDATES_MAX: usize = 4_096;

/// `failure` with the name in it that was probably meant, if it is about one that is not known.
#[cold]
pub(super) async fn suggest(failure: Failure, loaded: &Loaded, client: &ClientInfo) -> Failure {
    let Failure::NotFound(mut unknown) = failure else { return failure };
    unknown.nearest = match &unknown.name {
        Some(name) => breaker(loaded, client, &unknown.service, name).await,
        None => service(loaded, client, &unknown.service).await,
    };
    Failure::NotFound(unknown)
}

/// The nearest service.
async fn service(loaded: &Loaded, client: &ClientInfo, name: &str) -> Option<String> {
    let (engine, configuration) = (Arc::clone(&loaded.engine), loaded.control.configuration());
    let (client, name) = (client.clone(), name.to_owned());
    // Off the threads that decide.
    let found = tokio::task::spawn_blocking(move || {
        let may_see = |service: &str| client.may(Right::Read, service);
        let in_use = engine.services_in_use(CANDIDATES_MAX, may_see);
        let configured = configuration.services().filter(|service| may_see(service)).take(CANDIDATES_MAX);
        let names: BTreeSet<&str> = configured.chain(in_use.iter().map(|key| &**key.service())).collect();
        nearest(&name, names).map(str::to_owned)
    });
    // It fails only when it panics or the runtime ends: then there is no suggestion.
    found.await.ok().flatten()
}

/// The nearest breaker of the same service as `SERVICE/NAME`; if the service is not known, the nearest service.
async fn breaker(loaded: &Loaded, client: &ClientInfo, service: &str, name: &str) -> Option<String> {
    if service == name || !loaded.engine.knows_service(service) || !client.may(Right::Read, service) {
        return self::service(loaded, client, service).await.filter(|near| near != service);
    }
    let engine = Arc::clone(&loaded.engine);
    let (service, name) = (service.to_owned(), name.to_owned());
    let found = tokio::task::spawn_blocking(move || {
        let keys: Vec<Key> = engine.breakers_in_use(&service, CANDIDATES_MAX);
        let near = nearest(&name, keys.iter().map(|key| &**key.name()));
        near.map(|near| if near == service { service.clone() } else { format!("{service}/{near}") })
    });
    found.await.ok().flatten()
}
