//! A middleware for reqwest, through the crate `reqwest-middleware`.
//!
//! ```
//! use breakerd_client::reqwest::BreakerMiddleware;
//! # fn client(breakerd: &breakerd_client::Client) -> Result<(), breakerd_client::BreakerError> {
//! let sentinel = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
//!     .with(BreakerMiddleware::new(breakerd.breaker("sentinel")?))
//!     .build();
//! # let _ = sentinel;
//! # Ok(())
//! # }
//! ```

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use crate::breaker_handle::Breaker;
use crate::classify::{Classified, Classify};
use crate::http_status::classify_status;

/// Protects the requests of a client by a breaker. A rejected request fails with [`Error::Middleware`], which holds a [`crate::Rejected`].
#[derive(Debug, Clone)]
pub struct BreakerMiddleware<C = ByStatus> {
    breaker: Breaker,
    classifier: C,
}

impl BreakerMiddleware {
    /// With [`ByStatus`].
    pub fn new(breaker: Breaker) -> Self {
        Self { breaker, classifier: ByStatus }
    }
}

impl<C> BreakerMiddleware<C> {
    /// With another rule of what answers and errors mean.
    pub fn with_classifier(breaker: Breaker, classifier: C) -> Self {
        Self { breaker, classifier }
    }
}

/// By the status, as [`classify_status`](crate::classify_status). Requests without an answer are failures, of the class "timeout", "connect" or
/// "error"; requests that could not be built say nothing about the dependency.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByStatus;

impl Classify<Response, Error> for ByStatus {
    fn classify(&self, result: Result<&Response, &Error>) -> Classified {
        match result {
            Ok(response) => classify_status(response.status(), response.headers()),
            Err(error) if error.is_builder() => Classified::Ignored,
            Err(error) if error.is_timeout() => Classified::failure("timeout"),
            Err(error) if error.is_connect() => Classified::failure("connect"),
            Err(_) => Classified::failure("error"),
        }
    }
}

#[async_trait::async_trait]
impl<C: Classify<Response, Error> + Send + Sync + 'static> Middleware for BreakerMiddleware<C> {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let permit = self.breaker.acquire().await.map_err(|rejected| Error::Middleware(rejected.into()))?;
        let result = next.run(request, extensions).await;
        permit.record(self.classifier.classify(result.as_ref()));
        result
    }
}
