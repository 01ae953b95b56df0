//! Who sent a request, for its handler.

use std::sync::Arc;

use tonic::Request;

use super::status::Failure;
use crate::auth::{Caller, Right, Rights};
use crate::engine::Creator;

/// Whoever sent a request. The transport has seen to it that they have the method's right for some service; the handler
/// checks it for the service at hand, before it does anything.
#[derive(Debug, Clone)]
pub(super) struct ClientInfo(Option<Arc<Caller>>);

impl ClientInfo {
    /// Whoever sent `request`: to be asked before the message is taken out of it.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        // The transport leaves it out only where nobody is asked who they are (`rights::is_decision`).
        Self(request.extensions().get::<Arc<Caller>>().cloned())
    }

    /// Whether they have `right` for `service`.
    pub(super) fn may(&self, right: Right, service: &str) -> bool {
        self.0.as_ref().is_none_or(|caller| caller.identity.may(right, service))
    }

    /// Whether they have `right` for every service there may be.
    pub(super) fn may_everywhere(&self, right: Right) -> bool {
        self.0.as_ref().is_none_or(|caller| caller.identity.may_everywhere(right))
    }

    /// Whether they have one of `rights` for `service`.
    pub(super) fn may_any(&self, rights: Rights, service: &str) -> bool {
        rights.iter().any(|right| self.may(right, service))
    }

    /// Fails with `PERMISSION_DENIED` when they do not have `right` for `service`.
    pub(super) fn check(&self, right: Right, service: &str) -> Result<(), Failure> {
        if self.may(right, service) { Ok(()) } else { Err(self.denied(Rights::of(&[right]), service)) }
    }

    /// Their name, if they have one: part of who is counted as a reporter.
    pub(super) fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|caller| &caller.identity).filter(|it| !it.is_anonymous()).map(|it| &**it.name())
    }

    /// Whom a breaker counts for that the request creates. `unnamed` is whoever comes over the connection and is not
    /// asked who they are.
    pub(super) fn creator<'a>(&'a self, unnamed: &'a Caller) -> Creator<'a> {
        let identity = &self.0.as_deref().unwrap_or(unnamed).identity;
        let name = &**identity.name();
        if identity.is_anonymous() { Creator::Address(name) } else { Creator::Identity(name) }
    }

    /// The same, of a call that is not a decision: the transport always says who sends it.
    pub(super) fn own_creator(&self) -> Creator<'_> {
        self.0.as_deref().map_or(Creator::Server, |caller| self.creator(caller))
    }

    /// Who did it, for the audit: the name, or `anonymous@` and the address; at most 256 bytes.
    pub(super) fn actor(&self) -> String {
        self.0.as_ref().map_or_else(|| "anonymous".to_owned(), |caller| caller.identity.actor())
    }

    /// What they have at work. None: nobody counts it.
    pub(super) fn caller(&self) -> Option<&Arc<Caller>> {
        self.0.as_ref()
    }

    /// That they have none of `rights` for `service`.
    #[cold]
    pub(super) fn denied(&self, rights: Rights, service: &str) -> Failure {
        let name = self.0.as_ref().map_or_else(|| "".into(), |caller| Arc::clone(caller.identity.name()));
        Failure::Denied { rights, service: service.to_owned(), name }
    }
}
