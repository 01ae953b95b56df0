//! When time alone will change a breaker: one heap for all of them.
//!
//! A breaker puts its deadline in when it enters a state that has one. A deadline that no longer is the
//! breaker's is skipped when it comes up. The heap is rebuilt when most of it is stale, so that a breaker that
//! is opened and reset over and over cannot make it grow.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use breaker::Time;
use tokio::sync::Notify;

use super::permit::KeyId;
use super::sync::Mutex;

/// Stale entries that are not worth a rebuild, however few breakers there are.
const STALE_ALLOWED: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<(Time, KeyId)>>>,
    /// Told when the earliest deadline became an earlier one.
    earlier: Notify,
}

impl Timers {
    pub(crate) fn arm(&self, deadline: Time, key: KeyId) {
        let mut heap = self.heap.lock();
        let earliest = heap.peek().is_none_or(|Reverse((first, _))| deadline < *first);
        heap.push(Reverse((deadline, key)));
        drop(heap);
        if earliest {
            self.earlier.notify_one();
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.lock().peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes out at most `most` deadlines that `now` has reached, with their breakers. One that is not the breaker's
    /// present deadline is stale, and for the caller to skip.
    pub(crate) fn due(&self, now: Time, most: usize) -> Vec<(Time, KeyId)> {
        let mut heap = self.heap.lock();
        let mut due = Vec::new();
        while due.len() < most {
            match heap.peek() {
                Some(Reverse(entry)) if entry.0 <= now => due.push(*entry),
                _ => break,
            }
            heap.pop();
        }
        due
    }

    /// Whether most of the heap must be stale, given the number of breakers.
    pub(crate) fn is_bloated(&self, breakers: usize) -> bool {
        self.heap.lock().len() > 2 * breakers + STALE_ALLOWED
    }

    /// How many there are, stale ones included.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn len(&self) -> usize {
        self.heap.lock().len()
    }

    /// Starts over with nothing.
    pub(crate) fn clear(&self) {
        self.heap.lock().clear();
    }

    /// Ends when the earliest deadline has become an earlier one since the last call.
    pub(crate) fn earlier(&self) -> impl Future<Output = ()> + '_ {
        self.earlier.notified()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::poll;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_an_earlier_deadline_only() {
        let timers = Timers::default();
        for (seconds, wakes) in [(10, true), (20, false), (10, false), (9, true)] {
            timers.arm(at(seconds), KeyId(1));
            assert_eq!(poll!(pin!(timers.earlier())).is_ready(), wakes, "{seconds}");
        }
    }

    #[test]
    fn what_is_due_comes_in_order_and_no_more_than_is_wanted() {
        let timers = Timers::default();
        for seconds in [3, 1, 2, 4] {
            timers.arm(at(seconds), KeyId(seconds.into()));
        }
        let due = |seconds, most| -> Vec<_> {
            timers.due(at(seconds), most).into_iter().map(|(_, KeyId(number))| number).collect()
        };
        assert_eq!(due(3, 2), [1, 2]);
        assert_eq!(due(3, 9), [3], "the last is not due");
        assert_eq!((due(3, 9), timers.next()), (vec![], Some(at(4))));
    }

    #[test]
    fn the_heap_may_have_two_deadlines_for_each_breaker_and_a_thousand_beside() {
        let timers = Timers::default();
        for _ in 0..1_044 {
            timers.arm(at(1), KeyId(1));
        }
        assert!(!timers.is_bloated(10) && timers.is_bloated(9));
        timers.arm(at(1), KeyId(1));
        assert!(timers.is_bloated(10));
        timers.clear();
        assert_eq!((timers.len(), timers.next()), (0, None));
    }
}
