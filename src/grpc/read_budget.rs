//! How much of a connection is read in one turn, and when it is read again.
//!
//! h2 reads all that has arrived before the connection's task yields, and a socket holds megabytes: tens of thousands of calls,
//! each of which is parsed, begun, and, where a limit is reached, refused. So the socket is read a few kilobytes a turn, and not
//! at all while calls of the last turn have not run. Other connections have their turns between.
//!
//! A connection whose calls are refused often is read more slowly ([`ReadBudget::refused`]): TCP's own back-pressure reaches the
//! client, and what is not read costs nothing. The rate is that of an address, so that ten connections have no more of it than one, and a
//! reconnect does not renew it. Only a connection whose own calls were refused waits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use breaker::Time;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

use crate::auth::Counts;
use crate::rate_limiter::Rate;

/// Bytes that are read in one turn: about a hundred calls, some hundred microseconds.
const TURN_BYTES: usize = 8 * 1024;
/// The same while the calls of the connection's address are refused more often than they may be.
const TURN_BYTES_LIMITED: usize = 1024;
/// Calls that may be refused to one address without a pause. A refusal costs about as much as a decision: at this rate, a
/// fiftieth of a processor, and a third of one where nothing is optimized.
const REFUSALS: Rate = Rate { per_second: 2_000, burst: 1_000 };
/// The longest pause for one refused call. A connection that many clients share, of which one is refused, waits no longer.
const PAUSE_FOR_ONE: Duration = Duration::from_millis(10);

/// What one connection may read. Its task alone changes it, beside [`ReadBudget::count_refused`].
#[derive(Debug, Default)]
pub(super) struct ReadBudget {
    bytes_left: AtomicUsize,
    /// Whether reading stopped at the budget since the turn began.
    is_exhausted: AtomicBool,
    /// Calls that were refused since [`ReadBudget::refused`] was last called.
    refused: AtomicU32,
}

impl ReadBudget {
    /// A turn in which nothing is read.
    pub(super) fn begin_without_reading(&self) {
        self.bytes_left.store(0, Relaxed);
        self.is_exhausted.store(false, Relaxed);
    }

    /// A turn in which some is read, of a connection from the address that has `counts`.
    pub(super) fn begin(&self, counts: &Counts, now: Time) {
        let is_limited = counts.refusals.is_exceeded(REFUSALS, now);
        self.bytes_left.store(if is_limited { TURN_BYTES_LIMITED } else { TURN_BYTES }, Relaxed);
        self.is_exhausted.store(false, Relaxed);
    }

    /// Whether reading stopped at the budget: the socket does not wake the task for the rest.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted.load(Relaxed)
    }

    /// One of its calls was refused.
    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// How long it is not to be read because of its calls that were refused since the last look; none: it may go on.
    pub(super) fn pause(&self, counts: &Counts, now: impl FnOnce() -> Time) -> Option<Duration> {
        // A load is cheaper than a swap, and nearly always enough.
        if self.refused.load(Relaxed) == 0 {
            return None;
        }
        let refused = self.refused.swap(0, Relaxed);
        let pause = counts.refusals.charge(refused, REFUSALS, now());
        Some(pause.min(PAUSE_FOR_ONE.saturating_mul(refused))).filter(|pause| !pause.is_zero())
    }
}

/// A connection's socket, of which no more is read than its budget allows.
#[derive(Debug)]
pub(super) struct BudgetedIo<S> {
    io: Take<S>,
    budget: Arc<ReadBudget>,
}

impl<S: AsyncRead> BudgetedIo<S> {
    pub(super) fn new(io: S, budget: Arc<ReadBudget>) -> Self {
        Self { io: io.take(0), budget }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BudgetedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = this.budget.bytes_left.load(Relaxed);
        if left == 0 {
            this.budget.is_exhausted.store(true, Relaxed);
            return Poll::Pending;
        }
        this.io.set_limit(left as u64);
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(context, buffer);
        this.budget.bytes_left.store(left.saturating_sub(buffer.filled().len() - before), Relaxed);
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for BudgetedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const NOW: Time = Time::from_micros(1_000_000_000);

    fn read(io: &mut BudgetedIo<&[u8]>) -> usize {
        let mut bytes = vec![0; 1 << 20];
        let mut total = 0;
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *io).poll_read(&mut context, &mut buffer) {
                Poll::Ready(result) => {
                    result.expect("a slice does not fail");
                    total += buffer.filled().len();
                    if buffer.filled().is_empty() {
                        return total;
                    }
                }
                Poll::Pending => return total,
            }
        }
    }

    #[test]
    fn a_turn_reads_a_bounded_number_of_bytes_and_the_next_one_goes_on() {
        let (sent, counts) = (vec![7; 3 * TURN_BYTES + 1], Counts::default());
        let budget = Arc::new(ReadBudget::default());
        let mut io = BudgetedIo::new(&*sent, Arc::clone(&budget));
        for _ in 0..3 {
            budget.begin(&counts, NOW);
            assert_eq!(read(&mut io), TURN_BYTES);
            assert!(budget.is_exhausted());
        }
        budget.begin_without_reading();
        assert_eq!((read(&mut io), budget.is_exhausted()), (0, true));
        budget.begin(&counts, NOW);
        assert_eq!((read(&mut io), budget.is_exhausted()), (1, false), "the rest, and the end");
    }

    #[test]
    fn who_is_refused_again_and_again_pauses_on_every_connection_and_reads_less() {
        let counts = Counts::default();
        let (flooding, other) = (ReadBudget::default(), ReadBudget::default());
        let refuse = |budget: &ReadBudget, times: u32| {
            (0..times).for_each(|_| budget.count_refused());
            budget.pause(&counts, || NOW)
        };
        assert_eq!(flooding.pause(&counts, || NOW), None);
        assert_eq!(refuse(&flooding, REFUSALS.burst), None, "a burst is free");
        assert_eq!(refuse(&flooding, 2 * REFUSALS.per_second), Some(Duration::from_secs(1)), "at most");
        assert_eq!(other.pause(&counts, || NOW), None, "none of its calls was refused");
        assert_eq!(refuse(&other, 1), Some(PAUSE_FOR_ONE), "the share of one call");
        let sent = vec![7; TURN_BYTES];
        let budget = Arc::new(flooding);
        let mut io = BudgetedIo::new(&*sent, Arc::clone(&budget));
        budget.begin(&counts, NOW);
        assert_eq!(read(&mut io), TURN_BYTES_LIMITED);
        budget.begin(&counts, NOW + Duration::from_secs(1));
        assert_eq!(read(&mut io), TURN_BYTES - TURN_BYTES_LIMITED, "all of the rest");
    }
}
