//! Which service a call goes to.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use breakerd_api::envoy_api::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use breakerd_api::v1::breaker_service_server::BreakerServiceServer;
use http::{Request, Response, Uri};
use tonic::body::Body;
use tonic::codegen::Service as _;

use super::breakers::Breakers;
use super::call_metrics::Method;
use super::envoy::{AccessLogs, Checks};
use super::reflection;
use super::request_body::RequestBody;
use super::services::Shared;

/// A call that runs.
pub(super) type Running = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The service that has a method.
pub(super) enum Destination {
    Breakers,
    Configs,
    Operations,
    Checks(AuthorizationServer<Checks>),
    AccessLogs(Arc<AccessLogs>),
    Health,
    Reflection,
    /// It is served as the newer one, which is the same on the wire.
    ReflectionAlpha,
}

impl Destination {
    /// That of `method`; none: it is not served.
    pub(super) fn of(method: Method, shared: &Shared) -> Option<Self> {
        Some(match method {
            Method::AllowRequest
            | Method::RecordOutcome
            | Method::AllowRequests
            | Method::RecordOutcomes
            | Method::WatchBreakers => Self::Breakers,
            Method::GetConfig
            | Method::ListConfigs
            | Method::UpdateConfig
            | Method::DeleteConfig
            | Method::ListConfigChanges
            | Method::WatchConfig => Self::Configs,
            Method::ListBreakers
            | Method::GetBreaker
            | Method::ListTransitions
            | Method::ListReplicas
            | Method::ListPermitKeys
            | Method::RotatePermitKey
            | Method::WatchTransitions
            | Method::SetOverride
            | Method::ClearOverride
            | Method::ResetBreaker
            | Method::DeleteBreaker
            | Method::ProbeBreaker => Self::Operations,
            Method::EnvoyCheck => Self::Checks(shared.envoy.as_ref()?.checks.clone()),
            Method::EnvoyAccessLog => Self::AccessLogs(Arc::clone(&shared.envoy.as_ref()?.access_logs)),
            Method::HealthCheck | Method::HealthWatch => Self::Health,
            Method::Reflection => Self::Reflection,
            Method::ReflectionAlpha => Self::ReflectionAlpha,
            Method::Other => return None,
        })
    }

    /// Begins a call.
    pub(super) fn call(
        self,
        mut request: Request<RequestBody>,
        shared: &Shared,
        breakers: &BreakerServiceServer<Breakers>,
    ) -> Running {
        match self {
            Self::Breakers => breakers.clone().call(request),
            Self::Configs => shared.configs.clone().call(request),
            Self::Operations => shared.operations.clone().call(request),
            Self::Checks(mut checks) => checks.call(request),
            Self::AccessLogs(logs) => Box::pin(async move { Ok(logs.answer(request).await) }),
            Self::Health => shared.health.clone().call(request),
            Self::Reflection => shared.reflection.clone().call(request),
            Self::ReflectionAlpha => {
                *request.uri_mut() = Uri::from_static(reflection::PATH);
                shared.reflection.clone().call(request)
            }
        }
    }
}
