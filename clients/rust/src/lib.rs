//! Circuit breakers that many processes share through [breakerd](https://github.com/breakerd/breakerd), decided in the memory of each.
//!
//! A call that can fail asks its breaker first. While the dependency works, that costs some nanoseconds: the client follows the states
//! that breakerd streams, and reports how calls went in batches. When the dependency fails, the breaker opens in all processes, and calls
//! are rejected at once. While breakerd cannot be reached, the client goes on by itself.
//!
//! ```no_run
//! use breakerd_client::{Client, Error};
//!
//! # async fn fetch() -> Result<String, std::io::Error> { Ok(String::new()) }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:50051").connect().await?;
//! let sentinel = client.breaker("sentinel")?;
//!
//! match sentinel.call(fetch()).await {
//!     Ok(text) => println!("{text}"),
//!     Err(Error::Open { retry_after, .. }) => println!("rejected; retry after {retry_after:?}"),
//!     Err(error) => println!("failed: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Breaker::guard`]: which results count, a timeout, fallbacks.
//! - [`Breaker::try_acquire`]: a permit, for code that is no future.
//! - [`WhenUnreachable`]: who decides while breakerd is away. By default the state machine of breakerd does, in this process.
//! - [`testing::Fake`]: breakers for your tests.
//!
//! After a `fork`, build a new client: threads do not survive it.

mod breaker_handle;
mod cell;
mod changes;
mod classify;
mod client;
mod clock;
mod connection;
mod connection_errors;
mod error;
mod guard;
mod health;
#[cfg(feature = "http")]
mod http_status;
mod known;
mod link;
mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod outbox;
mod pending;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod requests;
#[cfg(feature = "reqwest-middleware")]
pub mod reqwest;
mod sender;
mod session;
mod settings;
mod shared;
mod stats;
pub mod testing;
mod thresholds;
#[cfg(feature = "tower")]
pub mod tower;
mod wake;
mod worker;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use breaker::{Field, Key, KeyError, Kind, Layer, Problem, State, Value, thousandths};

pub use crate::breaker_handle::{Breaker, Permit};
pub use crate::changes::StateChange;
pub use crate::classify::{ByResult, Classified, Classify, Failure};
pub use crate::client::{BreakerKey, Client};
pub use crate::error::{BreakerError, BuildError, Error, Rejected};
pub use crate::guard::{Guard, OnCancel};
pub use crate::health::{Counts, Detail, Health, Status};
#[cfg(feature = "http")]
pub use crate::http_status::classify_status;
pub use crate::settings::{Builder, Mode, WhenUnreachable};
pub use crate::stats::{BreakerStats, Rejections, Reports};

/// Locks, even if somebody panicked meanwhile: what is held is consistent at each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
