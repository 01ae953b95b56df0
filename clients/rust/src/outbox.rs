//! Outcomes on their way to breakerd, in order, bounded in bytes.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use breaker::{Outcome, Time};
use bytes::Bytes;

use crate::lock;
use crate::pending::Durations;

/// The most outcomes of a batch; a run is one.
pub(crate) const BATCH_MAX: usize = 500;
/// The most calls that one outcome of the API stands for.
const RUN_MAX: u32 = 1_000_000;
/// What an outcome takes beside its texts, about.
const ITEM_BYTES: usize = size_of::<Item<()>>();

/// What became of a call.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// The permit of a call that breakerd itself allowed.
    pub(crate) permit: Bytes,
    /// It settles a probe: it is sent at once, and however old it is.
    pub(crate) probe: bool,
    /// The epoch of a call without a permit; None: the present one.
    pub(crate) epoch: Option<u64>,
    pub(crate) outcome: Outcome,
    pub(crate) count: u32,
    /// The durations took longer than the threshold for slow calls.
    pub(crate) slow: bool,
    pub(crate) durations: Durations,
    pub(crate) error_class: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
}

impl Outgoing {
    fn text_bytes(&self) -> usize {
        self.permit.len() + self.error_class.len()
    }

    /// Whether `other` after this can be one outcome with it. What was asked for a delay stays by itself.
    fn runs_on(&self, other: &Self) -> bool {
        let plain = |outgoing: &Self| outgoing.permit.is_empty() && outgoing.retry_after.is_none();
        plain(self)
            && plain(other)
            && (self.epoch, self.outcome, self.slow) == (other.epoch, other.outcome, other.slow)
            && self.error_class == other.error_class
            && self.count.saturating_add(other.count) <= RUN_MAX
    }
}

/// An outcome that waits to be sent, or for its answer.
#[derive(Debug)]
pub(crate) struct Item<B> {
    /// The breaker that it is of.
    pub(crate) cell: Arc<B>,
    pub(crate) outgoing: Outgoing,
    pub(crate) queued_at: Time,
}

/// The queue of a client.
#[derive(Debug)]
pub(crate) struct Outbox<B> {
    bytes_max: usize,
    queue: Mutex<Queue<B>>,
}

#[derive(Debug)]
struct Queue<B> {
    items: VecDeque<Item<B>>,
    bytes: usize,
}

impl<B> Outbox<B> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, queue: Mutex::new(Queue { items: VecDeque::new(), bytes: 0 }) }
    }

    /// Puts an outcome at the end. False: there is no room for it.
    pub(crate) fn push(&self, cell: &Arc<B>, outgoing: Outgoing, now: Time) -> bool {
        let mut queue = lock(&self.queue);
        if let Some(last) = queue.items.back_mut()
            && Arc::ptr_eq(&last.cell, cell)
            && last.outgoing.runs_on(&outgoing)
        {
            last.outgoing.count += outgoing.count;
            for (bucket, more) in last.outgoing.durations.buckets.iter_mut().zip(outgoing.durations.buckets) {
                *bucket += more;
            }
            last.outgoing.durations.sum += outgoing.durations.sum;
            return true;
        }
        let bytes = ITEM_BYTES + outgoing.text_bytes();
        if queue.bytes + bytes > self.bytes_max {
            return false;
        }
        queue.bytes += bytes;
        queue.items.push_back(Item { cell: Arc::clone(cell), outgoing, queued_at: now });
        true
    }

    /// Whether there is room for successes that can wait where they were counted: the other half is for what cannot.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.queue).bytes < self.bytes_max / 2
    }

    /// Takes the next outcomes, the oldest first, at most [`BATCH_MAX`].
    pub(crate) fn take(&self) -> Vec<Item<B>> {
        let mut queue = lock(&self.queue);
        let count = queue.items.len().min(BATCH_MAX);
        let items: Vec<_> = queue.items.drain(..count).collect();
        queue.bytes -= items.iter().map(|item| ITEM_BYTES + item.outgoing.text_bytes()).sum::<usize>();
        items
    }

    /// Since when the oldest failure waits. None: there is none.
    pub(crate) fn oldest_failure(&self) -> Option<Time> {
        let queue = lock(&self.queue);
        let mut failures = queue.items.iter().filter(|item| item.outgoing.outcome == Outcome::Failure);
        failures.next().map(|item| item.queued_at)
    }
}
