//! What is done for every call before and after its handler: the method, authentication and authorization, the load limits, the
//! deadline, the metrics and the log.
//!
//! One future for all of it, around the one that tonic boxes anyway: a layer for each would cost each call more
//! than it does.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use breaker::Time;
use breakerd_api::v1::breaker_service_server::BreakerServiceServer;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tonic::Code;
use tonic::body::Body;

use super::breakers::Breakers;
use super::call_metrics::{Method, code_name};
use super::call_slot::{CallSlot, Pool};
use super::call_span;
use super::deadline;
use super::destination::{Destination, Running};
use super::encoding_headers;
use super::gzip::{self, Encoding};
use super::inline_executor::InlineExecutor;
use super::read_budget::ReadBudget;
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::rights;
use super::services::{GrpcServices, Shared};
use super::status::{Failure, code_of, rewritten};
use crate::auth::{Caller, ConnectionAuth, Credentials, Protocol, Rights};
use crate::metrics::Refusal;
use crate::traces::CallSpan;

/// Bytes of the metadata of a call, as gRPC clients commonly allow for answers: of each header its name, its value, and 32.
const METADATA_BYTES_MAX: usize = 16 * 1024;

/// The gRPC services, for one connection.
pub(super) struct ConnectionService {
    connection: Arc<ConnectionShared>,
    auth: ConnectionAuth,
    executor: InlineExecutor,
    breakers: BreakerServiceServer<Breakers>,
}

/// What the calls of one connection share.
struct ConnectionShared {
    shared: Arc<Shared>,
    read_budget: Arc<ReadBudget>,
}

impl ConnectionService {
    pub(super) fn new(
        grpc: &GrpcServices,
        auth: ConnectionAuth,
        executor: InlineExecutor,
        read_budget: Arc<ReadBudget>,
    ) -> Self {
        let breakers = grpc.breakers(Arc::clone(auth.anonymous()));
        let connection = Arc::new(ConnectionShared { shared: Arc::clone(&grpc.shared), read_budget });
        Self { connection, auth, executor, breakers }
    }
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Call;

    fn call(&self, request: Request<Incoming>) -> Call {
        let shared = &self.connection.shared;
        let method = Method::at(request.uri().path());
        let mut call = Call {
            connection: Arc::clone(&self.connection),
            method,
            started: shared.app.clock.now(),
            timeout: shared.limits.call_max,
            stage: Stage::Done,
            timer: None,
            response_encoding: Encoding::Identity,
            slot: None,
            span: None,
        };
        call.stage = match call.begin(request, &self.auth, &self.breakers) {
            Ok(running) => Stage::Running(running),
            Err(refusal) => Stage::Rejected(refusal),
        };
        // hyper passes the call to the executor next.
        self.executor.expect(method, call.slot.clone());
        call
    }
}

/// One call on its way.
pub(super) struct Call {
    connection: Arc<ConnectionShared>,
    method: Method,
    started: Time,
    /// The longest time that the call may take.
    timeout: Duration,
    stage: Stage,
    /// Started when the call first has to wait: a decision never does.
    timer: Option<Pin<Box<Sleep>>>,
    response_encoding: Encoding,
    /// Its slot among the calls in flight; the response keeps it.
    slot: Option<Arc<CallSlot>>,
    /// None: it is not sampled.
    span: Option<Box<CallSpan>>,
}

enum Stage {
    Running(Running),
    /// Not begun. Its response is made when the executor runs it, and not while the connection still reads.
    Rejected(Rejection),
    Done,
}

impl Call {
    fn begin(
        &mut self,
        mut request: Request<Incoming>,
        auth: &ConnectionAuth,
        breakers: &BreakerServiceServer<Breakers>,
    ) -> Result<Running, Rejection> {
        if !is_grpc(&request) {
            return Err(Rejection::NoGrpc);
        }
        let metadata_bytes = metadata_bytes(request.headers());
        if metadata_bytes > METADATA_BYTES_MAX {
            let bytes_max = METADATA_BYTES_MAX;
            return Err(Failure::MetadataTooLarge { bytes: metadata_bytes, bytes_max }.into());
        }
        let caller = self.authorize(request.headers(), auth)?;
        // Not before: whoever may not call makes no spans.
        self.span =
            call_span::begin(&self.connection.shared.app, self.method, request.headers(), self.started);
        if self.method == Method::EnvoyAccessLog {
            // Its response comes at its end: when the proxy ends, or breakerd.
            self.timeout = Duration::MAX;
        }
        if let Some(deadline) = deadline::of(request.headers()).map_err(Failure::from)? {
            // A stream may outlive the longest call, and ends at its own deadline.
            self.timeout = self.timeout.min(deadline);
            if deadline.is_zero() {
                return Err(Failure::DeadlineExceeded.into());
            }
        }
        let Some(destination) = Destination::of(self.method, &self.connection.shared) else {
            return Err(Failure::NoMethod { path: request.uri().path().to_owned() }.into());
        };
        let encodings = gzip::of(request.headers())?;
        if encodings.request == Encoding::Gzip {
            // From here on its messages are not compressed any more.
            request.headers_mut().remove(encoding_headers::ENCODING_HEADER);
        }
        self.response_encoding = encodings.answer;
        // Not for a decision without authentication: it would cost a tenth of one.
        if !caller.identity.is_anonymous() || !rights::is_decision(self.method) {
            request.extensions_mut().insert(Arc::clone(&caller));
        }
        let pool = if self.method.is_probe() { Pool::Probes } else { Pool::Calls };
        let slot = CallSlot::take(&self.connection.shared, caller, pool, metadata_bytes)?;
        if self.method == Method::EnvoyAccessLog {
            // As a watch whose response has begun.
            slot.is_stream();
        }
        self.slot = Some(Arc::clone(&slot));
        let method = self.method;
        let bytes_max = method.request_bytes_max(self.connection.shared.limits.message_bytes_max);
        let request = request.map(|body| RequestBody::new(body, slot, method, encodings.request, bytes_max));
        Ok(destination.call(request, &self.connection.shared, breakers))
    }

    /// The caller, if it is authorized.
    fn authorize(&self, headers: &HeaderMap, auth: &ConnectionAuth) -> Result<Arc<Caller>, Failure> {
        let mut needed = rights::needed(self.method);
        if self.connection.shared.limits.health_needs_token && rights::is_health_or_reflection(self.method) {
            needed = Rights::ALL;
        }
        if needed.is_none() {
            return Ok(Arc::clone(auth.anonymous()));
        }
        let caller = auth.caller(Credentials::of(headers)).map_err(|_| self.unauthenticated(auth))?;
        if !caller.identity.has(needed) {
            let name = Arc::clone(caller.identity.name());
            return Err(Failure::Denied { rights: needed, service: String::new(), name });
        }
        Ok(caller)
    }

    #[cold]
    fn unauthenticated(&self, auth: &ConnectionAuth) -> Failure {
        if self.connection.shared.log.access_denied.is_due(self.started) {
            let (peer, method) = (&**auth.anonymous().identity.name(), self.method.name());
            tracing::warn!(peer, method, "unauthenticated call rejected: unknown token or certificate");
        }
        Failure::Unauthenticated
    }

    fn end(&mut self, response: Response<Body>) -> Response<ResponseBody> {
        self.stage = Stage::Done;
        let slot = self.slot.take();
        if let Some(slot) = &slot
            && self.method.is_stream()
        {
            slot.is_stream();
        }
        let mut response = match rewritten(response.headers()) {
            Some(failure) => failure.into_response(),
            None => response,
        };
        let code = code_of(response.headers());
        if code == Code::Ok && self.response_encoding == Encoding::Gzip {
            response
                .headers_mut()
                .insert(encoding_headers::ENCODING_HEADER, HeaderValue::from_static(gzip::GZIP));
        }
        match code {
            Code::Unauthenticated => self.refused(Refusal::Unauthenticated),
            Code::PermissionDenied => self.refused(Refusal::PermissionDenied),
            _ => {}
        }
        // What a check is refused for is what a client of the proxy has asked, and costs as much as a decision: the checks of all others
        // must not wait for it.
        let is_refused_by_service = self.method == Method::EnvoyCheck && slot.is_some();
        if !is_refused_by_service && is_refusal(code, response.status()) {
            self.connection.read_budget.count_refused();
        }
        self.count(code);
        let encoding = self.response_encoding;
        response.map(|body| ResponseBody::new(body, slot, encoding, self.method.is_stream()))
    }

    #[cold]
    fn refused(&self, refusal: Refusal) {
        self.connection.shared.app.metrics.access.refused(Protocol::Grpc, refusal);
    }

    /// Within its span.
    fn count(&mut self, code: Code) {
        let span = self.span.take();
        let shared = &self.connection.shared;
        let now = shared.app.clock.now();
        let elapsed = now.since(self.started);
        let sampled = span.as_deref().map(|span| call_span::sampled_call(span, now));
        shared.calls.ended(self.method, code, elapsed, sampled);
        tracing::debug!(
            service = self.method.service(),
            method = self.method.name(),
            code = code_name(code),
            took_us = elapsed.as_micros(),
            "call"
        );
        if let Some(span) = span {
            call_span::end(&span, code, now);
        }
    }
}

impl Future for Call {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let call = &mut *self;
        let _attached = call.span.as_deref().map(CallSpan::attach);
        let answer = match &mut call.stage {
            Stage::Running(running) => match running.as_mut().poll(context) {
                Poll::Ready(Ok(response)) => response,
                Poll::Pending => {
                    let timeout = call.timeout;
                    let timer = call.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                    if timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    Failure::DeadlineExceeded.into_response()
                }
            },
            Stage::Rejected(_) | Stage::Done => match std::mem::replace(&mut call.stage, Stage::Done) {
                Stage::Rejected(refusal) => refusal.into_response(),
                // A future that has ended is not polled.
                Stage::Running(_) | Stage::Done => return Poll::Pending,
            },
        };
        Poll::Ready(Ok(call.end(answer)))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Done) {
            // The client disconnected, or the call was cut off.
            let _attached = self.span.as_deref().map(CallSpan::attach);
            self.count(Code::Cancelled);
        }
    }
}

/// Whether a call failed because of what its client sent, or how much of it.
fn is_refusal(code: Code, status: StatusCode) -> bool {
    match code {
        Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::Unimplemented => true,
        _ => status != StatusCode::OK,
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    request.method() == http::Method::POST && content_type.is_some_and(is_grpc_type)
}

/// `application/grpc`, or `application/grpc+proto`, perhaps with parameters.
fn is_grpc_type(content_type: &[u8]) -> bool {
    let Some(rest) = content_type.strip_prefix(b"application/grpc") else { return false };
    let rest = rest.strip_prefix(b"+proto").unwrap_or(rest);
    matches!(rest.trim_ascii_start().first(), None | Some(b';'))
}

/// As HTTP/2 counts them.
fn metadata_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// Why a call is not begun.
enum Rejection {
    Failure(Failure),
    /// Not gRPC: rejected with an HTTP status, as gRPC specifies.
    NoGrpc,
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Rejection {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_with_protobuf_is_accepted() {
        let accepted = [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "application/grpc+proto ; x=y",
        ];
        assert!(accepted.iter().all(|content_type| is_grpc_type(content_type.as_bytes())));
        let refused = [
            "",
            "text/plain",
            "application/grpcfoo",
            "application/grpc-web",
            "application/grpc+json",
            "application/grpc+protobuf",
            "application/grpc+proto+proto",
        ];
        for content_type in refused {
            assert!(!is_grpc_type(content_type.as_bytes()), "{content_type}");
        }
    }
}
