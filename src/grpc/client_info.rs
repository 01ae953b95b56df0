//! The caller of a request, for its handler.

use std::sync::Arc;

use http::Extensions;
use tonic::Request;

use super::reporters::BatchSender;
use super::status::Failure;
use crate::auth::{Caller, Right, Rights};
use crate::engine::Creator;

/// The caller of a request. The transport has checked that it has the method's right for some service; the handler
/// checks it for the service at hand, before it does anything.
#[derive(Debug, Clone)]
pub(super) struct ClientInfo(Option<Arc<Caller>>);

impl ClientInfo {
    /// The caller of `request`: to be read before the message is taken out of it.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        Self::in_extensions(request.extensions())
    }

    /// The same, by the extensions of the request.
    pub(super) fn in_extensions(extensions: &Extensions) -> Self {
        // The transport leaves it out only without authentication (`rights::is_decision`).
        Self(extensions.get::<Arc<Caller>>().cloned())
    }

    /// Whether it has `right` for `service`.
    pub(super) fn may(&self, right: Right, service: &str) -> bool {
        self.0.as_ref().is_none_or(|caller| caller.identity.may(right, service))
    }

    /// Whether it has `right` for every service there may be.
    pub(super) fn may_for_every_service(&self, right: Right) -> bool {
        self.0.as_ref().is_none_or(|caller| caller.identity.may_for_every_service(right))
    }

    /// Whether it has one of `rights` for `service`.
    pub(super) fn may_any(&self, rights: Rights, service: &str) -> bool {
        rights.iter().any(|right| self.may(right, service))
    }

    /// Fails with `PERMISSION_DENIED` when it does not have `right` for `service`.
    pub(super) fn check(&self, right: Right, service: &str) -> Result<(), Failure> {
        if self.may(right, service) { Ok(()) } else { Err(self.denied(Rights::of(&[right]), service)) }
    }

    /// Its name, if it has one: part of what identifies a reporter.
    pub(super) fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|caller| &caller.identity).filter(|it| !it.is_anonymous()).map(|it| &**it.name())
    }

    /// The creator of a breaker that the request creates. `unnamed` is the caller of a connection that is not
    /// authenticated.
    pub(super) fn creator<'a>(&'a self, unnamed: &'a Caller) -> Creator<'a> {
        let identity = &self.0.as_deref().unwrap_or(unnamed).identity;
        let name = &**identity.name();
        if identity.is_anonymous() { Creator::Address(name) } else { Creator::Identity(name) }
    }

    /// The sender of a batch. `unnamed` is the caller of a connection that is not authenticated.
    pub(super) fn batch_sender(&self, unnamed: &Caller) -> BatchSender {
        let identity = &self.0.as_deref().unwrap_or(unnamed).identity;
        BatchSender { client: Arc::clone(identity.name()), is_named: !identity.is_anonymous() }
    }

    /// The same, of a call that is not a decision: the transport always attaches its caller.
    pub(super) fn own_creator(&self) -> Creator<'_> {
        self.0.as_deref().map_or(Creator::Server, |caller| self.creator(caller))
    }

    /// Who did it, for the audit: the name, or `anonymous@` and the address; at most 256 bytes.
    pub(super) fn actor(&self) -> String {
        self.0.as_ref().map_or_else(|| "anonymous".to_owned(), |caller| caller.identity.actor())
    }

    /// The caller whose usage is counted. None: it is not counted.
    pub(super) fn caller(&self) -> Option<&Arc<Caller>> {
        self.0.as_ref()
    }

    /// That it has none of `rights` for `service`.
    #[cold]
    pub(super) fn denied(&self, rights: Rights, service: &str) -> Failure {
        let name = self.0.as_ref().map_or_else(|| "".into(), |caller| Arc::clone(caller.identity.name()));
        Failure::Denied { rights, service: service.to_owned(), name }
    }
}
