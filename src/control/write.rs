//! How a change is made: one at a time, planned, written, applied.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use breaker::Attribution;
use opentelemetry::trace::FutureExt as _;
use tokio::sync::{OwnedMutexGuard, watch};

use super::configuration::Configuration;
use super::plan::{self, Planned};
use super::{Control, ControlError, joined};
use crate::catalog::{Catalog, ServiceWarning};
use crate::store::{ConfigEdit, ConfigWritten, RequestId};

/// The pause between two attempts during a store outage.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Between two looks whether the breakers are in the timeline of the store.
const TIMELINE_LOOKS: Duration = Duration::from_millis(50);
/// A change that loses to other processes' changes so many times is given up.
const PLANS_MAX: usize = 8;

/// Warnings that are logged one by one at a time.
const WARNINGS_MAX: usize = 20;

/// Held while one change is made: there is no other meanwhile.
pub(super) type WriteGuard = OwnedMutexGuard<()>;

/// The edit for the present configuration; none: it is so already.
type EditOf<'a> = dyn Fn(&Configuration) -> Result<Option<ConfigEdit>, ControlError> + Send + Sync + 'a;

impl Control {
    /// Makes a change under the write lock. Before it has the lock, its caller may disconnect, and nothing has happened; from then on
    /// it is finished, whether or not its caller still waits for it.
    pub(super) async fn serialized<T, F>(
        &self,
        change: impl FnOnce(WriteGuard) -> F,
    ) -> Result<T, ControlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ControlError>> + Send + 'static,
    {
        let guard = Arc::clone(&self.write_lock).lock_owned().await;
        // Within the span of its caller, if that is sampled.
        match self.tasks.spawn(change(guard).with_current_context()).await {
            Ok(done) => done,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// Makes the change that `edit_of` returns for the present configuration. Returns what is effective then,
    /// and whether that was changed; under a request's id that is known it is not.
    pub(super) async fn write(
        &self,
        guard: &WriteGuard,
        edit_of: &EditOf<'_>,
        attribution: &Attribution,
        request: Option<&RequestId>,
    ) -> Result<(Arc<Configuration>, bool), ControlError> {
        // What is effective here may be older than a change whose write was not confirmed: planned on that, another
        // would be "so already", and the first one, sent again, would be answered with what it has changed.
        if self.is_commit_unknown.load(Ordering::Relaxed) {
            self.reload(guard).await?;
        }
        // Before anything else: sent again, a change has the etag of before, and may contradict what came after it.
        if let Some(request) = request
            && let Some(known) = self.store.request(request).await?
        {
            return self.replayed_result(known);
        }
        for _ in 0..PLANS_MAX {
            let present = self.configuration();
            let Some(edit) = edit_of(&present)? else {
                if let Some(request) = request {
                    self.store.keep_request(request).await?;
                }
                return Ok((present, false));
            };
            let planned = plan(&present, edit).await?;
            match planned.write(&*self.store, self.engine.seals(), attribution, request).await {
                Ok(ConfigWritten::Written(changed)) => {
                    let after = Arc::new(planned.written(changed));
                    self.apply(guard, &after).await;
                    return Ok((after, true));
                }
                Ok(ConfigWritten::Stale { .. }) => self.reload(guard).await?,
                Ok(known) => return self.replayed_result(known),
                Err(error) => {
                    if error.is_transient() {
                        self.is_commit_unknown.store(true, Ordering::Relaxed);
                        self.commit_unknown.notify_one();
                    }
                    return Err(error.into());
                }
            }
        }
        Err(ControlError::Busy)
    }

    fn replayed_result(&self, known: ConfigWritten) -> Result<(Arc<Configuration>, bool), ControlError> {
        match known {
            ConfigWritten::Reused => Err(ControlError::RequestReused),
            _ => Ok((self.configuration(), false)),
        }
    }

    /// Reloads the stored configuration, as soon as the store answers.
    pub(super) async fn reload_until_ok(&self) {
        loop {
            let guard = Arc::clone(&self.write_lock).lock_owned().await;
            let reloaded = self.reload(&guard).await;
            drop(guard);
            match reloaded {
                Ok(()) => return,
                Err(ControlError::Store(error)) if error.is_transient() => self.pause().await,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "stored configuration is invalid, keeping the previous one"
                    );
                    return;
                }
            }
        }
    }

    /// Reloads the configuration of a store that was restored from a backup. Until it has answered, no change is planned on
    /// what was effective before.
    pub async fn reload_restored(&self) {
        self.is_commit_unknown.store(true, Ordering::Relaxed);
        self.reload_until_ok().await;
    }

    /// Ends when the breakers are in `timeline`, or a later one. At once for a process that has the store for itself: it knows better
    /// than a store that went back.
    pub async fn timeline_taken(&self, timeline: u32) {
        while self.engine.is_replicated() && self.engine.timeline() < timeline {
            self.clock.sleep_until(self.clock.now() + TIMELINE_LOOKS).await;
        }
    }

    /// Other replicas change the configuration too: `newest` is the revision of the newest one that the store is known to
    /// have. For the start, once; [`Control::run_follow`] takes it over.
    pub fn follow(&self, newest: watch::Receiver<u64>) {
        // There is one store, and one who reads it.
        let _ = self.newest.set(newest);
    }

    /// Whether the store is known to have a newer configuration than is effective here.
    pub(super) fn is_behind(&self) -> bool {
        let newest = self.newest.get().map_or(0, |newest| *newest.borrow());
        newest > self.configuration().revision()
    }

    /// Takes over what other replicas change, as soon as it is known to be there. For a task that lives as long as the process.
    pub async fn run_follow(&self) {
        let Some(mut newest) = self.newest.get().cloned() else { return std::future::pending().await };
        // What came since the start read the configuration, too.
        newest.mark_changed();
        while newest.changed().await.is_ok() {
            let revision = *newest.borrow_and_update();
            // A change that is being made here has that revision in a moment.
            drop(self.write_lock.lock().await);
            if self.configuration().revision() != revision {
                self.reload_until_ok().await;
            }
        }
    }

    /// Waits between two attempts during a store outage.
    pub(super) async fn pause(&self) {
        self.clock.sleep_until(self.clock.now() + RETRY_EVERY).await;
    }

    async fn reload(&self, guard: &WriteGuard) -> Result<(), ControlError> {
        let stored = self.store.configuration().await?;
        let present = self.configuration();
        // Not by the revision alone: in a restored store it may be of another change.
        if stored == *present.stored() {
            self.is_commit_unknown.store(false, Ordering::Relaxed);
            return Ok(());
        }
        let after = off_thread(|| Configuration::new(stored))
            .await
            .map_err(|problems| ControlError::Stored(joined(&problems)))?;
        let after = Arc::new(after);
        self.apply(guard, &after).await;
        self.is_commit_unknown.store(false, Ordering::Relaxed);
        if after.overrides() != present.overrides() {
            self.reconcile_due.notify_one();
        }
        Ok(())
    }

    async fn apply(&self, _: &WriteGuard, after: &Arc<Configuration>) {
        let (engine, configuration, now) = (Arc::clone(&self.engine), Arc::clone(after), self.clock.now());
        off_thread(move || {
            log_warnings(configuration.catalog(), Some(&engine.catalog()));
            engine.note_service_overrides(configuration.engine_overrides(), now);
            engine.apply(configuration.catalog(), now);
        })
        .await;
        self.published.send_replace(Arc::clone(after));
    }
}

/// Logs what is odd about the thresholds of `catalog`, and was not under `before`.
pub fn log_warnings(catalog: &Catalog, before: Option<&Catalog>) {
    let known: HashSet<String> =
        before.into_iter().flat_map(Catalog::warnings).map(|warning| warning.to_string()).collect();
    let mut new = catalog.warnings().filter(|warning| !known.contains(&warning.to_string()));
    for ServiceWarning { service, warning } in new.by_ref().take(WARNINGS_MAX) {
        tracing::warn!(service = service.as_deref().unwrap_or("(defaults)"), %warning, "questionable thresholds");
    }
    let more = new.count();
    if more > 0 {
        tracing::warn!(more, "questionable thresholds of other services; check-config lists all");
    }
}

/// What `edit` makes of `present`.
///
/// # Errors
/// [`ControlError::Contradiction`].
pub(super) async fn plan(present: &Arc<Configuration>, edit: ConfigEdit) -> Result<Planned, ControlError> {
    let present = Arc::clone(present);
    off_thread(move || plan::plan(&present, edit)).await.map_err(ControlError::Contradiction)
}

/// Off the threads that decide: with ten thousand services, or a hundred thousand breakers, it takes tens of
/// milliseconds.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
