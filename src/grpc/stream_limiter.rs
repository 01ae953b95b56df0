//! Limits the streams that stay open: in all, and by caller.
//!
//! A handler of a stream takes a slot before it responds, and lets the stream hold it:
//! `let slot = limiter.take(&ClientInfo::of(&request))?`. When the stream is dropped the slot is free again.

use std::sync::Arc;

use super::Limits;
use super::client_info::ClientInfo;
use super::status::Failure;
use crate::auth::{Caller, ConcurrencyCounter, CredentialStatus, Protocol};
use crate::metrics::{AccessMetrics, Refusal};

/// The open streams of all gRPC clients. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct StreamLimiter {
    record_response: Arc<ConcurrencyCounter>,
    max: usize,
    per_caller_max: usize,
    access: AccessMetrics,
}

/// A slot, released when this is dropped.
#[derive(Debug)]
pub(super) struct StreamSlot {
    record_response: Arc<ConcurrencyCounter>,
    caller: Option<Arc<Caller>>,
}

impl StreamLimiter {
    pub(super) fn new(limits: &Limits, access: AccessMetrics) -> Self {
        let (max, per_caller_max) = (limits.watches_max, limits.watches_per_caller_max);
        Self { record_response: Arc::default(), max, per_caller_max, access }
    }

    /// A slot for a stream of `client`.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` with a retry delay: there is none left, or the caller has its share.
    pub(super) fn take(&self, client: &ClientInfo) -> Result<StreamSlot, Failure> {
        let caller = client.caller();
        if caller.is_some_and(|caller| !caller.counts.watches.enter(self.per_caller_max)) {
            self.access.refused(Protocol::Grpc, Refusal::CallerLimit);
            return Err(Failure::CallerWatches { max: self.per_caller_max });
        }
        if !self.record_response.enter(self.max) {
            if let Some(caller) = caller {
                caller.counts.watches.leave();
            }
            return Err(Failure::WatchesFull { max: self.max });
        }
        Ok(StreamSlot { record_response: Arc::clone(&self.record_response), caller: caller.cloned() })
    }
}

impl StreamSlot {
    /// Fails when the caller's credential was revoked since, or its rights or name changed.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.caller.as_ref().map_or(CredentialStatus::Valid, |caller| caller.credential_status()) {
            CredentialStatus::Valid => Ok(()),
            CredentialStatus::Changed => Err(Failure::RightsChanged),
            CredentialStatus::Revoked => Err(Failure::Unauthenticated),
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.record_response.leave();
        if let Some(caller) = &self.caller {
            caller.counts.watches.leave();
        }
    }
}
