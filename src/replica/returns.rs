//! Probes that breakers give back, of which the store has not heard yet.

use std::collections::VecDeque;

use breaker::Key;

use super::batch_size::BatchSize;
use crate::store::ProbeRequest;

/// Nonces that are kept while the store does not answer, about: the oldest beyond it are let go. What slots they have are free
/// when their leases end.
const NONCES_MAX: usize = 65_536;

/// What one breaker gave back at one time.
pub(super) struct Returned {
    pub(super) key: Key,
    pub(super) epoch: u64,
    pub(super) slots: u32,
    pub(super) nonces: Vec<u64>,
}

/// All that is to be given back, in its order.
#[derive(Default)]
pub(super) struct Returns {
    waiting: VecDeque<Returned>,
    nonces: usize,
}

impl Returns {
    pub(super) fn push(&mut self, returned: Returned) {
        self.nonces += returned.nonces.len();
        self.waiting.push_back(returned);
        while self.nonces > NONCES_MAX && self.waiting.len() > 1 {
            self.told(1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The first of them, as many as fit into a batch, and so many at the most.
    pub(super) fn batch(&self, most: usize) -> Vec<ProbeRequest> {
        let mut size = BatchSize::default();
        let fitting = self
            .waiting
            .iter()
            .take(most)
            .take_while(|returned| size.admits(&returned.key, returned.epoch, returned.slots));
        fitting.map(Returned::request).collect()
    }

    /// The store was told of the first so many.
    pub(super) fn told(&mut self, count: usize) {
        self.nonces -= self.waiting.drain(..count).map(|returned| returned.nonces.len()).sum::<usize>();
    }
}

impl Returned {
    fn request(&self) -> ProbeRequest {
        ProbeRequest::Release { key: self.key.clone(), epoch: self.epoch, nonces: self.nonces.clone() }
    }
}
