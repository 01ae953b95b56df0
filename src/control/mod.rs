//! The write path of the configuration: the store first, then the engine, then the watches.
//!
//! What the store has is what every replica applies, under one revision; so no change is applied that
//! the store does not have. A change is planned on the effective configuration (`plan`), checked whole, and written
//! only if no other came between; else it is planned again on what there is now.
//!
//! One change is made at a time. A caller that disconnects before its turn has changed nothing; a change that has its
//! turn is finished in any case: else the store could have it and this process not. When the store does
//! not confirm a write, the stored configuration is read as soon as it answers, and no change is planned or answered
//! before.

mod configuration;
mod edits;
mod plan;
mod relaxed;
mod start;
mod write;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use breaker::{Attribution, Field, Layer, Override, Value};
use breakerd_common::clock::Clock;
use tokio::sync::{Mutex, Notify, Semaphore, watch};
use tokio_util::task::TaskTracker;

pub use self::configuration::{Configuration, ServiceConfig};
pub use self::start::first_configuration;
pub use self::write::log_warnings;
use crate::catalog::ServiceProblem;
use crate::catalog::{Declaration, DeclarationDiff};
use crate::engine::{Engine, Reached};
use crate::journal::Journal;
use crate::override_reconciler;
use crate::store::{ConfigEdit, ConfigStore, RequestId, ServiceOverride, StoreError};

/// Services that may have thresholds set over the API: as many as the file may have tables.
pub const SERVICES_MAX: usize = 10_000;
/// Overrides of services that may be on their way to the breakers at one time. The store has them already, and the
/// breakers are changed no faster than the journal empties. One more is rejected.
const OVERRIDES_IN_PROGRESS_MAX: usize = 16;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store did not take it.
    #[error("write the configuration")]
    Store(#[from] StoreError),
    /// The merged layers contradict each other.
    #[error("{}", joined(.0))]
    Contradiction(Vec<ServiceProblem>),
    /// What the store holds contradicts itself; a later version may have written it.
    #[error("invalid thresholds in the store: {0}")]
    Stored(String),
    /// The file is of an older release than the one that was declared last.
    #[error("generation: invalid value {}: must be at least {stored}, the generation of the last applied file",
        .file.unwrap_or_default())]
    OlderGeneration {
        /// That of the file.
        file: Option<u64>,
        /// That of the file that stays in effect.
        stored: u64,
    },
    /// Nothing is known of the service.
    #[error("service {service} not found: services are created on first use")]
    NoService {
        /// The service.
        service: String,
        /// Whether the change would set something, so that it makes sense to create the service with it.
        sets: bool,
    },
    /// The configuration is not the one that the caller has read.
    #[error("etag mismatch: current etag is {present}; read the configuration again")]
    EtagMismatch {
        /// The present etag.
        present: String,
    },
    /// The request id was used for another change.
    #[error("request_id was already used for another change: use a new one for each change")]
    RequestReused,
    /// As many services as there may be have this set over the API.
    #[error("limit reached: {max} services have {what} set through the API")]
    TooManyServices {
        /// What they have: "thresholds", or "an override".
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// As many overrides of services as there may be are on their way to the breakers.
    #[error("too many service-wide overrides in progress (limit {max})")]
    OverridesInProgress {
        /// The limit.
        max: usize,
    },
    /// The service has no override.
    #[error("service {service} has no service-wide override")]
    NoOverride {
        /// The service.
        service: String,
    },
    /// Other changes came between, again and again.
    #[error("too many concurrent configuration changes: retry")]
    Busy,
}

fn joined(problems: &[ServiceProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A change of what is set over the API for one service.
#[derive(Debug, Clone)]
pub struct Update {
    /// The service, well formed.
    pub service: String,
    /// What to do with its layer.
    pub change: LayerChange,
    /// Only if this is the present etag.
    pub etag: Option<String>,
    /// Only if the service is known: configured, or with a breaker in use or retired.
    pub must_exist: bool,
    /// Only return the result, and change nothing.
    pub validate_only: bool,
    /// Makes sending it again safe.
    pub request: Option<RequestId>,
    /// Who requested it, and why.
    pub attribution: Attribution,
}

/// What to do with a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerChange {
    /// Set these fields, or take them back; leave the others.
    Fields(Vec<(Field, Option<Value>)>),
    /// This is all that shall be set.
    Whole(Layer),
}

impl LayerChange {
    /// Whether it sets any field, rather than only taking some back.
    fn sets_any(&self) -> bool {
        match self {
            Self::Fields(fields) => fields.iter().any(|(_, value)| value.is_some()),
            Self::Whole(layer) => *layer != Layer::default(),
        }
    }
}

/// What a change came to.
#[derive(Debug, Clone)]
pub struct Updated {
    /// The service's configuration after it; of one that was only tried, as it would be.
    pub config: ServiceConfig,
    /// Whether anything was changed, or would be.
    pub changed: bool,
}

/// Every change of the configuration goes through this.
pub struct Control {
    store: Arc<dyn ConfigStore>,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    journal: Arc<Journal>,
    published: watch::Sender<Arc<Configuration>>,
    /// One change at a time, so that the engine receives them in their order.
    write_lock: Arc<Mutex<()>>,
    overrides_in_progress: Arc<Semaphore>,
    /// Changes that hold, or held, the lock: one, and the overrides in progress.
    tasks: TaskTracker,
    /// The store may have a change that is not effective here. Set and unset under the write lock.
    is_commit_unknown: AtomicBool,
    /// Notified when that is so.
    commit_unknown: Notify,
    /// Notified when overrides from elsewhere are to be applied to breakers.
    reconcile_due: Notify,
    /// The revision of the newest configuration that the store is known to have, where other replicas change it.
    newest: OnceLock<watch::Receiver<u64>>,
}

impl Control {
    /// On an engine with `configuration` applied.
    pub fn new(
        store: Arc<dyn ConfigStore>,
        engine: Arc<Engine>,
        clock: Arc<dyn Clock>,
        journal: Arc<Journal>,
        configuration: Arc<Configuration>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            engine,
            clock,
            journal,
            published: watch::Sender::new(configuration),
            write_lock: Arc::default(),
            overrides_in_progress: Arc::new(Semaphore::new(OVERRIDES_IN_PROGRESS_MAX)),
            tasks: TaskTracker::new(),
            is_commit_unknown: AtomicBool::new(false),
            commit_unknown: Notify::new(),
            reconcile_due: Notify::new(),
            newest: OnceLock::new(),
        })
    }

    /// The effective configuration.
    pub fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.published.borrow())
    }

    /// The effective configuration, and every change of it; a slow receiver sees the newest.
    pub fn watch(&self) -> watch::Receiver<Arc<Configuration>> {
        self.published.subscribe()
    }

    /// Ends when every change that was begun is finished. None is begun any more by then: the transports have ended.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Changes what is set over the API for a service.
    ///
    /// # Errors
    /// [`ControlError`]; nothing has changed then, except where the store did not confirm the write.
    pub async fn update(self: &Arc<Self>, update: Update) -> Result<Updated, ControlError> {
        if update.validate_only {
            return self.dry_run(update).await;
        }
        let control = Arc::clone(self);
        self.serialized(async move |guard| {
            let edit = |present: &Configuration| {
                control.check_exists(present, &update)?;
                edits::updated(present, &update)
            };
            let (after, changed) =
                control.write(&guard, &edit, &update.attribution, update.request.as_ref()).await?;
            Ok(Updated { config: after.service(&update.service), changed })
        })
        .await
    }

    /// Fails with [`ControlError::NoService`] when the service of an update must be known, and is not.
    fn check_exists(&self, present: &Configuration, update: &Update) -> Result<(), ControlError> {
        let Update { service, must_exist, .. } = update;
        if !must_exist || self.knows(present, service) {
            return Ok(());
        }
        Err(ControlError::NoService { service: service.clone(), sets: update.change.sets_any() })
    }

    /// Whether anything is known of a service: it is configured, or has a breaker in use or retired.
    pub fn knows_service(&self, service: &str) -> bool {
        self.knows(&self.configuration(), service)
    }

    fn knows(&self, present: &Configuration, service: &str) -> bool {
        present.service(service).is_own || self.engine.knows_service(service)
    }

    /// The result of a change, without making it.
    async fn dry_run(&self, update: Update) -> Result<Updated, ControlError> {
        let present = self.configuration();
        self.check_exists(&present, &update)?;
        let Some(edit) = edits::updated(&present, &update)? else {
            return Ok(Updated { config: present.service(&update.service), changed: false });
        };
        let planned = write::plan(&present, edit).await?;
        Ok(Updated { config: planned.after.service(&update.service), changed: true })
    }

    /// Sets the override of a service, or clears it: in the store, for breakers created from now on, and on those that
    /// there are. Returns the result for these. The same override again only finishes what an earlier call left undone.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::NoOverride`] when there is none to clear.
    pub async fn set_override(
        self: &Arc<Self>,
        service: &str,
        set: Option<ServiceOverride>,
        attribution: Attribution,
    ) -> Result<Reached, ControlError> {
        let (name, engine, clock) = (service.to_owned(), Arc::clone(&self.engine), Arc::clone(&self.clock));
        // Where replicas share the store, its clock says when a duration is over.
        let is_duration = |set: &ServiceOverride| engine.is_replicated() && set.ttl.is_some();
        let set = set
            .map(|set| ServiceOverride { expires_at: set.expires_at.filter(|_| !is_duration(&set)), ..set });
        // Setting one clears none: if the reconciler has to, another request has cleared it in the meantime.
        let clear_attribution =
            if set.is_some() { override_reconciler::reconciler_attribution() } else { attribution.clone() };
        let edit = move |present: &Configuration| {
            // The engine knows the effective override, and by which clock it ends.
            let is_active = engine.service_override(&name, clock.now()).is_some();
            edits::overridden(present, &name, set.as_ref(), is_active)
        };
        self.write_override(service.to_owned(), edit, attribution, clear_attribution).await
    }

    /// Takes `ended`, the override of a service that has ended by the clock here, out of the store. Where replicas share the
    /// store, it stays as long as it has not ended by the store's clock.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn forget_override(
        self: &Arc<Self>,
        service: &str,
        ended: Override,
    ) -> Result<(), ControlError> {
        let name = service.to_owned();
        let by_store = self.engine.is_replicated();
        let edit = move |present: &Configuration| Ok(edits::ended(present, &name, &ended, by_store));
        let attribution = Attribution {
            actor: override_reconciler::RECONCILER_ACTOR.to_owned(),
            reason: "expired".to_owned(),
        };
        self.write_override(service.to_owned(), edit, attribution.clone(), attribution).await.map(|_| ())
    }

    async fn write_override(
        self: &Arc<Self>,
        service: String,
        edit: impl Fn(&Configuration) -> Result<Option<ConfigEdit>, ControlError> + Send + Sync + 'static,
        attribution: Attribution,
        clear_attribution: Attribution,
    ) -> Result<Reached, ControlError> {
        let in_progress = Arc::clone(&self.overrides_in_progress)
            .try_acquire_owned()
            .map_err(|_| ControlError::OverridesInProgress { max: OVERRIDES_IN_PROGRESS_MAX })?;
        let control = Arc::clone(self);
        self.serialized(async move |guard| {
            control.write(&guard, &edit, &attribution, None).await?;
            // The breakers are changed at the pace of the journal: others need not wait for that.
            drop(guard);
            let Self { engine, journal, clock, .. } = &*control;
            let reached = override_reconciler::apply_service_override(
                engine,
                journal,
                clock,
                &service,
                clear_attribution,
            )
            .await;
            drop(in_progress);
            Ok(reached)
        })
        .await
    }

    /// Applies what a changed file declares. During a store outage it retries, until this is dropped.
    ///
    /// # Errors
    /// [`ControlError`], when trying again cannot help.
    pub async fn declare(self: &Arc<Self>, declaration: &Declaration) -> Result<u64, ControlError> {
        let mut waiting = false;
        loop {
            let (control, declaration) = (Arc::clone(self), declaration.clone());
            let edit = move |present: &Configuration| match edits::takes(present, &declaration) {
                DeclarationDiff::Older { generation } => {
                    Err(ControlError::OlderGeneration { file: declaration.generation, stored: generation })
                }
                _ => Ok(edits::declared(present, &declaration)),
            };
            let done = self
                .serialized(async move |guard| control.write(&guard, &edit, &file_attribution(), None).await)
                .await;
            match done {
                Ok((after, _)) => return Ok(after.revision()),
                Err(ControlError::Store(error)) if error.is_transient() => {
                    if !std::mem::replace(&mut waiting, true) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "config file change waits for the store: keeping the previous thresholds"
                        );
                    }
                    self.pause().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether what a file declares differs from what is effective, and is not of an older generation.
    pub fn differs_from(&self, declaration: &Declaration) -> bool {
        edits::takes(&self.configuration(), declaration) == DeclarationDiff::Differs
    }

    /// Reloads the stored configuration, each time that the store did not confirm a write. For a task that lives
    /// as long as the process.
    pub async fn run_reload(self: &Arc<Self>) {
        loop {
            self.commit_unknown.notified().await;
            self.pause().await;
            self.reload_until_ok().await;
        }
    }

    /// Ends when overrides from elsewhere are to be applied to breakers: [`Control::reconcile_overrides`].
    pub async fn reconcile_due(&self) {
        self.reconcile_due.notified().await;
    }

    /// Tells every breaker what override its service has: what a crash left between the store and the breakers, or
    /// another change brought, is made good. Not while another replica's change is on its way here, which it would undo.
    pub async fn reconcile_overrides(&self) {
        if self.is_behind() {
            return;
        }
        let changed =
            override_reconciler::reconcile_overrides(&self.engine, &self.journal, &self.clock).await;
        if changed > 0 {
            tracing::info!(changed, "reconciled service-wide overrides");
        }
    }
}

/// The file, as the audit names it.
fn file_attribution() -> Attribution {
    Attribution { actor: "file".to_owned(), reason: String::new() }
}
