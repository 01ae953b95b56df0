//! What every call passes on its way in and out: the method, who sends it and whether they may, the load limits, the
//! deadline, the metrics and the log.
//!
//! One future for all of it, around the one that tonic boxes anyway: a layer each would cost each call more
//! than it does.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use breaker::Time;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service as _;

use super::Limits;
use super::asker::Asker;
use super::calls::{Method, code_name};
use super::deadline;
use super::edge::{Edge, Shared};
use super::reflection;
use super::rights;
use super::status::{Failure, code_of, rewritten};
use crate::auth::{Caller, Rights, Shown, Visitor};
use crate::metrics::{Entry, Refusal as Why};

type Running = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The edge, as one connection comes to it.
pub(super) struct Entrance {
    pub(super) edge: Edge,
    pub(super) visitor: Visitor,
}

impl hyper::service::Service<Request<Incoming>> for Entrance {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Call;

    fn call(&self, request: Request<Incoming>) -> Call {
        let shared = &self.edge.shared;
        let method = Method::at(request.uri().path());
        let mut call = Call {
            shared: Arc::clone(shared),
            method,
            started: shared.app.clock.now(),
            patience: shared.limits.call_max,
            stage: Stage::Over,
            timer: None,
            place: None,
        };
        call.stage = match call.begin(request, &self.visitor) {
            Ok(running) => Stage::Running(running),
            Err(refusal) => Stage::Answered(refusal.into_response()),
        };
        call
    }
}

/// One call on its way.
pub(super) struct Call {
    shared: Arc<Shared>,
    method: Method,
    started: Time,
    /// How long it may take.
    patience: Duration,
    stage: Stage,
    /// Started when the call first has to wait: a decision never does.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whose place among the calls in flight it holds.
    place: Option<Arc<Caller>>,
}

enum Stage {
    Running(Running),
    /// Refused at the door.
    Answered(Response<Body>),
    Over,
}

impl Call {
    fn begin(&mut self, mut request: Request<Incoming>, visitor: &Visitor) -> Result<Running, Refusal> {
        if !is_grpc(&request) {
            return Err(Refusal::NoGrpc);
        }
        let caller = self.admit(request.headers(), visitor)?;
        if let Some(asked) = deadline::of(request.headers()).map_err(Failure::from)? {
            // A stream may outlive the longest call, and ends its own at its deadline.
            self.patience = self.patience.min(asked);
            if asked.is_zero() {
                return Err(Failure::Late.into());
            }
        }
        // Not for a decision where nobody is asked who they are: it would cost a tenth of one.
        if !caller.identity.is_anonymous() || !rights::is_decision(self.method) {
            request.extensions_mut().insert(Arc::clone(&caller));
        }
        if !self.method.is_health() {
            self.take_place(Arc::clone(&caller))?;
        }
        Ok(match self.method {
            Method::AllowRequest
            | Method::RecordOutcome
            | Method::AllowRequests
            | Method::RecordOutcomes
            | Method::WatchBreakers => self.shared.breakers.clone().call(request),
            Method::GetConfig
            | Method::ListConfigs
            | Method::UpdateConfig
            | Method::DeleteConfig
            | Method::ListConfigChanges
            | Method::WatchConfig => self.shared.configs.clone().call(request),
            Method::ListBreakers
            | Method::GetBreaker
            | Method::ListTransitions
            | Method::WatchTransitions
            | Method::SetOverride
            | Method::ClearOverride
            | Method::ResetBreaker
            | Method::ProbeBreaker => self.shared.operations.clone().call(request),
            Method::HealthCheck | Method::HealthWatch => self.shared.health.clone().call(request),
            Method::Reflection | Method::ReflectionAlpha => {
                let place = self.shared.places_about_us.take(&Asker::is(caller))?;
                let closing = self.shared.health_board.closing();
                let request = request.map(|body| reflection::held(body, place, closing));
                Box::pin(self.shared.reflection.clone().call(request))
            }
            Method::Other => {
                return Err(Failure::NoMethod { path: request.uri().path().to_owned() }.into());
            }
        })
    }

    /// Who sends the call, if they may.
    fn admit(&self, headers: &HeaderMap, visitor: &Visitor) -> Result<Arc<Caller>, Failure> {
        let mut needed = rights::needed(self.method);
        if self.shared.limits.health_needs_token && rights::is_about_us(self.method) {
            needed = Rights::ALL;
        }
        if needed.is_none() {
            return Ok(Arc::clone(visitor.nobody()));
        }
        let caller = visitor.caller(Shown::of(headers)).map_err(|_| self.unknown(visitor))?;
        if !caller.identity.has(needed) {
            let name = Arc::clone(caller.identity.name());
            return Err(Failure::Denied { rights: needed, service: String::new(), name });
        }
        Ok(caller)
    }

    fn take_place(&mut self, caller: Arc<Caller>) -> Result<(), Failure> {
        let Limits { in_flight_max, in_flight_per_caller_max, .. } = self.shared.limits;
        if !caller.counts.in_flight.enter(in_flight_per_caller_max) {
            return Err(self.caller_is_full(&caller, in_flight_per_caller_max));
        }
        if !self.shared.in_flight.enter(in_flight_max) {
            caller.counts.in_flight.leave();
            self.log_shed(in_flight_max);
            return Err(Failure::Overloaded { max: in_flight_max });
        }
        self.place = Some(caller);
        Ok(())
    }

    fn leave_place(&mut self) {
        if let Some(caller) = self.place.take() {
            caller.counts.in_flight.leave();
            self.shared.in_flight.leave();
        }
    }

    #[cold]
    fn unknown(&self, visitor: &Visitor) -> Failure {
        if self.shared.told.refused.is_due(self.started) {
            let (peer, method) = (&**visitor.nobody().identity.name(), self.method.name());
            tracing::warn!(
                peer,
                method,
                "a call was refused: it shows no token or certificate that is known"
            );
        }
        Failure::Unknown
    }

    #[cold]
    fn caller_is_full(&self, caller: &Caller, max: usize) -> Failure {
        self.refused(Why::CallerLimit);
        if self.shared.told.caller_limit.is_due(self.started) {
            let caller = &**caller.identity.name();
            tracing::warn!(caller, max, "calls are refused: the caller has too many in flight");
        }
        Failure::CallerCalls { max }
    }

    #[cold]
    fn log_shed(&self, max: usize) {
        if self.shared.told.shed.is_due(self.started) {
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
        let code = code_of(response.headers());
        match code {
            Code::Unauthenticated => self.refused(Why::Unauthenticated),
            Code::PermissionDenied => self.refused(Why::PermissionDenied),
            _ => {}
        }
        self.count(code);
        response
    }

    #[cold]
    fn refused(&self, why: Why) {
        self.shared.app.metrics.access.refused(Entry::Grpc, why);
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
