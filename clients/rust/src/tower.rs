//! A layer for tower services: HTTP clients, tonic clients, and any other.
//!
//! ```
//! use breakerd_client::tower::BreakerLayer;
//! # fn layers(client: &breakerd_client::Client) -> Result<(), breakerd_client::BreakerError> {
//! // Answers of 500 and above, and 429, are failures; 429 and 503 bring their Retry-After.
//! let http = BreakerLayer::http(client.breaker("sentinel")?);
//! // Answers with a gRPC status that says that the server is at fault are failures.
//! let grpc = BreakerLayer::grpc(client.breaker("inventory")?);
//! # let _ = (http, grpc);
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use tower_layer::Layer;
use tower_service::Service;

use crate::breaker_handle::Breaker;
use crate::classify::{Classified, Classify};
use crate::error::Rejected;
use crate::http_status::classify_status;

/// The error of a service that is protected: a [`Rejected`], or that of the service itself.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Protects a service by a breaker.
#[derive(Debug, Clone)]
pub struct BreakerLayer<C> {
    breaker: Breaker,
    classifier: C,
    rejection: Rejection,
}

#[derive(Debug, Clone, Copy)]
enum Rejection {
    Plain,
    Grpc,
}

impl BreakerLayer<HttpStatus> {
    /// For clients of HTTP: see [`HttpStatus`].
    pub fn http(breaker: Breaker) -> Self {
        Self { breaker, classifier: HttpStatus, rejection: Rejection::Plain }
    }
}

impl BreakerLayer<GrpcStatus> {
    /// For the channels of tonic clients: see [`GrpcStatus`]. A rejected call has the status UNAVAILABLE.
    pub fn grpc(breaker: Breaker) -> Self {
        Self { breaker, classifier: GrpcStatus, rejection: Rejection::Grpc }
    }
}

impl<C> BreakerLayer<C> {
    /// For any service, with what its answers and its errors mean.
    pub fn new(breaker: Breaker, classifier: C) -> Self {
        Self { breaker, classifier, rejection: Rejection::Plain }
    }
}

impl<S, C: Clone> Layer<S> for BreakerLayer<C> {
    type Service = BreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { breaker, classifier, rejection } = self.clone();
        BreakerService { inner, breaker, classifier, rejection }
    }
}

/// A service that a breaker protects.
#[derive(Debug, Clone)]
pub struct BreakerService<S, C> {
    inner: S,
    breaker: Breaker,
    classifier: C,
    rejection: Rejection,
}

impl<S, C, Request> Service<Request> for BreakerService<S, C>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    S::Response: Send,
    C: Classify<S::Response, S::Error> + Clone + Send + Sync + 'static,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that was polled is ready; its clone may not be.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let (breaker, classifier, rejection) =
            (self.breaker.clone(), self.classifier.clone(), self.rejection);
        Box::pin(async move {
            let permit = breaker.acquire().await.map_err(|rejected| rejection.error(rejected))?;
            let result = inner.call(request).await;
            permit.record(classifier.classify(result.as_ref()));
            result.map_err(Into::into)
        })
    }
}

impl Rejection {
    fn error(self, rejected: Rejected) -> BoxError {
        match self {
            Self::Plain => rejected.into(),
            // What tonic finds in a boxed error, it returns to its caller as it is.
            Self::Grpc => tonic::Status::unavailable(rejected.to_string()).into(),
        }
    }
}

/// Of HTTP: by the status, as [`classify_status`]. Errors are failures.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpStatus;

impl<B, E> Classify<Response<B>, E> for HttpStatus {
    fn classify(&self, result: Result<&Response<B>, &E>) -> Classified {
        match result {
            Ok(response) => classify_status(response.status(), response.headers()),
            Err(_) => Classified::failure("error"),
        }
    }
}

/// Of gRPC: UNKNOWN, `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, ABORTED, INTERNAL, UNAVAILABLE and `DATA_LOSS` are failures of the class of their
/// name, and so are errors of the transport. CANCELLED is ignored. Other statuses say that the server works.
///
/// The status is read from the headers, where servers send that of a call without a result. A stream that fails after its first message is a
/// success here.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrpcStatus;

impl<B, E> Classify<Response<B>, E> for GrpcStatus {
    fn classify(&self, result: Result<&Response<B>, &E>) -> Classified {
        use tonic::Code;
        let Ok(response) = result else { return Classified::failure("error") };
        if !response.status().is_success() {
            return Classified::failure(response.status().as_str().to_owned());
        }
        let code = response.headers().get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()));
        match code {
            Some(Code::Cancelled) => Classified::Ignored,
            Some(
                code @ (Code::Unknown
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss),
            ) => Classified::failure(code_name(code)),
            _ => Classified::Success,
        }
    }
}

const fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Aborted => "ABORTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::State;
    use crate::testing::Fake;

    /// Answers with what the request is.
    #[derive(Clone)]
    struct Echo;

    impl Service<Response<()>> for Echo {
        type Response = Response<()>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<()>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, answer: Response<()>) -> Self::Future {
            std::future::ready(Ok(answer))
        }
    }

    fn answer(status: u16, header: Option<(&'static str, &'static str)>) -> Response<()> {
        let mut response = Response::builder().status(status);
        if let Some((name, value)) = header {
            response = response.header(name, value);
        }
        response.body(()).unwrap()
    }

    #[test]
    fn answers_of_grpc_are_failures_where_the_server_is_at_fault() {
        let grpc = |status| {
            let answer = answer(200, Some(("grpc-status", status)));
            Classify::<_, Infallible>::classify(&GrpcStatus, Ok(&answer))
        };
        assert_eq!(
            (grpc("0"), grpc("5"), grpc("1")),
            (Classified::Success, Classified::Success, Classified::Ignored)
        );
        assert_eq!(grpc("14"), Classified::failure("UNAVAILABLE"));
        let plain = answer(502, None);
        assert_eq!(Classify::<_, Infallible>::classify(&GrpcStatus, Ok(&plain)), Classified::failure("502"));
    }

    #[tokio::test]
    async fn a_service_is_not_called_while_its_breaker_is_open() {
        let fake = Fake::new::<String>([]).unwrap();
        let breaker = fake.client().breaker("sentinel").unwrap();
        let mut service = BreakerLayer::http(breaker.clone()).layer(Echo);
        for _ in 0..5 {
            assert_eq!(service.call(answer(500, None)).await.unwrap().status(), 500);
        }
        let error = service.call(answer(200, None)).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Rejected>().unwrap().state, State::Open);
        let error = BreakerLayer::grpc(breaker).layer(Echo).call(answer(200, None)).await.unwrap_err();
        assert_eq!(tonic::Status::from_error(error).code(), tonic::Code::Unavailable);
    }
}
