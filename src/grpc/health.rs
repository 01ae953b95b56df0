//! `grpc.health.v1.Health`: whether to send calls here.
//!
//! Our own, since the protocol wants a watch of an unknown service to stay open and say SERVICE_UNKNOWN, and
//! since watches must end with the process.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use breakerd_api::v1::{breaker_service_server, config_service_server, operations_service_server};
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::Sleep;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use super::client_info::ClientInfo;
use super::deadline;
use super::envoy::wire;
use super::status::Failure;
use super::stream_limiter::{StreamLimiter, StreamSlot};

/// What the health service reports on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The process as a whole; requested with an empty name.
    Server,
    /// `breakerd.v1.BreakerService`. A database that is away does not change it.
    Breakers,
    /// `breakerd.v1.ConfigService`, which needs the store.
    Configs,
    /// `breakerd.v1.OperationsService`, which needs the store.
    Operations,
}

/// What a health check asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// `liveness`: whether the process runs. It does, if it answers, also while it waits for its store and while it ends:
    /// nothing that a restart would mend.
    Process,
    /// Whether to send calls.
    Calls(Part),
}

/// Whether to send calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// Do.
    Yes,
    /// Do not.
    No,
}

/// The serving status of each part: not serving until it is set.
#[derive(Debug)]
pub struct HealthRegistry {
    statuses: watch::Sender<Statuses>,
}

#[derive(Debug, Clone, Copy)]
struct Statuses {
    /// By [`Part`].
    parts: [Serving; 4],
    closing: bool,
}

impl Default for HealthRegistry {
    fn default() -> Self {
        Self { statuses: watch::Sender::new(Statuses { parts: [Serving::No; 4], closing: false }) }
    }
}

impl HealthRegistry {
    /// From now on `part` serves, or does not. Nothing serves again once the shutdown began.
    pub fn set(&self, part: Part, serving: Serving) {
        self.statuses.send_if_modified(|statuses| {
            let slot = &mut statuses.parts[part as usize];
            let changed = !statuses.closing && *slot != serving;
            if changed {
                *slot = serving;
            }
            changed
        });
    }

    /// The state is loaded: every part serves.
    pub fn loaded(&self) {
        for part in [Part::Operations, Part::Configs, Part::Breakers, Part::Server] {
            self.set(part, Serving::Yes);
        }
    }

    /// Nothing serves any more; watches send that, and end.
    pub fn shut_down(&self) {
        self.statuses.send_modify(|statuses| *statuses = Statuses { parts: [Serving::No; 4], closing: true });
    }

    /// Tells when the end begins.
    pub(super) fn closing(&self) -> Closing {
        Closing(self.statuses.subscribe())
    }

    /// The status of `part` now.
    pub fn serving(&self, part: Part) -> Serving {
        self.statuses.borrow().parts[part as usize]
    }
}

/// Waits for the shutdown to begin.
#[derive(Debug)]
pub(super) struct Closing(watch::Receiver<Statuses>);

impl Closing {
    /// Ends when it has begun.
    pub(super) async fn begun(&mut self) {
        // Fails when the registry was dropped, and the process ends.
        let _ = self.0.wait_for(|statuses| statuses.closing).await;
    }
}

impl Statuses {
    /// None: what is not known.
    fn status(self, asked: Option<Asked>) -> ServingStatus {
        match asked {
            Some(Asked::Process) => ServingStatus::Serving,
            Some(Asked::Calls(part)) if self.parts[part as usize] == Serving::Yes => ServingStatus::Serving,
            Some(Asked::Calls(_)) => ServingStatus::NotServing,
            None => ServingStatus::ServiceUnknown,
        }
    }
}

/// What is asked for by this name. `liveness` and `readiness` are for the probes of a pod, by the names that are usual there.
/// Those of Envoy are known where they are served.
fn asked_by(service: &str, has_envoy: bool) -> Option<Asked> {
    const BREAKERS: &str = breaker_service_server::SERVICE_NAME;
    const CONFIGS: &str = config_service_server::SERVICE_NAME;
    const OPERATIONS: &str = operations_service_server::SERVICE_NAME;
    let part = match service {
        "liveness" => return Some(Asked::Process),
        // Health and reflection are there whenever the process is.
        ""
        | "grpc.health.v1.Health"
        | "grpc.reflection.v1.ServerReflection"
        | "grpc.reflection.v1alpha.ServerReflection" => Part::Server,
        BREAKERS | "readiness" => Part::Breakers,
        CONFIGS => Part::Configs,
        OPERATIONS => Part::Operations,
        // Both decide, and learn, as the first does.
        _ if has_envoy && wire::SERVICES.contains(&service) => Part::Breakers,
        _ => return None,
    };
    Some(Asked::Calls(part))
}

/// The service on a board.
pub(super) struct Health {
    registry: Arc<HealthRegistry>,
    streams: StreamLimiter,
    has_envoy: bool,
}

impl Health {
    pub(super) fn new(registry: Arc<HealthRegistry>, streams: StreamLimiter, has_envoy: bool) -> Self {
        Self { registry, streams, has_envoy }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        let Some(asked) = asked_by(&service, self.has_envoy) else {
            return Err(Failure::NoHealthOf { service }.into());
        };
        let status = self.registry.statuses.borrow().status(Some(asked));
        Ok(Response::new(HealthCheckResponse { status: status as i32 }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let slot = self.streams.take(&ClientInfo::of(&request))?;
        let timeout = deadline::of(request.metadata().as_ref()).map_err(Failure::from)?;
        let watcher = Watcher {
            statuses: self.registry.statuses.subscribe(),
            asked: asked_by(&request.get_ref().service, self.has_envoy),
            sent: None,
            timer: timeout.map(Watcher::timer),
            ended: false,
            _slot: slot,
        };
        Ok(Response::new(Box::pin(stream::unfold(watcher, Watcher::next))))
    }
}

/// One watch: sends the present status, then every change, then NOT_SERVING when it ends.
struct Watcher {
    statuses: watch::Receiver<Statuses>,
    /// None: a service that is not known, and never will be.
    asked: Option<Asked>,
    sent: Option<ServingStatus>,
    /// The client's deadline, if it has one.
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
    _slot: StreamSlot,
}

impl Watcher {
    fn timer(timeout: Duration) -> Pin<Box<Sleep>> {
        Box::pin(tokio::time::sleep(timeout))
    }

    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            let statuses = *self.statuses.borrow_and_update();
            let status = statuses.status(self.asked);
            if self.sent != Some(status) {
                self.sent = Some(status);
                return Some((Ok(HealthCheckResponse { status: status as i32 }), self));
            }
            if statuses.closing {
                return Some(self.end(Failure::ShuttingDown));
            }
            tokio::select! {
                changed = self.statuses.changed() => {
                    if changed.is_err() {
                        return Some(self.end(Failure::ShuttingDown));
                    }
                }
                () = passed(&mut self.timer) => return Some(self.end(Failure::DeadlineExceeded)),
            }
        }
    }

    fn end(mut self, failure: Failure) -> (Result<HealthCheckResponse, Status>, Self) {
        self.ended = true;
        (Err(failure.into()), self)
    }
}

/// Ends when the timer does; never, if there is none.
async fn passed(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.as_mut().await,
        None => std::future::pending().await,
    }
}
