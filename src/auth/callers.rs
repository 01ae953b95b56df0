//! What each caller has at work at one time.
//!
//! A caller is an identity, or, without authentication, the address of the peer. Its counts are kept as long
//! as one of its connections or calls is there, so that there are never more of them than of those.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::rate_limiter::RateLimiter;

/// What one caller has at work.
#[derive(Debug, Default)]
pub struct Counts {
    /// Calls that are not answered yet, watches aside.
    pub in_flight: ConcurrencyCounter,
    /// Bytes that are kept for its calls and streams.
    pub bytes: ConcurrencyCounter,
    /// Checks of health that are not answered yet.
    pub probes: ConcurrencyCounter,
    /// Streams that are open.
    pub watches: ConcurrencyCounter,
    /// Reads of the history and the audit that are not answered yet.
    pub history_reads: ConcurrencyCounter,
    /// gRPC connections; counted by address.
    pub grpc: ConnectionCounts,
    /// Calls for gRPC that were refused; counted by address.
    pub refusals: RateLimiter,
    /// HTTP connections; counted by address.
    pub http: ConnectionCounts,
    /// Scrapes that are not read to their end; counted by address.
    pub scrapes: ConcurrencyCounter,
}

/// The connections of one address to one transport.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    /// Connections.
    pub open: ConcurrencyCounter,
    /// Those of them whose TLS handshake is in progress.
    pub handshakes: ConcurrencyCounter,
}

impl Counts {
    /// One more of what `counter` names, unless there are `max` already; one less again when the guard is dropped.
    pub fn enter(
        self: &Arc<Self>,
        counter: fn(&Self) -> &ConcurrencyCounter,
        max: usize,
    ) -> Option<CountGuard> {
        // Built only once it is counted: a guard that counts down what was never counted up would lock its caller out.
        counter(self).enter(max).then(|| CountGuard { counts: Arc::clone(self), counter })
    }
}

/// One of those that a caller's [`ConcurrencyCounter`] counts, until this is dropped.
#[derive(Debug)]
pub struct CountGuard {
    counts: Arc<Counts>,
    counter: fn(&Counts) -> &ConcurrencyCounter,
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        (self.counter)(&self.counts).leave();
    }
}

/// How many of something there are.
#[derive(Debug, Default)]
pub struct ConcurrencyCounter(AtomicUsize);

impl ConcurrencyCounter {
    /// One more, unless there are `max`. Whoever entered leaves.
    pub fn enter(&self, max: usize) -> bool {
        if self.0.fetch_add(1, Relaxed) < max {
            return true;
        }
        self.leave();
        false
    }

    /// One less.
    pub fn leave(&self) {
        self.remove(1);
    }

    /// So many more, unless that would be more than `max` in all. Whoever added removes.
    pub fn add(&self, amount: usize, max: usize) -> bool {
        if self.0.fetch_add(amount, Relaxed).saturating_add(amount) <= max {
            return true;
        }
        self.remove(amount);
        false
    }

    /// So many more, whatever there are already.
    pub fn add_always(&self, amount: usize) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// So many less.
    pub fn remove(&self, amount: usize) {
        self.0.fetch_sub(amount, Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Who {
    Named(Arc<str>),
    At(IpAddr),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Callers {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    counts: HashMap<Who, Weak<Counts>>,
    /// At this size those that are gone are cleared away.
    clear_at: usize,
}

/// Fewer are not worth clearing away.
const CLEAR_AT_MIN: usize = 1_024;

impl Callers {
    /// The counts of the identity of this name.
    pub(super) fn named(&self, name: &Arc<str>) -> Arc<Counts> {
        self.table.lock().of(Who::Named(Arc::clone(name)))
    }

    /// The counts of this address.
    pub(super) fn at(&self, peer: IpAddr) -> Arc<Counts> {
        self.table.lock().of(Who::At(peer))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.lock().counts.len()
    }
}

impl Table {
    fn of(&mut self, who: Who) -> Arc<Counts> {
        if let Some(counts) = self.counts.get(&who).and_then(Weak::upgrade) {
            return counts;
        }
        if self.counts.len() >= self.clear_at.max(CLEAR_AT_MIN) {
            self.counts.retain(|_, counts| counts.strong_count() > 0);
            self.clear_at = 2 * self.counts.len();
        }
        let counts = Arc::new(Counts::default());
        self.counts.insert(who, Arc::downgrade(&counts));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_one_count_wherever_it_comes_in() {
        let callers = Callers::default();
        let (one, other) = (callers.named(&"a".into()), callers.named(&"a".into()));
        assert!(one.in_flight.enter(2) && other.in_flight.enter(2) && !one.in_flight.enter(2));
        other.in_flight.leave();
        assert!(one.in_flight.enter(2));
        assert!(callers.named(&"b".into()).in_flight.enter(2), "another caller has its own");
        assert!(callers.at([127, 0, 0, 1].into()).in_flight.enter(2));
    }

    #[test]
    fn what_was_refused_is_not_given_back() {
        let counts = Arc::new(Counts::default());
        let enter = || counts.enter(|counts| &counts.grpc.handshakes, 2);
        let held = (enter(), enter());
        assert!(held.0.is_some() && held.1.is_some());
        for _ in 0..3 {
            assert!(enter().is_none());
            assert_eq!(counts.grpc.handshakes.get(), 2);
        }
        drop(held);
        assert_eq!(counts.grpc.handshakes.get(), 0);
        assert!(enter().is_some());
    }

    #[test]
    fn callers_that_are_gone_leave_the_table() {
        let callers = Callers::default();
        let kept = callers.at([10, 0, 0, 0].into());
        kept.watches.enter(1);
        for number in 0..100_000_u32 {
            callers.at(IpAddr::from(number.to_be_bytes()));
        }
        assert!(callers.len() <= CLEAR_AT_MIN + 1, "{}", callers.len());
        assert_eq!(callers.at([10, 0, 0, 0].into()).watches.get(), 1);
    }
}
