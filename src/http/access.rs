//! Who may see a page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{PageState, internal, problem};
use crate::auth::{ConnectionAuth, Credentials, Protocol, Right};
use crate::metrics::Refusal;

/// Requires the right to read every service: the pages behind it show them all.
pub(super) async fn authorize(State(state): State<PageState>, request: Request, next: Next) -> Response {
    // Every connection has one.
    let Some(auth) = request.extensions().get::<Arc<ConnectionAuth>>() else { return internal() };
    match auth.caller(Credentials::of(request.headers())) {
        Ok(caller) if caller.identity.may_for_every_service(Right::Read) => next.run(request).await,
        Ok(caller) => {
            let name = caller.identity.name();
            state.refused(auth, Refusal::PermissionDenied);
            let role = Right::Read.role().as_str();
            let why = format!("{name} is not authorized: requires role {role} for every service");
            problem(StatusCode::FORBIDDEN, &why)
        }
        Err(_) => {
            state.refused(auth, Refusal::Unauthenticated);
            let why = "authentication required: send a bearer token or use a registered client certificate";
            let challenge = HeaderValue::from_static("Bearer realm=\"breakerd\"");
            ([(header::WWW_AUTHENTICATE, challenge)], problem(StatusCode::UNAUTHORIZED, why)).into_response()
        }
    }
}

impl PageState {
    fn refused(&self, auth: &ConnectionAuth, refusal: Refusal) {
        self.app.metrics.access.refused(Protocol::Http, refusal);
        if self.log.is_due(self.app.clock.now()) {
            let peer = &**auth.anonymous().identity.name();
            tracing::warn!(peer, ?refusal, "HTTP request rejected");
        }
    }
}
