//! Bounds reads of the history and the audit, whose cost a caller chooses: so many in all, and so many a caller.
//!
//! As many as the store has connections for are read at one time; the others wait, in the order they came, no longer than
//! their call may take. What is beyond the bounds is refused at once, RESOURCE_EXHAUSTED with when to retry. Nothing is held
//! while the client reads its answer.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Limits;
use super::client_info::ClientInfo;
use super::status::Failure;
use crate::auth::{Caller, ConcurrencyCounter, Protocol};
use crate::metrics::{AccessMetrics, Refusal};
use crate::store::HISTORY_READS_AT_ONCE;

/// The reads of all gRPC clients. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct HistoryReads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    admitted: ConcurrencyCounter,
    max: usize,
    per_caller_max: usize,
    connections: Semaphore,
    access: AccessMetrics,
}

/// One read, until this is dropped.
#[derive(Debug)]
pub(super) struct HistoryRead<'a> {
    _slot: Slot<'a>,
    /// Never none: the semaphore is not closed.
    _connection: Option<SemaphorePermit<'a>>,
}

#[derive(Debug)]
struct Slot<'a> {
    admitted: &'a ConcurrencyCounter,
    caller: Option<Arc<Caller>>,
}

impl HistoryReads {
    pub(super) fn new(limits: &Limits, access: AccessMetrics) -> Self {
        Self(Arc::new(Shared {
            admitted: ConcurrencyCounter::default(),
            max: limits.history_reads_max,
            per_caller_max: limits.history_reads_per_caller_max,
            connections: Semaphore::new(HISTORY_READS_AT_ONCE as usize),
            access,
        }))
    }

    /// Lets `client` read, once a connection is free.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`, with when to retry: as many reads are admitted as may be, in all or of the caller.
    pub(super) async fn admit(&self, client: &ClientInfo) -> Result<HistoryRead<'_>, Failure> {
        let slot = self.slot(client)?;
        let connection = self.0.connections.acquire().await.ok();
        Ok(HistoryRead { _slot: slot, _connection: connection })
    }

    fn slot(&self, client: &ClientInfo) -> Result<Slot<'_>, Failure> {
        let Shared { admitted, max, per_caller_max, access, .. } = &*self.0;
        let caller = client.caller();
        if caller.is_some_and(|caller| !caller.counts.history_reads.enter(*per_caller_max)) {
            access.refused(Protocol::Grpc, Refusal::CallerLimit);
            return Err(Failure::CallerHistoryReads { max: *per_caller_max });
        }
        if !admitted.enter(*max) {
            if let Some(caller) = caller {
                caller.counts.history_reads.leave();
            }
            return Err(Failure::HistoryReadsFull { max: *max });
        }
        Ok(Slot { admitted, caller: caller.cloned() })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.admitted.leave();
        if let Some(caller) = &self.caller {
            caller.counts.history_reads.leave();
        }
    }
}
