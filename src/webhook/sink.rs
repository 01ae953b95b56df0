//! From the engine to the queues.

use std::sync::Arc;

use breaker::{Key, Numbering, State};
use breakerd_common::clock::Clock;

use super::notice::Notice;
use super::target::Target;
use crate::engine::{Appended, Event, Origin, Standing, TransitionSink};

/// All targets.
pub struct Webhooks {
    targets: Vec<Arc<Target>>,
    replica: Arc<str>,
    clock: Arc<dyn Clock>,
}

impl Webhooks {
    /// Of the replica of this name.
    pub fn new(targets: Vec<Target>, replica: &str, clock: Arc<dyn Clock>) -> Self {
        Self { targets: targets.into_iter().map(Arc::new).collect(), replica: replica.into(), clock }
    }

    /// Without a target.
    pub fn none(clock: Arc<dyn Clock>) -> Self {
        Self::new(Vec::new(), "", clock)
    }

    /// The targets, in the order of the configuration.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// Ends when all that was queued is posted, or given up.
    pub async fn emptied(&self) {
        for target in &self.targets {
            target.queue.emptied().await;
        }
    }

    /// Logs what will not be posted any more, at the end of the process.
    pub fn log_unsent(&self) {
        for target in &self.targets {
            let lost = target.queue.depth();
            if lost > 0 {
                let notify_target = &*target.settings().name;
                tracing::warn!(
                    notify_target,
                    lost,
                    "stopped with notifications that were not posted: they are lost"
                );
            }
        }
    }

    /// Called with the breaker locked: nothing here waits.
    fn notify(&self, key: &Key, from: State, to: State, notice: impl FnOnce() -> Notice) {
        let takes = |target: &&Arc<Target>| target.settings().filter.takes(key, from, to);
        let mut told = self.targets.iter().filter(takes).peekable();
        if told.peek().is_none() {
            return;
        }
        let (notice, now) = (Arc::new(notice()), self.clock.now());
        for target in told {
            target.push(Arc::clone(&notice), now);
        }
    }
}

/// Passes every change on, and has those that stand posted.
pub struct NotifyingSink<O> {
    inner: O,
    webhooks: Arc<Webhooks>,
}

impl<O> NotifyingSink<O> {
    /// Before `inner`.
    pub fn new(inner: O, webhooks: Arc<Webhooks>) -> Self {
        Self { inner, webhooks }
    }
}

impl<O: TransitionSink> TransitionSink for NotifyingSink<O> {
    fn append(&self, event: Event<'_>) -> Appended {
        let appended = self.inner.append(event);
        let Event { key, transition, origin, numbering, .. } = event;
        // What the store numbers is posted once it stands. What METRICS_ONLY prevented is no transition.
        let stands = numbering == Numbering::Own && origin == Origin::Own && !transition.shadow;
        if let Some(id) = appended.id.filter(|_| stands) {
            let standing = Standing {
                key,
                transition,
                epoch: transition.after.epoch,
                at: transition.at,
                replica: &self.webhooks.replica,
                id,
                store_unavailable: false,
            };
            self.webhooks.notify(key, transition.from, transition.to(), || Notice::from(&standing));
        }
        appended
    }

    fn stands(&self, standing: &Standing<'_>) {
        self.inner.stands(standing);
        let Standing { key, transition, .. } = standing;
        self.webhooks.notify(key, transition.from, transition.to(), || Notice::from(standing));
    }

    fn moved(&self, key: &Key) {
        self.inner.moved(key);
    }

    fn all_changed(&self) {
        self.inner.all_changed();
    }
}
