//! What replicas tell each other of what they count, over a store in memory.

use async_trait::async_trait;

use super::MemoryStore;
use super::faults::Access;
use crate::store::{CountExchange, CountPage, CountStore, StoreError};

#[async_trait]
impl CountStore for MemoryStore {
    async fn exchange_counts(&self, exchange: &CountExchange) -> Result<CountPage, StoreError> {
        let act = "exchange counts";
        let mut inner = self.inner.lock();
        inner.faults.admit(act, Access::Write)?;
        let page = inner.counts.exchange(exchange, self.clock.wall());
        inner.faults.deliver(act, Ok(page))
    }
}
