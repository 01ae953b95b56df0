//! The write path of the configuration: the store first, then the engine, then whoever watches.
//!
//! What the store took is what every replica will judge by, under one revision; so nothing is judged by a change that
//! the store does not have. A change is planned on the configuration in force (`plan`), checked whole, and written
//! only if no other came between; else it is planned again on what there is now.
//!
//! A change that was begun is finished even if its caller goes away: else the store could have it and this process
//! not. When the store does not say whether it took a change, what it has is read as soon as it answers.

mod configuration;
mod plan;
mod start;

use std::sync::Arc;
use std::time::Duration;

use breaker::{Asked, Field, Layer, Time, Value};
use tokio::sync::{Mutex, watch};
use tokio_util::task::TaskTracker;

pub use self::configuration::{Configuration, ServiceConfig};
pub use self::start::first_configuration;
use crate::catalog::ServiceProblem;
use crate::engine::{Clock, Engine};
use crate::journal::Journal;
use crate::overrides;
use crate::store::{
    ConfigEdit, ConfigWrite, ConfigWritten, Declaration, RequestId, ServiceOverride, Store, StoreError, Takes,
};

/// Services that may have thresholds set over the API: as many as the file may have tables.
pub const SERVICES_MAX: usize = 10_000;
/// Between two attempts to reach a store that is away.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// A change that other processes' changes come before so many times is given up.
const PLANS_MAX: usize = 8;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store did not take it.
    #[error("write the configuration")]
    Store(#[from] StoreError),
    /// What the layers come to contradicts itself.
    #[error("{}", told(.0))]
    Contradiction(Vec<ServiceProblem>),
    /// What the store holds contradicts itself; a later version may have written it.
    #[error("the thresholds that the store holds cannot be: {0}")]
    Stored(String),
    /// The configuration is not the one that the caller has read.
    #[error("the configuration was changed meanwhile: its etag is {present}")]
    EtagMismatch {
        /// The present etag.
        present: String,
    },
    /// The request id was used for another change.
    #[error("the request id was used for another change")]
    RequestReused,
    /// As many services as there may be have thresholds set over the API.
    #[error("{max} services have thresholds set over the API, which is the limit")]
    TooManyServices {
        /// The limit.
        max: usize,
    },
    /// The service has no override.
    #[error("the service has no override")]
    NoOverride,
    /// Other changes came between, again and again.
    #[error("other changes came between")]
    Busy,
}

fn told(problems: &[ServiceProblem]) -> String {
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
    /// Only say what it would come to.
    pub validate_only: bool,
    /// Makes sending it again safe.
    pub request: Option<RequestId>,
    /// Who asked for it, and why.
    pub asked: Asked,
}

/// What to do with a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerChange {
    /// Set these fields, or take them back; leave the others.
    Fields(Vec<(Field, Option<Value>)>),
    /// This is all that shall be set.
    Whole(Layer),
}

/// What a change came to.
#[derive(Debug, Clone)]
pub struct Updated {
    /// The service's configuration after it; of one that was only tried, as it would be.
    pub config: ServiceConfig,
    /// Whether anything was changed, or would be.
    pub changed: bool,
}

/// Whoever may change the configuration goes through this.
pub struct Control {
    store: Arc<dyn Store>,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    journal: Arc<Journal>,
    /// One change at a time, so that the engine is told of them in their order.
    writing: Mutex<()>,
    published: watch::Sender<Arc<Configuration>>,
    /// Changes that were begun.
    tasks: TaskTracker,
}

impl Control {
    /// On an engine that judges by `configuration`.
    pub fn new(
        store: Arc<dyn Store>,
        engine: Arc<Engine>,
        clock: Arc<dyn Clock>,
        journal: Arc<Journal>,
        configuration: Arc<Configuration>,
    ) -> Arc<Self> {
        let published = watch::Sender::new(configuration);
        Arc::new(Self {
            store,
            engine,
            clock,
            journal,
            writing: Mutex::default(),
            published,
            tasks: TaskTracker::new(),
        })
    }

    /// What is in force.
    pub fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.published.borrow())
    }

    /// What is in force, and every change of it; who looks seldom sees the newest.
    pub fn watch(&self) -> watch::Receiver<Arc<Configuration>> {
        self.published.subscribe()
    }

    /// Ends when every change that was begun is finished. None is begun any more by then: the edges have ended.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Changes what is set over the API for a service.
    ///
    /// # Errors
    /// [`ControlError`]; nothing has changed then, except where the store did not say.
    pub async fn update(self: &Arc<Self>, update: Update) -> Result<Updated, ControlError> {
        let control = Arc::clone(self);
        self.finish(async move { control.update_now(&update).await }).await
    }

    /// Sets the override of a service, or takes it back: in the store, for breakers born from now on, and on those that
    /// there are. Answers how many of these changed their state. The same override again only finishes what an earlier
    /// call left undone.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::NoOverride`] when there is none to take back.
    pub async fn set_override(
        self: &Arc<Self>,
        service: &str,
        set: Option<ServiceOverride>,
        asked: Asked,
    ) -> Result<usize, ControlError> {
        let now = self.clock.now();
        let service = service.to_owned();
        let edit = {
            let (service, set) = (service.clone(), set);
            move |present: &Configuration| {
                let overrides = present.overrides();
                let stands = overrides.get(&service);
                let is_same = match (stands, &set) {
                    (Some(stands), Some(set)) => {
                        (stands.kind, stands.expires_at, &stands.asked)
                            == (set.kind, set.expires_at, &set.asked)
                    }
                    (None, Some(_)) if overrides.len() >= SERVICES_MAX => {
                        return Err(ControlError::TooManyServices { max: SERVICES_MAX });
                    }
                    (Some(stands), None) if stands.expires_at.is_none_or(|end| end > now) => false,
                    (_, None) => return Err(ControlError::NoOverride),
                    (None, Some(_)) => false,
                };
                Ok((!is_same).then(|| ConfigEdit::Override { service: service.clone(), set: set.clone() }))
            }
        };
        self.write_override(service, edit, asked).await
    }

    /// Takes the override of a service that has ended by itself out of the store.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn forget_override(self: &Arc<Self>, service: &str, now: Time) -> Result<(), ControlError> {
        let name = service.to_owned();
        let edit = move |present: &Configuration| {
            let stands = present.overrides().get(&name);
            let ended = stands.and_then(|stands| stands.expires_at).is_some_and(|end| end <= now);
            Ok(ended.then(|| ConfigEdit::Override { service: name.clone(), set: None }))
        };
        let asked = Asked { actor: overrides::OURSELVES.to_owned(), reason: "it has ended".to_owned() };
        self.write_override(service.to_owned(), edit, asked).await.map(|_| ())
    }

    async fn write_override(
        self: &Arc<Self>,
        service: String,
        edit: impl Fn(&Configuration) -> Result<Option<ConfigEdit>, ControlError> + Send + Sync + 'static,
        asked: Asked,
    ) -> Result<usize, ControlError> {
        let control = Arc::clone(self);
        self.finish(async move {
            control.write(&edit, &asked, None).await?;
            let Self { engine, journal, clock, .. } = &*control;
            Ok(overrides::put_in_force(engine, journal, clock, &service, asked).await)
        })
        .await
    }

    /// Puts what a changed file declares in force. While the store is away it tries again, until this is dropped.
    ///
    /// # Errors
    /// [`ControlError`], when trying again cannot help.
    pub async fn declare(self: &Arc<Self>, declaration: &Declaration) -> Result<u64, ControlError> {
        let mut waiting = false;
        loop {
            let (control, declaration) = (Arc::clone(self), declaration.clone());
            let edit = move |present: &Configuration| Ok(declared(present, &declaration));
            let asked = by_file();
            let done = self.finish(async move { control.write(&edit, &asked, None).await }).await;
            match done {
                Ok((after, _)) => return Ok(after.revision()),
                Err(ControlError::Store(error)) if error.is_transient() => {
                    if !std::mem::replace(&mut waiting, true) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the changed file waits for the store; the former thresholds stay in force"
                        );
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn update_now(self: &Arc<Self>, update: &Update) -> Result<Updated, ControlError> {
        let service = &update.service;
        let edit = |present: &Configuration| {
            if let Some(etag) = &update.etag {
                let present = present.service(service).etag;
                if present != *etag {
                    return Err(ControlError::EtagMismatch { present });
                }
            }
            edit_of(present, service, &update.change)
        };
        if update.validate_only {
            let present = self.configuration();
            let Some(edit) = edit(&present)? else {
                return Ok(Updated { config: present.service(service), changed: false });
            };
            let planned = plan::plan(&present, &edit).map_err(ControlError::Contradiction)?;
            return Ok(Updated { config: planned.after.service(service), changed: true });
        }
        match self.write(&edit, &update.asked, update.request.as_ref()).await {
            Ok((after, changed)) => Ok(Updated { config: after.service(service), changed }),
            // Sent again after an answer that was lost, it has the etag of before.
            Err(ControlError::EtagMismatch { .. }) if self.was_made(update).await? => {
                Ok(Updated { config: self.configuration().service(service), changed: false })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a change under this request id was made before.
    async fn was_made(&self, update: &Update) -> Result<bool, ControlError> {
        let Some(request) = &update.request else { return Ok(false) };
        // Planned on what never is, it writes nothing: the store looks the id up first.
        let write = ConfigWrite {
            based_on: u64::MAX,
            edit: ConfigEdit::Thresholds { service: update.service.clone(), layer: Layer::default() },
            touched: std::collections::BTreeSet::new(),
            asked: update.asked.clone(),
            request: Some(request.clone()),
            waits: &|_, _| None,
        };
        match self.store.write_config(&write).await? {
            ConfigWritten::Known { .. } => Ok(true),
            ConfigWritten::Reused => Err(ControlError::RequestReused),
            ConfigWritten::Written(_) | ConfigWritten::Stale { .. } => Ok(false),
        }
    }

    /// Makes the change that `edit_of` sees fit to make of the present configuration; none: it is so already. Answers
    /// what is then in force, and whether that was changed.
    async fn write(
        self: &Arc<Self>,
        edit_of: &(dyn Fn(&Configuration) -> Result<Option<ConfigEdit>, ControlError> + Send + Sync),
        asked: &Asked,
        request: Option<&RequestId>,
    ) -> Result<(Arc<Configuration>, bool), ControlError> {
        let _turn = self.writing.lock().await;
        for _ in 0..PLANS_MAX {
            let present = self.configuration();
            let Some(edit) = edit_of(&present)? else { return Ok((present, false)) };
            let planned = plan::plan(&present, &edit).map_err(ControlError::Contradiction)?;
            let written = {
                let waits = plan::waits(&present, &planned.after, self.engine.seals());
                let write = ConfigWrite {
                    based_on: present.stored().revision,
                    edit,
                    touched: planned.touched.clone(),
                    asked: asked.clone(),
                    request: request.cloned(),
                    waits: &waits,
                };
                self.store.write_config(&write).await
            };
            match written {
                Ok(ConfigWritten::Written(changed)) => {
                    let after = Arc::new(planned.written(changed));
                    self.put_in_force(&after).await;
                    return Ok((after, true));
                }
                Ok(ConfigWritten::Known { .. }) => return Ok((present, false)),
                Ok(ConfigWritten::Reused) => return Err(ControlError::RequestReused),
                Ok(ConfigWritten::Stale { .. }) => self.reload().await?,
                Err(error) => {
                    if error.is_transient() {
                        self.tasks.spawn(Arc::clone(self).catch_up());
                    }
                    return Err(error.into());
                }
            }
        }
        Err(ControlError::Busy)
    }

    /// Finishes what was begun, whether or not anybody still waits for it.
    async fn finish<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, ControlError>> + Send + 'static,
    ) -> Result<T, ControlError> {
        match self.tasks.spawn(change).await {
            Ok(done) => done,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// Tells every breaker what override its service has: what a crash left between the store and the breakers, or
    /// another change brought, is made good.
    pub async fn make_good(&self) {
        let changed = overrides::make_good(&self.engine, &self.journal, &self.clock).await;
        if changed > 0 {
            tracing::info!(changed, "breakers took up, or left, the overrides that their services have");
        }
    }

    /// Takes over what the store has.
    async fn reload(self: &Arc<Self>) -> Result<(), ControlError> {
        let stored = self.store.configuration().await?;
        if stored.revision != self.configuration().stored().revision {
            let problems = |problems: Vec<ServiceProblem>| ControlError::Stored(told(&problems));
            let after = Arc::new(Configuration::new(stored).map_err(problems)?);
            let walks = after.overrides() != self.configuration().overrides();
            self.put_in_force(&after).await;
            if walks {
                let control = Arc::clone(self);
                self.tasks.spawn(async move { control.make_good().await });
            }
        }
        Ok(())
    }

    /// The store did not say whether it took a change: as soon as it answers, what it has is in force here too.
    async fn catch_up(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RETRY_EVERY).await;
            if self.tasks.is_closed() {
                return;
            }
            let _turn = self.writing.lock().await;
            match self.reload().await {
                Ok(()) => return,
                Err(ControlError::Store(error)) if error.is_transient() => {}
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the configuration that the store has cannot be taken over"
                    );
                    return;
                }
            }
        }
    }

    async fn put_in_force(&self, after: &Arc<Configuration>) {
        let (engine, catalog, now) =
            (Arc::clone(&self.engine), Arc::clone(after.catalog()), self.clock.now());
        self.engine.note_service_overrides(after.engine_overrides());
        // Off the threads that decide: with a hundred thousand breakers it takes tens of milliseconds.
        let applied = tokio::task::spawn_blocking(move || engine.apply(&catalog, now));
        if let Err(failed) = applied.await {
            std::panic::resume_unwind(failed.into_panic());
        }
        self.published.send_replace(Arc::clone(after));
    }
}

/// The file, as the audit names it.
fn by_file() -> Asked {
    Asked { actor: "file".to_owned(), reason: String::new() }
}

/// What becomes of the configuration when a file declares this.
fn declared(present: &Configuration, declaration: &Declaration) -> Option<ConfigEdit> {
    let takes = present.stored().declared.as_ref().map_or(Takes::Differs, |stored| stored.takes(declaration));
    match takes {
        Takes::Differs => Some(ConfigEdit::Declared(declaration.clone())),
        Takes::NewerGeneration => declaration.generation.map(ConfigEdit::Generation),
        Takes::Unchanged => None,
        Takes::Older { generation } => {
            tracing::warn!(
                file = declaration.generation,
                store = generation,
                "the file is of an older generation than what the store has, which stays in force"
            );
            None
        }
    }
}

/// What becomes of a service's layer; none: it is so already.
fn edit_of(
    present: &Configuration,
    service: &str,
    change: &LayerChange,
) -> Result<Option<ConfigEdit>, ControlError> {
    let set = &present.stored().set;
    let before = set.get(service).cloned().unwrap_or_default();
    let layer = match change {
        LayerChange::Whole(layer) => layer.clone(),
        LayerChange::Fields(fields) => {
            let mut layer = before.clone();
            for (field, value) in fields {
                match value {
                    // Its range was checked where it came in; one that is refused all the same is not set.
                    Some(value) => drop(layer.set(*field, value.clone())),
                    None => layer.unset(*field),
                }
            }
            layer
        }
    };
    if layer == before {
        return Ok(None);
    }
    if !set.contains_key(service) && set.len() >= SERVICES_MAX {
        return Err(ControlError::TooManyServices { max: SERVICES_MAX });
    }
    Ok(Some(ConfigEdit::Thresholds { service: service.to_owned(), layer }))
}
