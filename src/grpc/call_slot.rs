//! What a call holds while it is in flight: its slot among the calls, and the bytes that are kept for it.
//!
//! # Bytes
//! A call is charged [`CALL_BYTES`] and its headers when it comes in, its message as that arrives, and before its handler runs what
//! the handler may need ([`super::request_body`]). A charge that would exceed the limit of all calls, or of the caller, is
//! refused; it never waits, since a call that waited would keep its share of the connection's window from the others.
//! Bytes of an answer are added when it is there ([`CallSlot::hold`]): an answer is never thrown away after the work is done. While
//! they exceed the limit no further call is taken.
//!
//! # How long
//! The request body, the call, its answer, and each piece of the answer that is handed to the connection share one slot. The last
//! of them gives it back: an answer that its client does not read keeps its slot and its bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};

use tokio::sync::Semaphore;

use super::Limits;
use super::services::Shared;
use super::status::Failure;
use crate::auth::{Caller, ConcurrencyCounter, Protocol};
use crate::metrics::Refusal;

/// Bytes of every call beside its message: the codec's two buffers of 8 KiB.
pub(super) const CALL_BYTES: usize = 16 * 1024;

/// The limit that a call counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// All other calls, and watches until their response begins.
    Calls,
    /// Health checks: few, and with memory of their own, so that a prober does not get "too busy" because of others.
    Probes,
}

/// The slot of one call in flight.
pub(super) struct CallSlot {
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    pool: Pool,
    /// Whether it still counts as a call in flight: a watch whose response has begun does not.
    counted: AtomicBool,
    /// What it is charged now.
    bytes: AtomicUsize,
    /// Frames of the response that the connection has polled, times two; odd while the newest is unsent.
    sent: AtomicU32,
}

impl CallSlot {
    /// A slot for a call of `caller`'s.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` with a retry delay: a limit of calls or bytes is reached.
    pub(super) fn take(
        shared: &Arc<Shared>,
        caller: Arc<Caller>,
        pool: Pool,
        header_bytes: usize,
    ) -> Result<Arc<Self>, Failure> {
        let (max, per_caller_max) = shared.slots_max(pool);
        if !of_caller(&caller, pool).enter(per_caller_max) {
            return Err(shared.caller_limit(&caller, Failure::CallerCalls { max: per_caller_max }));
        }
        if !shared.slots(pool).enter(max) {
            of_caller(&caller, pool).leave();
            return Err(shared.shed(Failure::Overloaded { max }));
        }
        let slot = Arc::new(Self {
            shared: Arc::clone(shared),
            caller,
            pool,
            counted: AtomicBool::new(true),
            bytes: AtomicUsize::new(0),
            sent: AtomicU32::new(0),
        });
        slot.charge(CALL_BYTES + header_bytes)?;
        Ok(slot)
    }

    /// Charges more bytes.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` with a retry delay: they do not fit, and are not charged.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Failure> {
        if self.pool == Pool::Probes {
            return Ok(());
        }
        let Limits { bytes_per_caller_max, .. } = self.shared.limits;
        if !self.caller.counts.bytes.add(bytes, bytes_per_caller_max) {
            return Err(self
                .shared
                .caller_limit(&self.caller, Failure::CallerBytes { max: bytes_per_caller_max }));
        }
        let max = self.shared.bytes_max;
        if !self.shared.bytes.add(bytes, max) {
            self.caller.counts.bytes.remove(bytes);
            return Err(self.shared.shed(Failure::BytesFull { max }));
        }
        self.bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }

    /// Charges bytes that are there already, whatever the limits are.
    pub(super) fn hold(&self, bytes: usize) {
        if self.pool == Pool::Calls && bytes > 0 {
            self.caller.counts.bytes.add_always(bytes);
            self.shared.bytes.add_always(bytes);
            self.bytes.fetch_add(bytes, Relaxed);
        }
    }

    /// Gives charged bytes back before the end.
    pub(super) fn release(&self, bytes: usize) {
        if self.pool == Pool::Calls && bytes > 0 {
            self.bytes.fetch_sub(bytes, Relaxed);
            self.caller.counts.bytes.remove(bytes);
            self.shared.bytes.remove(bytes);
        }
    }

    /// One is acquired while a large message is compressed or decompressed.
    pub(super) fn off_thread_permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.shared.off_thread_permits)
    }

    /// The response is encoded, and the request message is not needed any more: only what every call costs stays charged, and
    /// what is held from here on.
    pub(super) fn answered(&self) {
        let bytes = self.bytes.load(Relaxed);
        self.release(bytes.saturating_sub(CALL_BYTES));
    }

    /// It is a stream from here on, which counts among the watches.
    pub(super) fn is_stream(&self) {
        if self.counted.swap(false, Relaxed) {
            of_caller(&self.caller, self.pool).leave();
            self.shared.slots(self.pool).leave();
        }
    }

    /// The connection has polled a frame of the response, to send it.
    pub(super) fn frame_polled(&self) {
        // One task polls a response; the write timeout only reads this.
        let sent = self.sent.load(Relaxed);
        self.sent.store((sent | 1).wrapping_add(2), Relaxed);
    }

    /// The connection has polled for a frame that is not ready: no frame is unsent.
    pub(super) fn frame_awaited(&self) {
        let sent = self.sent.load(Relaxed);
        self.sent.store(sent & !1, Relaxed);
    }

    /// The number of the frame that waits for the client to read; none: no frame waits.
    pub(super) fn unsent_frame(&self) -> Option<u32> {
        let sent = self.sent.load(Relaxed);
        (sent & 1 == 1).then_some(sent)
    }

    /// A response was given up because its client did not read it.
    #[cold]
    pub(super) fn stalled(&self) {
        self.shared.app.metrics.access.refused(Protocol::Grpc, Refusal::Stalled);
        if self.shared.log.stalled.is_due(self.shared.app.clock.now()) {
            let caller = &**self.caller.identity.name();
            let timeout_ms = self.shared.limits.write_timeout.as_millis();
            tracing::warn!(caller, timeout_ms, "stream reset: its client did not read the answer");
        }
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        self.release(self.bytes.load(Relaxed));
        self.is_stream();
    }
}

impl std::fmt::Debug for CallSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallSlot")
            .field("pool", &self.pool)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

fn of_caller(caller: &Caller, pool: Pool) -> &ConcurrencyCounter {
    match pool {
        Pool::Calls => &caller.counts.in_flight,
        Pool::Probes => &caller.counts.probes,
    }
}

impl Shared {
    fn slots(&self, pool: Pool) -> &ConcurrencyCounter {
        match pool {
            Pool::Calls => &self.in_flight,
            Pool::Probes => &self.probes,
        }
    }

    /// Slots of a pool in all, and of one caller.
    fn slots_max(&self, pool: Pool) -> (usize, usize) {
        match pool {
            Pool::Calls => (self.limits.in_flight_max, self.limits.in_flight_per_caller_max),
            Pool::Probes => (Limits::PROBES_MAX, Limits::PROBES_MAX.div_ceil(2)),
        }
    }

    #[cold]
    fn caller_limit(&self, caller: &Caller, failure: Failure) -> Failure {
        self.app.metrics.access.refused(Protocol::Grpc, Refusal::CallerLimit);
        if self.log.caller_limit.is_due(self.app.clock.now()) {
            let caller = &**caller.identity.name();
            tracing::warn!(
                caller,
                limit = failure.reason(),
                "call rejected: a limit of its caller is reached"
            );
        }
        failure
    }

    #[cold]
    fn shed(&self, failure: Failure) -> Failure {
        if self.log.overload.is_due(self.app.clock.now()) {
            tracing::warn!(limit = failure.reason(), "call rejected: a limit of all calls is reached");
        }
        failure
    }
}
