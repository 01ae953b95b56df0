//! The one place that asks what time it is.
//!
//! A monotonic clock, anchored to the wall clock once: the times it gives can be stored and shown, and
//! a wall clock that is set meanwhile changes nothing. Everything else is given a [`Clock`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use breaker::Time;
use tokio::sync::watch;

/// What time it is, and waking up at a time.
pub trait Clock: Send + Sync + 'static {
    /// What time it is.
    fn now(&self) -> Time;

    /// Ends when it is `deadline` or later.
    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    anchor: Instant,
    anchored_at: Time,
}

impl SystemClock {
    /// Anchors the monotonic clock to what the wall clock says now.
    #[expect(clippy::disallowed_methods, reason = "this is where clock calls live")]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { anchor: Instant::now(), anchored_at: Time::ZERO + since_epoch }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where clock calls live")]
    fn now(&self) -> Time {
        self.anchored_at + Instant::now().duration_since(self.anchor)
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let rest = deadline.since(self.now());
                if rest.is_zero() {
                    return;
                }
                // tokio's timers count milliseconds, and may fire within the one asked for.
                tokio::time::sleep(rest.max(Duration::from_millis(1))).await;
            }
        })
    }
}

/// A clock that stands still until it is told to go on, for tests.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<watch::Sender<Time>>,
}

impl ManualClock {
    /// Stands at `now`.
    pub fn new(now: Time) -> Self {
        Self { now: Arc::new(watch::Sender::new(now)) }
    }

    /// Goes on by `by`, and wakes whoever waited for a time up to then.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = *now + by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.now.borrow()
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut times = self.now.subscribe();
        Box::pin(async move {
            // Fails only when the clock is gone, and then nobody waits.
            let _ = times.wait_for(|now| *now >= deadline).await;
        })
    }
}
