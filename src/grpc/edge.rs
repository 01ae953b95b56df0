//! What every call passes on its way in and out: the method, the load limit, the deadline, the metrics and the
//! log.
//!
//! One future for all of it, around the one that tonic boxes anyway: a layer each would cost each call more
//! than it does.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use breaker::Time;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use super::Limits;
use super::breakers::Breakers;
use super::calls::{CallMetrics, Method, code_name};
use super::deadline;
use super::health::{Health, HealthBoard};
use super::operations::Operations;
use super::reflection;
use super::serve::ServeError;
use super::status::{Failure, code_of, rewritten};
use crate::app::App;
use crate::proto::v1::breaker_service_server::BreakerServiceServer;
use crate::proto::v1::operations_service_server::OperationsServiceServer;

/// How often a flood of refused calls is told of in the log.
const SHED_LOG_EVERY: Duration = Duration::from_secs(10);

type Running = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// All services behind one door.
#[derive(Clone)]
pub struct Edge {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    app: Arc<App>,
    pub(super) limits: Limits,
    pub(super) health_board: Arc<HealthBoard>,
    calls: Arc<CallMetrics>,
    in_flight: AtomicUsize,
    shed_logged_at: AtomicU64,
    breakers: BreakerServiceServer<Breakers>,
    operations: OperationsServiceServer<Operations>,
    health: HealthServer<Health>,
    reflection: Routes,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl Edge {
    /// The services on `app`; nothing is served before [`super::serve`].
    ///
    /// # Errors
    /// When reflection cannot read the descriptions that were built in.
    pub fn new(app: Arc<App>, limits: Limits) -> Result<Self, ServeError> {
        let health_board = Arc::new(HealthBoard::default());
        let bytes_max = limits.message_bytes_max;
        let health = Health::new(Arc::clone(&health_board), limits.watches_max);
        let shared = Shared {
            breakers: BreakerServiceServer::new(Breakers::new(Arc::clone(&app)))
                .max_decoding_message_size(bytes_max),
            operations: OperationsServiceServer::new(Operations::new(Arc::clone(&app)))
                .max_decoding_message_size(bytes_max),
            health: HealthServer::new(health).max_decoding_message_size(bytes_max),
            reflection: reflection::routes()?,
            app,
            limits,
            health_board,
            calls: Arc::default(),
            in_flight: AtomicUsize::new(0),
            shed_logged_at: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What health says; to be set from outside.
    pub fn health(&self) -> &Arc<HealthBoard> {
        &self.shared.health_board
    }

    /// What was counted of calls.
    pub fn calls(&self) -> &Arc<CallMetrics> {
        &self.shared.calls
    }
}

impl hyper::service::Service<Request<Incoming>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Call;

    fn call(&self, request: Request<Incoming>) -> Call {
        let method = Method::at(request.uri().path());
        let mut call = Call {
            shared: Arc::clone(&self.shared),
            method,
            started: self.shared.app.clock.now(),
            patience: self.shared.limits.call_max,
            stage: Stage::Over,
            timer: None,
            holds_place: false,
        };
        call.stage = match call.begin(request) {
            Ok(running) => Stage::Running(running),
            Err(refusal) => Stage::Answered(refusal.into_response()),
        };
        call
    }
}

/// One call on its way.
pub struct Call {
    shared: Arc<Shared>,
    method: Method,
    started: Time,
    /// How long it may take.
    patience: Duration,
    stage: Stage,
    /// Started when the call first has to wait: a decision never does.
    timer: Option<Pin<Box<Sleep>>>,
    holds_place: bool,
}

enum Stage {
    Running(Running),
    /// Refused at the door.
    Answered(Response<Body>),
    Over,
}

impl Call {
    fn begin(&mut self, request: Request<Incoming>) -> Result<Running, Refusal> {
        if !is_grpc(&request) {
            return Err(Refusal::NoGrpc);
        }
        if let Some(asked) = deadline::of(request.headers()).map_err(Failure::from)? {
            // A stream may outlive the longest call, and ends its own at its deadline.
            self.patience = self.patience.min(asked);
            if asked.is_zero() {
                return Err(Failure::Late.into());
            }
        }
        if !self.method.is_health() {
            self.take_place()?;
        }
        Ok(match self.method {
            Method::AllowRequest | Method::RecordOutcome | Method::AllowRequests | Method::RecordOutcomes => {
                self.shared.breakers.clone().call(request)
            }
            Method::ListBreakers
            | Method::GetBreaker
            | Method::ListTransitions
            | Method::SetOverride
            | Method::ClearOverride
            | Method::ResetBreaker
            | Method::ProbeBreaker => self.shared.operations.clone().call(request),
            Method::HealthCheck | Method::HealthWatch => self.shared.health.clone().call(request),
            Method::Reflection | Method::ReflectionAlpha => {
                Box::pin(self.shared.reflection.clone().call(request))
            }
            Method::Other => {
                return Err(Failure::NoMethod { path: request.uri().path().to_owned() }.into());
            }
        })
    }

    fn take_place(&mut self) -> Result<(), Failure> {
        let max = self.shared.limits.in_flight_max;
        self.holds_place = true;
        if self.shared.in_flight.fetch_add(1, Relaxed) < max {
            return Ok(());
        }
        self.leave_place();
        self.log_shed(max);
        Err(Failure::Overloaded { max })
    }

    fn leave_place(&mut self) {
        if std::mem::take(&mut self.holds_place) {
            self.shared.in_flight.fetch_sub(1, Relaxed);
        }
    }

    #[cold]
    fn log_shed(&self, max: usize) {
        let logged_at = &self.shared.shed_logged_at;
        let last = logged_at.load(Relaxed);
        let due = last == 0 || self.started.since(Time::from_micros(last)) >= SHED_LOG_EVERY;
        let now = self.started.as_micros();
        if due && logged_at.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            tracing::warn!(in_flight_max = max, "calls are refused: there are too many in flight");
        }
    }

    fn end(&mut self, response: Response<Body>) -> Response<Body> {
        self.stage = Stage::Over;
        self.leave_place();
        let response = match rewritten(response.headers(), self.shared.limits.message_bytes_max) {
            Some(failure) => failure.into_response(),
            None => response,
        };
        self.count(code_of(response.headers()));
        response
    }

    fn count(&self, code: Code) {
        let took = self.shared.app.clock.now().since(self.started);
        self.shared.calls.ended(self.method, code, took);
        tracing::debug!(
            service = self.method.service(),
            method = self.method.name(),
            code = code_name(code),
            took_us = took.as_micros(),
            "call"
        );
    }
}

impl Future for Call {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let call = &mut *self;
        let answer = match &mut call.stage {
            Stage::Running(running) => match running.as_mut().poll(context) {
                Poll::Ready(Ok(response)) => response,
                Poll::Pending => {
                    let patience = call.patience;
                    let timer = call.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                    if timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    Failure::Late.into_response()
                }
            },
            Stage::Answered(answer) => std::mem::take(answer),
            // Nobody polls a future that has ended.
            Stage::Over => return Poll::Pending,
        };
        Poll::Ready(Ok(call.end(answer)))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.leave_place();
        if !matches!(self.stage, Stage::Over) {
            // The client went away, or we cut it off.
            self.count(Code::Cancelled);
        }
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    request.method() == http::Method::POST
        && content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc"))
}

/// Why a call is not begun.
enum Refusal {
    Failure(Failure),
    /// Whoever speaks something else is told so in HTTP, as gRPC wants it.
    NoGrpc,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Refusal {
    #[cold]
    fn into_response(self) -> Response<Body> {
        match self {
            Self::Failure(failure) => failure.into_response(),
            Self::NoGrpc => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                response
            }
        }
    }
}
