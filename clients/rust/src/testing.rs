//! Breakers for tests: the state machine of breakerd in memory, with a clock that the test sets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use breaker::{Key, Layer, State};

use crate::cell::{Heard, Source};
use crate::changes::StateChange;
use crate::client::{BreakerKey, Client};
use crate::clock::Clock;
pub use crate::clock::ManualClock;
use crate::error::{BreakerError, BuildError};
use crate::settings::Builder;
use crate::shared::Shared;

/// A client without a breakerd: its breakers trip and recover by the thresholds that it is given, as those of breakerd do.
///
/// ```
/// use std::time::Duration;
/// use breakerd_client::{Field, Layer, State, Value, testing::Fake};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let thresholds = Layer::default().with(Field::FailureThreshold, Value::Count(3))?;
/// let fake = Fake::new([("sentinel", thresholds)])?;
/// let breaker = fake.client().breaker("sentinel")?;
/// for _ in 0..3 {
///     breaker.try_acquire()?.failure();
/// }
/// assert_eq!(breaker.state(), State::Open);
/// assert!(breaker.try_acquire().is_err());
///
/// fake.clock().advance(Duration::from_secs(60));
/// breaker.try_acquire()?.success();
/// breaker.try_acquire()?.success();
/// assert_eq!(breaker.state(), State::Closed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Fake {
    client: Client,
    clock: ManualClock,
}

impl Fake {
    /// A fake whose services have these thresholds. Empty service: for all others.
    ///
    /// # Errors
    /// [`BuildError`]: thresholds contradict each other.
    pub fn new<S: Into<String>>(
        thresholds: impl IntoIterator<Item = (S, Layer)>,
    ) -> Result<Self, BuildError> {
        let add = |builder: Builder, (service, layer)| builder.fallback_thresholds(service, layer);
        let builder = thresholds.into_iter().fold(Builder::new(String::new()), add);
        let clock = ManualClock::default();
        let shared = Shared::new(&builder, Clock::Manual(clock.clone()), None)?;
        let shared = Arc::new(shared);
        #[cfg(feature = "prometheus")]
        crate::prometheus::show(&shared);
        Ok(Self { client: Client::of(shared), clock })
    }

    /// The client, for the code that is tested.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The clock of all breakers, and of the durations of calls.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Forces a breaker open, disables it, or closes it again, as an operator does; `until` some time has passed. None: for good.
    ///
    /// # Errors
    /// [`BreakerError`].
    pub fn set_state<'a>(
        &self,
        key: impl Into<BreakerKey<'a>>,
        state: State,
        lasts: Option<Duration>,
    ) -> Result<(), BreakerError> {
        let breaker = self.client.breaker(key)?;
        let shared = self.client.shared();
        if let Some(cell) = shared.cell(breaker.key()) {
            let heard = Heard { state, epoch: None, remaining: lasts, open_count: 0 };
            cell.hear(heard, Source::Snapshot { same_timeline: false }, &shared.context());
        }
        Ok(())
    }

    /// Disables all breakers, or enables them again.
    pub fn set_enabled(&self, enabled: bool) {
        let shared = self.client.shared();
        shared.around.enabled.store(enabled, Ordering::Release);
        for cell in shared.all_cells() {
            cell.refresh(&shared.context());
        }
    }

    /// The changes of state since the last look, the oldest first.
    pub fn state_changes(&self) -> Vec<StateChange> {
        std::iter::from_fn(|| self.client.shared().around.changes.take()).collect()
    }

    /// The keys of all breakers that were used.
    pub fn used(&self) -> Vec<Key> {
        self.client.shared().all_cells().iter().map(|cell| cell.key.clone()).collect()
    }
}
