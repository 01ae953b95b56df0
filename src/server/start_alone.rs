//! A start while the store is away: from what an earlier life of this process last knew of it. The store is opened as soon as it
//! answers; from then on this replica catches up as one that was cut off.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use breaker::{RowVersion, StoredRow, Time};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Loaded};
use crate::config::{Config, DatabaseUrl, Settings};
use crate::control::{Configuration, Control};
use crate::engine::SealingKey;
use crate::feed::Feeds;
use crate::lifecycle::PositionFile;
use crate::local_snapshot;
use crate::permit_keys::PermitKeys;
use crate::replica::ReadPosition;
use crate::store::{
    self, ChangedRow, DeferredStore, LocalSnapshot, Shared, SnapshotKey, StoreError, StoredBreaker,
};
use crate::supervisor::Supervisor;

/// Between two attempts to open the store, and two looks whether it has been read.
const RETRY_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is started from, and the store that is opened later.
pub(super) struct Alone {
    pub(super) snapshot: LocalSnapshot,
    pub(super) configuration: Arc<Configuration>,
    store: Arc<DeferredStore>,
}

impl Alone {
    /// What can be started from; none: nothing, and the log says why. `away` is why the store cannot be opened.
    pub(super) async fn prepare(
        path: PathBuf,
        store_address: &str,
        away: &StoreError,
        now: Time,
    ) -> Option<Self> {
        let address = store_address.to_owned();
        let read = tokio::task::spawn_blocking(move || read(&path, &address)).await;
        let problem = match read.unwrap_or_else(|error| Err(error.into())) {
            Ok(alone) => {
                tracing::warn!(
                    error = away as &dyn std::error::Error,
                    store = store_address,
                    breakers = alone.snapshot.breakers.len(),
                    revision = alone.snapshot.configuration.revision,
                    age_seconds = now.since(alone.snapshot.taken_at).as_secs(),
                    "store unavailable: starting without it, from the local snapshot"
                );
                return Some(alone);
            }
            Err(problem) => problem,
        };
        let problem: &dyn std::error::Error = problem.as_ref();
        tracing::error!(
            error = problem,
            store = store_address,
            "cannot start without the store: waiting for it"
        );
        None
    }

    /// The store, as it will be.
    pub(super) fn shared(&self) -> Shared {
        self.store.shared()
    }

    /// The rows of breakers, when the wall clock says `wall`.
    pub(super) fn rows(&self, wall: Time) -> Vec<ChangedRow> {
        let timeline = self.snapshot.meta.timeline;
        let row = |stored: &StoredBreaker| {
            let StoredBreaker { key, snapshot, entered_by, decided_by, revision } = stored.clone();
            let version = RowVersion { timeline, revision };
            let age = wall.since(snapshot.entered_at);
            ChangedRow { key, row: StoredRow { version, snapshot, age }, entered_by, decided_by }
        };
        self.snapshot.breakers.iter().map(row).collect()
    }

    /// The keys of permits, and what was last seen of the history.
    pub(super) fn hand_over(&self, permit_keys: &PermitKeys, feeds: &Feeds, position: &Path) {
        let key = |key: &SnapshotKey| SealingKey { number: key.number, secret: key.secret };
        permit_keys.hold_all(self.snapshot.permit_keys.iter().map(key).collect(), self.snapshot.sealing_key);
        match PositionFile::at(position.to_owned()).read() {
            Ok(Some(seen)) => feeds.tail.resume(seen.timeline, seen.change),
            Ok(None) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, path = %position.display(), "cannot read what was last seen of the store");
            }
        }
    }
}

fn read(path: &Path, store_address: &str) -> Result<Alone> {
    let Some(snapshot) = local_snapshot::read(path, store_address)? else {
        bail!(
            "there is no snapshot {}: no run with store.start_without_store has read the store yet",
            path.display()
        );
    };
    let configuration = Configuration::new(snapshot.configuration.clone()).map_err(|problems| {
        let problems = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        anyhow::anyhow!("snapshot {} has invalid thresholds: {problems}", path.display())
    })?;
    Ok(Alone { snapshot, configuration: Arc::new(configuration), store: Arc::default() })
}

/// Opens the store that was away at the start.
struct Opener {
    store: Arc<DeferredStore>,
    store_id: u64,
    read: Arc<ReadPosition>,
}

impl Opener {
    /// Opens it as soon as it answers, and marks this process as alone until it has been read.
    ///
    /// # Errors
    /// When it cannot be opened and trying again will not help, or is another one than was known.
    async fn run(self, settings: Settings, app: Arc<App>, stop: CancellationToken) -> Result<()> {
        let open = async {
            loop {
                match self.open_once(&settings).await {
                    Ok(shared) => break Ok(shared),
                    Err(OpenError::Store(error)) if error.is_transient() => {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "store is still unavailable"
                        );
                    }
                    // As it is: its kind says how the process ends.
                    Err(OpenError::Store(error)) => break Err(anyhow::Error::from(error)),
                    Err(other) => break Err(other.into()),
                }
                app.clock.sleep_until(app.clock.now() + RETRY_EVERY).await;
            }
        };
        let Some(opened) = stop.run_until_cancelled(open).await else { return Ok(()) };
        self.store.open(opened?);
        let caught_up = async {
            while !self.read.is_read() {
                app.clock.sleep_until(app.clock.now() + LOOK_EVERY).await;
            }
        };
        if stop.run_until_cancelled(caught_up).await.is_some() {
            app.health.set_without_store(false);
            tracing::info!(revision = self.read.revision(), "store has been read, after a start without it");
            stop.cancelled().await;
        }
        Ok(())
    }

    async fn open_once(&self, settings: &Settings) -> Result<Shared, OpenError> {
        let shared = open_shared_once(settings).await?;
        let found = match shared.store.meta().await {
            Ok(meta) => meta.store_id,
            Err(error) => {
                shared.store.close().await;
                return Err(error.into());
            }
        };
        if found == self.store_id {
            return Ok(shared);
        }
        shared.store.close().await;
        Err(OpenError::OtherStore { found, expected: self.store_id })
    }
}

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    /// It did not answer, or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is another one.
    #[error(
        "the database is another one (store {found:016x}) than that of the local snapshot ({expected:016x}), by which calls were decided: \
         start breakerd again"
    )]
    OtherStore {
        /// The database that answers.
        found: u64,
        /// That of the snapshot.
        expected: u64,
    },
}

/// Opens the store that replicas share.
pub(super) async fn open_shared_once(settings: &Settings) -> Result<Shared, StoreError> {
    let listen_url = settings.store_listen_url.as_ref().map(DatabaseUrl::expose);
    match (&settings.store_url, &settings.store_url_file) {
        (Some(url), _) => store::open_shared_listening(url.expose(), listen_url).await,
        (None, Some(path)) => store::open_shared_by_file(path, listen_url).await,
        (None, None) => Err(StoreError::Refused("replicas need store.url".to_owned())),
    }
}

/// What is done beside the usual where a start need not wait for the store.
pub(super) struct AloneTasks {
    /// Who opens the store; none: it is open.
    opener: Option<Opener>,
    /// What the local snapshot is taken of, and where it is; none: none is kept.
    snapshot: Option<(Arc<local_snapshot::Source>, PathBuf)>,
}

impl AloneTasks {
    pub(super) fn new(
        alone: Option<Alone>,
        snapshot: Option<(Arc<local_snapshot::Source>, PathBuf)>,
    ) -> Self {
        let opener = alone.zip(snapshot.as_ref()).map(|(alone, (source, _))| Opener {
            store: alone.store,
            store_id: alone.snapshot.meta.store_id,
            read: Arc::clone(&source.read),
        });
        Self { opener, snapshot }
    }

    pub(super) fn start(self, tasks: &mut Supervisor, config: &Config, app: &Arc<App>, loaded: &Loaded) {
        let stop = tasks.stop_token();
        if let Some((source, path)) = self.snapshot {
            let stopping = stop.clone();
            tasks.spawn("local_snapshot", async move {
                local_snapshot::run(source, path, stopping).await;
                Ok(())
            });
        }
        let Some(opener) = self.opener else { return };
        app.health.set_without_store(true);
        let (settings, app) = (config.settings.clone(), Arc::clone(app));
        tasks.spawn("store_open", opener.run(settings, app, stop.clone()));
        if config.has_file() {
            let (control, config) = (Arc::clone(&loaded.control), config.clone());
            tasks.spawn("config_file_apply", async move {
                stop.run_until_cancelled(apply_file(control, config)).await;
                stop.cancelled().await;
                Ok(())
            });
        }
    }
}

/// What the file declares, which may be newer than the snapshot, once the store takes it.
async fn apply_file(control: Arc<Control>, config: Config) {
    if let Err(error) = control.declare(&config.declaration).await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "config file not applied, keeping the previous version");
    }
}
