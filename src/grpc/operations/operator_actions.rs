//! The operator actions: overrides, resets, probes, deletions.
//!
//! On one breaker, in a process that has its store for itself: the engine first, and the journal has it before any client is
//! sent it; then the store, for a moment. An override is set in an outage, and the store may be part of it. So nothing depends
//! on the store: the response tells whether it has the change by now. With several replicas: the store first
//! ([`crate::replica::Replica::act`]), but for FORCED_OPEN. On a whole service: the store first (`control`), then every breaker.

use std::pin::pin;
use std::time::Duration;

use breaker::{Attribution, Key, Needed, Override, Time, WrongState};
use breakerd_api::v1::{
    Breaker, ClearOverrideRequest, ClearOverrideResponse, DeleteBreakerRequest, DeleteBreakerResponse,
    ProbeBreakerRequest, ProbeBreakerResponse, ResetBreakerRequest, ResetBreakerResponse, SetOverrideRequest,
    SetOverrideResponse,
};
use tonic::Request;

use super::super::client_info::ClientInfo;
use super::super::convert::{self, Subject};
use super::super::deadline;
use super::super::status::Failure;
use super::super::unknown_name::UnknownName;
use super::Operations;
use crate::app::Loaded;
use crate::auth::Right;
use crate::engine::{Acted, Creator, OperatorAct, OperatorError, Reached, Unknown};
use crate::replica::{ActDone, ActError};
use crate::store::ServiceOverride;

/// The longest wait for the store; it takes milliseconds, or is unavailable.
const PERSIST_WAIT_MAX: Duration = Duration::from_secs(1);

impl Operations {
    pub(super) async fn set(
        &self,
        request: Request<SetOverrideRequest>,
    ) -> Result<SetOverrideResponse, Failure> {
        let loaded = self.loaded()?;
        let now = self.app.clock.now();
        let wall = loaded.engine.wall(now);
        let (client, wait) = (ClientInfo::of(&request), PersistWait::of(&request));
        let timeout = deadline::for_store(request.metadata());
        let request = request.into_inner();
        let unknown = if request.create { Unknown::Create } else { Unknown::Refuse };
        let (subject, set_by) = convert::read_set(request, client.actor(), wall)?;
        client.check(Right::Operate, subject.service())?;
        let key = match subject {
            Subject::Breaker(key) => key,
            Subject::Service(service) => {
                if unknown == Unknown::Refuse && !loaded.engine.knows_service(&service) {
                    return Err(not_created(UnknownName::service(service)));
                }
                let by = Attribution { actor: set_by.actor.clone(), reason: set_by.reason.clone() };
                let Override { kind, expires_at, ttl, .. } = set_by;
                let set = ServiceOverride {
                    kind,
                    expires_at,
                    ttl,
                    attribution: by.clone(),
                    set_at: wall,
                    revision: 0,
                };
                let reached = self.service_wide(loaded, &service, Some(set), by, timeout).await?;
                let wait = wait.less(self.app.clock.now().since(now));
                return Ok(SetOverrideResponse {
                    breaker: None,
                    breakers_changed: count(reached.changed),
                    persisted: is_persisted(loaded, wait).await,
                    own_overrides: count(reached.own_overrides),
                    own_override_names: names(&reached),
                });
            }
        };
        let act = OperatorAct::SetOverride(set_by);
        let done = loaded.replica.act(client.own_creator(), unknown, &key, act, wait.max()).await;
        let done = done.map_err(|error| match error {
            ActError::Refused(OperatorError::NotThere) => not_created(UnknownName::breaker(&key)),
            error => not_done(loaded, error, &key, Needed::OwnOverride, now),
        })?;
        Ok(SetOverrideResponse {
            breakers_changed: u32::from(done.acted.changed),
            breaker: shown(&done, wall),
            persisted: self.is_stored(loaded, &done, wait, now).await,
            ..SetOverrideResponse::default()
        })
    }

    pub(super) async fn clear(
        &self,
        request: Request<ClearOverrideRequest>,
    ) -> Result<ClearOverrideResponse, Failure> {
        let loaded = self.loaded()?;
        let now = self.app.clock.now();
        let (client, wait) = (ClientInfo::of(&request), PersistWait::of(&request));
        let timeout = deadline::for_store(request.metadata());
        let (subject, by) = convert::read_clear(request.into_inner(), client.actor())?;
        client.check(Right::Operate, subject.service())?;
        let key = match subject {
            Subject::Breaker(key) => key,
            Subject::Service(service) => {
                if !loaded.control.knows_service(&service) {
                    return Err(Failure::NotFound(UnknownName::service(service)));
                }
                let reached = self.service_wide(loaded, &service, None, by, timeout).await?;
                let wait = wait.less(self.app.clock.now().since(now));
                return Ok(ClearOverrideResponse {
                    breaker: None,
                    breakers_changed: count(reached.changed),
                    persisted: is_persisted(loaded, wait).await,
                    own_overrides: count(reached.own_overrides),
                    own_override_names: names(&reached),
                });
            }
        };
        let act = OperatorAct::ClearOverride(by);
        let done = loaded.replica.act(Creator::Server, Unknown::Refuse, &key, act, wait.max()).await;
        let done = done.map_err(|error| not_done(loaded, error, &key, Needed::OwnOverride, now))?;
        Ok(ClearOverrideResponse {
            breakers_changed: u32::from(done.acted.changed),
            breaker: shown(&done, loaded.engine.wall(now)),
            persisted: self.is_stored(loaded, &done, wait, now).await,
            ..ClearOverrideResponse::default()
        })
    }

    pub(super) async fn reset(
        &self,
        request: Request<ResetBreakerRequest>,
    ) -> Result<ResetBreakerResponse, Failure> {
        let parts = |ResetBreakerRequest { service, name, reason }| (service, name, reason);
        let (breaker, persisted) =
            self.on_one(request, parts, Needed::NoServiceOverride, OperatorAct::Reset).await?;
        Ok(ResetBreakerResponse { breaker, persisted })
    }

    pub(super) async fn probe(
        &self,
        request: Request<ProbeBreakerRequest>,
    ) -> Result<ProbeBreakerResponse, Failure> {
        let parts = |ProbeBreakerRequest { service, name, reason }| (service, name, reason);
        let (breaker, persisted) = self.on_one(request, parts, Needed::Open, OperatorAct::Probe).await?;
        Ok(ProbeBreakerResponse { breaker, persisted })
    }

    pub(super) async fn delete(
        &self,
        request: Request<DeleteBreakerRequest>,
    ) -> Result<DeleteBreakerResponse, Failure> {
        let loaded = self.loaded()?;
        let now = self.app.clock.now();
        let (client, wait) = (ClientInfo::of(&request), PersistWait::of(&request));
        let DeleteBreakerRequest { service, name, reason } = request.into_inner();
        let (key, by) = convert::read_action(&service, &name, reason, client.actor())?;
        client.check(Right::Operate, key.service())?;
        let act = OperatorAct::Delete(by);
        let done = loaded.replica.act(Creator::Server, Unknown::Refuse, &key, act, wait.max()).await;
        let done = done.map_err(|error| not_done(loaded, error, &key, Needed::NoServiceOverride, now))?;
        let Acted { epoch, changed, .. } = done.acted;
        let recorded = !changed || self.is_stored(loaded, &done, wait, now).await;
        // At once where the store has it by now, so that a list does not show it any more; else with a sweep.
        let stored_up_to = loaded.journal.stored_up_to();
        loaded.engine.retire_deleted(key.service(), key.name(), stored_up_to, self.app.clock.now());
        Ok(DeleteBreakerResponse { epoch, changed, persisted: recorded })
    }

    /// A whole service: the store first, then its breakers. Goes on when its caller has disconnected; a caller whose deadline is
    /// near receives a store timeout, if it waits for the store.
    async fn service_wide(
        &self,
        loaded: &Loaded,
        service: &str,
        set: Option<ServiceOverride>,
        attribution: Attribution,
        timeout: Option<Duration>,
    ) -> Result<Reached, Failure> {
        let mut done = pin!(loaded.control.set_override(service, set.clone(), attribution));
        let waited = timeout.unwrap_or(Duration::MAX);
        let done = match tokio::time::timeout(waited, done.as_mut()).await {
            Ok(done) => done,
            // The store has it by now: it is on its way to the breakers.
            Err(_) if loaded.control.configuration().has_override(service, set.as_ref()) => done.await,
            Err(_) => return Err(Failure::StoreTimeout { waited, may_take_effect: true }),
        };
        done.map_err(convert::change_failure)
    }

    /// Does `act` to the breaker that a request names by its service, name and reason; it is `needed` for that. Answers the
    /// breaker after it, and whether the store has it.
    async fn on_one<T>(
        &self,
        request: Request<T>,
        parts: impl FnOnce(T) -> (String, String, String),
        needed: Needed,
        act: impl FnOnce(Attribution) -> OperatorAct,
    ) -> Result<(Option<Breaker>, bool), Failure> {
        let loaded = self.loaded()?;
        let now = self.app.clock.now();
        let (client, wait) = (ClientInfo::of(&request), PersistWait::of(&request));
        let (service, name, reason) = parts(request.into_inner());
        let (key, by) = convert::read_action(&service, &name, reason, client.actor())?;
        client.check(Right::Operate, key.service())?;
        let done = loaded.replica.act(Creator::Server, Unknown::Refuse, &key, act(by), wait.max()).await;
        let done = done.map_err(|error| not_done(loaded, error, &key, needed, now))?;
        let breaker = shown(&done, loaded.engine.wall(now));
        Ok((breaker, self.is_stored(loaded, &done, wait, now).await))
    }

    /// Whether the store has what was done: it was asked first, or it has it once it has the journal.
    async fn is_stored(&self, loaded: &Loaded, done: &ActDone, wait: PersistWait, began_at: Time) -> bool {
        done.is_stored || is_persisted(loaded, wait.less(self.app.clock.now().since(began_at))).await
    }
}

fn shown(done: &ActDone, wall: Time) -> Option<Breaker> {
    done.acted.breaker.as_ref().map(|breaker| convert::breaker(breaker, wall))
}

/// Why nothing was done.
fn not_done(loaded: &Loaded, error: ActError, key: &Key, needed: Needed, now: Time) -> Failure {
    match error {
        ActError::Refused(error) => refused(loaded, error, key, needed, now),
        ActError::Unconfirmed => Failure::StoreUnavailable,
        ActError::Unavailable { waited } => Failure::StoreTimeout { waited, may_take_effect: true },
        ActError::Superseded { state, epoch } => {
            let breaker = format!("{}/{}", key.service(), key.name());
            Failure::ActSuperseded { breaker, state, epoch }
        }
        ActError::Store(error) => convert::store_failure("operator action failed", &error),
    }
}

/// Why the action was not done. A service may have an override before it has a breaker: its default breaker is then shown in that
/// state, and so it is not unknown, but in a state in which this cannot be done.
fn refused(loaded: &Loaded, error: OperatorError, key: &Key, needed: Needed, now: Time) -> Failure {
    let of_service = loaded.engine.service_override(key.service(), now);
    match (error, of_service) {
        (OperatorError::NotThere, Some(set)) if *key.name() == *key.service() => {
            convert::operator_failure(WrongState { state: set.kind.into(), needed }.into(), key)
        }
        (error, _) => convert::operator_failure(error, key),
    }
}

fn not_created(unknown: UnknownName) -> Failure {
    Failure::NotFound(unknown.unless("create = true"))
}

/// How long a response may wait for the store to have the change.
#[derive(Clone, Copy)]
struct PersistWait {
    /// What remains of the client's timeout; none: it sent none.
    deadline: Option<Duration>,
}

impl PersistWait {
    fn of<T>(request: &Request<T>) -> Self {
        Self { deadline: deadline::of_call(request.metadata()) }
    }

    /// When `spent` of the client's deadline has gone into the change itself.
    fn less(self, spent: Duration) -> Self {
        Self { deadline: self.deadline.map(|deadline| deadline.saturating_sub(spent)) }
    }

    /// Half of what remains of the client's timeout at most: it must receive the result.
    fn max(self) -> Duration {
        self.deadline.map_or(PERSIST_WAIT_MAX, |deadline| PERSIST_WAIT_MAX.min(deadline / 2))
    }
}

/// Whether the store has what was done, once it has it or `wait` is over.
async fn is_persisted(loaded: &Loaded, wait: PersistWait) -> bool {
    tokio::time::timeout(wait.max(), loaded.journal.settled()).await.unwrap_or(false)
}

fn count(breakers: usize) -> u32 {
    u32::try_from(breakers).unwrap_or(u32::MAX)
}

/// The names of breakers that keep an override of their own.
fn names(reached: &Reached) -> Vec<String> {
    reached.own_override_keys.iter().map(|key| key.name().to_string()).collect()
}
