//! Places for streams that stay open: so many in all, and so many a caller.
//!
//! A handler of a stream takes one before it answers, and lets the stream hold it:
//! `let place = places.take(&ClientInfo::of(&request))?`. When the stream is dropped the place is free again.

use std::sync::Arc;

use super::Limits;
use super::client_info::ClientInfo;
use super::status::Failure;
use crate::auth::{Caller, ConcurrencyCounter, CredentialStatus};
use crate::metrics::{AccessMetrics, Refusal, Transport};

/// Places for streams of all gRPC clients. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct StreamLimiter {
    taken: Arc<ConcurrencyCounter>,
    max: usize,
    per_caller_max: usize,
    access: AccessMetrics,
}

/// A place, given back when this is dropped.
#[derive(Debug)]
pub(super) struct StreamSlot {
    taken: Arc<ConcurrencyCounter>,
    caller: Option<Arc<Caller>>,
}

impl StreamLimiter {
    pub(super) fn new(limits: &Limits, access: AccessMetrics) -> Self {
        let (max, per_caller_max) = (limits.watches_max, limits.watches_per_caller_max);
        Self { taken: Arc::default(), max, per_caller_max, access }
    }

    /// A place for a stream of `client`'s.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`, with when to come again: there is none left, or the caller has its share.
    pub(super) fn take(&self, client: &ClientInfo) -> Result<StreamSlot, Failure> {
        let caller = client.caller();
        if caller.is_some_and(|caller| !caller.counts.watches.enter(self.per_caller_max)) {
            self.access.refused(Transport::Grpc, Refusal::CallerLimit);
            return Err(Failure::CallerWatches { max: self.per_caller_max });
        }
        if !self.taken.enter(self.max) {
            if let Some(caller) = caller {
                caller.counts.watches.leave();
            }
            return Err(Failure::WatchesFull { max: self.max });
        }
        Ok(StreamSlot { taken: Arc::clone(&self.taken), caller: caller.cloned() })
    }
}

impl StreamSlot {
    /// Fails when whoever has it is not who they were when they took it: their token was taken off the roll, or it says
    /// other things of them.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.caller.as_ref().map_or(CredentialStatus::Still, |caller| caller.credential_status()) {
            CredentialStatus::Still => Ok(()),
            CredentialStatus::Changed => Err(Failure::RightsChanged),
            CredentialStatus::NoMore => Err(Failure::Unauthenticated),
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.taken.leave();
        if let Some(caller) = &self.caller {
            caller.counts.watches.leave();
        }
    }
}
