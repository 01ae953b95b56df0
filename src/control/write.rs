//! How a change is made: one at a time, planned, written, put in force.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use breaker::Attribution;
use tokio::sync::OwnedMutexGuard;

use super::configuration::Configuration;
use super::plan::{self, Planned};
use super::{Control, ControlError, told};
use crate::catalog::{Catalog, ServiceWarning};
use crate::store::{ConfigEdit, ConfigWritten, RequestId};

/// Between two attempts to reach a store that is away.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// A change that other processes' changes come before so many times is given up.
const PLANS_MAX: usize = 8;

/// Warnings that are logged one by one at a time.
const WARNINGS_MAX: usize = 20;

/// The turn of one change: there is no other meanwhile.
pub(super) type Turn = OwnedMutexGuard<()>;

/// What becomes of the configuration; none: it is so already.
type EditOf<'a> = dyn Fn(&Configuration) -> Result<Option<ConfigEdit>, ControlError> + Send + Sync + 'a;

impl Control {
    /// Makes a change once it has its turn. Before, whoever asks may go away, and nothing has happened; from then on
    /// it is finished, whether or not anybody still waits for it.
    pub(super) async fn serialized<T, F>(&self, change: impl FnOnce(Turn) -> F) -> Result<T, ControlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ControlError>> + Send + 'static,
    {
        let turn = Arc::clone(&self.turns).lock_owned().await;
        match self.tasks.spawn(change(turn)).await {
            Ok(done) => done,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// Makes the change that `edit_of` sees fit to make of the present configuration. Answers what is then in force,
    /// and whether that was changed; under a request's id that is known it is not.
    pub(super) async fn write(
        &self,
        turn: &Turn,
        edit_of: &EditOf<'_>,
        attribution: &Attribution,
        request: Option<&RequestId>,
    ) -> Result<(Arc<Configuration>, bool), ControlError> {
        // What is in force here may be what a change that was not answered is already past: planned on that, another
        // would be "so already", and the first one sent again answered with what it has changed.
        if self.is_commit_unknown.load(Ordering::Relaxed) {
            self.reload(turn).await?;
        }
        // Before anything else: sent again, a change has the etag of before, and may contradict what came after it.
        if let Some(request) = request
            && let Some(known) = self.store.request(request).await?
        {
            return self.answered_before(known);
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
                    self.put_in_force(turn, &after).await;
                    return Ok((after, true));
                }
                Ok(ConfigWritten::Stale { .. }) => self.reload(turn).await?,
                Ok(known) => return self.answered_before(known),
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

    fn answered_before(&self, known: ConfigWritten) -> Result<(Arc<Configuration>, bool), ControlError> {
        match known {
            ConfigWritten::Reused => Err(ControlError::RequestReused),
            _ => Ok((self.configuration(), false)),
        }
    }

    /// Takes over what the store has, as soon as it answers.
    pub(super) async fn reload_until_ok(&self) {
        loop {
            self.pause().await;
            let turn = Arc::clone(&self.turns).lock_owned().await;
            match self.reload(&turn).await {
                Ok(()) => return,
                Err(ControlError::Store(error)) if error.is_transient() => {}
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

    /// Takes over what a store has that went back: a backup was restored. Until it has answered, no change is planned on
    /// what was in force before.
    pub async fn take_over(&self) {
        self.is_commit_unknown.store(true, Ordering::Relaxed);
        let turn = Arc::clone(&self.turns).lock_owned().await;
        let reloaded = self.reload(&turn).await;
        drop(turn);
        if reloaded.is_err() {
            self.reload_until_ok().await;
        }
    }

    /// Between two attempts to reach a store that is away.
    pub(super) async fn pause(&self) {
        self.clock.sleep_until(self.clock.now() + RETRY_EVERY).await;
    }

    async fn reload(&self, turn: &Turn) -> Result<(), ControlError> {
        let stored = self.store.configuration().await?;
        let present = self.configuration();
        // Not by the revision alone: in a store that went back it may be another change.
        if stored == *present.stored() {
            self.is_commit_unknown.store(false, Ordering::Relaxed);
            return Ok(());
        }
        let after = off_the_workers(|| Configuration::new(stored))
            .await
            .map_err(|problems| ControlError::Stored(told(&problems)))?;
        let after = Arc::new(after);
        self.put_in_force(turn, &after).await;
        self.is_commit_unknown.store(false, Ordering::Relaxed);
        if after.overrides() != present.overrides() {
            self.walk_due.notify_one();
        }
        Ok(())
    }

    async fn put_in_force(&self, _: &Turn, after: &Arc<Configuration>) {
        let (engine, configuration, now) = (Arc::clone(&self.engine), Arc::clone(after), self.clock.now());
        off_the_workers(move || {
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
    off_the_workers(move || plan::plan(&present, edit)).await.map_err(ControlError::Contradiction)
}

/// Off the threads that decide: with ten thousand services, or a hundred thousand breakers, it takes tens of
/// milliseconds.
async fn off_the_workers<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
