//! The services of gRPC, and what all calls to them share.

use std::sync::Arc;

use breakerd_api::v1::breaker_service_server::BreakerServiceServer;
use breakerd_api::v1::config_service_server::ConfigServiceServer;
use breakerd_api::v1::operations_service_server::OperationsServiceServer;
use tokio::sync::Semaphore;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer;

use super::Limits;
use super::breakers::Breakers;
use super::call_metrics::{CallMetrics, CallView};
use super::config::Configs;
use super::envoy::{EnvoyServices, EnvoySettings};
use super::health::{Health, HealthRegistry};
use super::history_reads::HistoryReads;
use super::operations::Operations;
use super::reflection::{Reflection, ServeError};
use super::reporters::Reporters;
use super::stream_limiter::StreamLimiter;
use super::watch::Watches;
use crate::app::App;
use crate::auth::{Caller, ConcurrencyCounter, TransportSecurity};
use crate::log_throttle::LogThrottle;
use crate::metrics::{CallSource, CallsView};

/// All services of gRPC.
#[derive(Clone)]
pub struct GrpcServices {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) app: Arc<App>,
    pub(super) limits: Limits,
    pub(super) security: TransportSecurity,
    pub(super) health_registry: Arc<HealthRegistry>,
    pub(super) calls: Arc<CallMetrics>,
    pub(super) in_flight: ConcurrencyCounter,
    /// Checks of health in flight.
    pub(super) probes: ConcurrencyCounter,
    /// Bytes that are charged to calls, and how many there may be.
    pub(super) bytes: ConcurrencyCounter,
    pub(super) bytes_max: usize,
    /// Large messages that are compressed or decompressed at one time.
    pub(super) off_thread_permits: Arc<Semaphore>,
    pub(super) log: LogThrottles,
    pub(super) watches: Watches,
    pub(super) reporters: Arc<Reporters>,
    pub(super) configs: ConfigServiceServer<Configs>,
    pub(super) operations: OperationsServiceServer<Operations>,
    pub(super) health: HealthServer<Health>,
    pub(super) reflection: ServerReflectionServer<Reflection>,
    /// None: they are not served.
    pub(super) envoy: Option<EnvoyServices>,
}

/// Log throttles, one for each kind of rejection.
#[derive(Default)]
pub(super) struct LogThrottles {
    pub(super) overload: LogThrottle,
    pub(super) caller_limit: LogThrottle,
    pub(super) access_denied: LogThrottle,
    pub(super) stalled: LogThrottle,
    pub(super) refusal_rate: LogThrottle,
}

impl std::fmt::Debug for GrpcServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcServices").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl GrpcServices {
    /// The services on `app`, without authentication; nothing is served before [`super::serve`].
    ///
    /// # Errors
    /// When reflection cannot read the descriptions that were built in.
    pub fn new(app: Arc<App>, limits: Limits) -> Result<Self, ServeError> {
        Self::with_security(TransportSecurity::disabled(), app, limits, None)
    }

    /// The services on `app`, with authentication and TLS; `envoy`: and those of Envoy.
    ///
    /// # Errors
    /// As [`GrpcServices::new`].
    pub fn with_security(
        security: TransportSecurity,
        app: Arc<App>,
        limits: Limits,
        envoy: Option<EnvoySettings>,
    ) -> Result<Self, ServeError> {
        let health_registry = Arc::new(HealthRegistry::default());
        // The limits of the methods are checked before the codec's.
        let message_bytes_max = limits.message_bytes_max;
        let streams = StreamLimiter::new(&limits, app.metrics.access.clone());
        // Streams that need no token have slots of their own, as many: unauthenticated clients cannot take those of callers.
        let public_streams = StreamLimiter::new(&limits, app.metrics.access.clone());
        let health = Health::new(Arc::clone(&health_registry), public_streams.clone(), envoy.is_some());
        let reads = HistoryReads::new(&limits, app.metrics.access.clone());
        let reflection = Reflection::new(public_streams, Arc::clone(&health_registry), envoy.is_some())?;
        let envoy = envoy.map(|settings| {
            EnvoyServices::new(&app, settings, streams.clone(), Arc::clone(&health_registry), &limits)
        });
        let watches = Watches::new(streams, Arc::clone(&health_registry), app.metrics.watch.clone(), &limits);
        let shared = Shared {
            watches: watches.clone(),
            reporters: Arc::new(Reporters::new(limits.reporters_bytes_max, Arc::clone(&app.clock))),
            configs: ConfigServiceServer::new(Configs::new(Arc::clone(&app), watches.clone(), reads.clone()))
                .max_decoding_message_size(message_bytes_max),
            operations: OperationsServiceServer::new(Operations::new(Arc::clone(&app), watches, reads))
                .max_decoding_message_size(message_bytes_max),
            health: HealthServer::new(health).max_decoding_message_size(message_bytes_max),
            reflection: ServerReflectionServer::new(reflection).max_decoding_message_size(message_bytes_max),
            envoy,
            app,
            limits,
            security,
            health_registry,
            calls: Arc::default(),
            in_flight: ConcurrencyCounter::default(),
            probes: ConcurrencyCounter::default(),
            bytes: ConcurrencyCounter::default(),
            bytes_max: limits.call_bytes_max(),
            off_thread_permits: Arc::new(Semaphore::new(1)),
            log: LogThrottles::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The service that decides, for the calls of one connection; `unnamed` is its caller without
    /// authentication.
    pub(super) fn breakers(&self, unnamed: Arc<Caller>) -> BreakerServiceServer<Breakers> {
        let Shared { app, watches, reporters, limits, .. } = &*self.shared;
        BreakerServiceServer::new(Breakers::new(
            Arc::clone(app),
            watches.clone(),
            Arc::clone(reporters),
            unnamed,
        ))
        .max_decoding_message_size(limits.message_bytes_max)
    }

    /// The serving statuses; set by the process.
    pub fn health(&self) -> &Arc<HealthRegistry> {
        &self.shared.health_registry
    }

    /// What was counted of calls.
    pub fn calls(&self) -> &Arc<CallMetrics> {
        &self.shared.calls
    }

    /// The calls at the moment of each scrape. It does not keep the services: they have the metrics, which have it.
    pub fn call_source(&self) -> CallSource {
        let (calls, shared) = (Arc::clone(&self.shared.calls), Arc::downgrade(&self.shared));
        let in_flight_max = self.shared.limits.in_flight_max;
        Arc::new(move || CallsView {
            rows: calls.snapshot().into_iter().map(CallView::into_row).collect(),
            in_flight: shared.upgrade().map_or(0, |shared| shared.in_flight.get()),
            in_flight_max,
        })
    }
}
