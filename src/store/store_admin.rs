//! Whether a store answers and takes writes, and its end: for health checks and shutdown.

use async_trait::async_trait;

use super::StoreError;

/// Checks of a store as a whole.
#[async_trait]
pub trait StoreAdmin: Send + Sync + 'static {
    /// Whether the store answers, and still belongs to this process.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Whether the store takes writes: a transaction that touches every table that others write to, and changes nothing.
    /// For when nothing else has been written for a while.
    async fn check_writable(&self) -> Result<(), StoreError>;

    /// Closes every connection; the lock on the store goes with it.
    async fn close(&self);
}
