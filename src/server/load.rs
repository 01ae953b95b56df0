//! What a start reads: the store, the journal, the configuration; and what it makes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use breakerd_common::clock::Clock;

use super::start_alone::{Alone, AloneTasks, open_shared_once};
use crate::app::{App, Loaded};
use crate::catalog::Declaration;
use crate::config::{Config, HalfOpenWithoutStore, Settings};
use crate::control::{Configuration, ControlError, first_configuration, log_warnings};
use crate::data_dir::DataDir;
use crate::engine::{Engine, Limits, Seals};
use crate::journal::{Journal, JournalOptions, Recovered, RecoveredState};
use crate::lifecycle::{PositionFile, SeenPosition};
use crate::local_snapshot;
use crate::metrics::{MeteredCountStore, MeteredSharedStore, MeteredStore, StoreOperations};
use crate::replica::{
    CountSharing, Presence, PresenceMetrics, ReadPosition, Replication, StoreContact, Tail,
};
use crate::runtime::{Parts, Runtime};
use crate::store::{
    self, CountStore, Meta, OperationKind, ReplicaStore, Shared, SharedStore, Store, StoreError,
    StoredBreaker, TimelineStore, TransitionStore,
};
use crate::webhook::Webhooks;

/// Breakers read from the store at one time.
const PAGE: u32 = 10_000;
/// Between two attempts to reach a store that does not answer at the start.
const STORE_RETRY_EVERY: Duration = Duration::from_secs(1);

/// What a start has read.
pub(super) struct Started {
    /// What runs.
    pub(super) runtime: Runtime,
    /// Who follows the other replicas; none: there can be none.
    pub(super) following: Option<Following>,
    /// The file of what was last seen of the store.
    pub(super) position: PathBuf,
    /// What is done beside the usual where a start need not wait for the store.
    pub(super) alone: AloneTasks,
}

/// Who follows the other replicas.
pub(super) struct Following {
    /// The rows that they change, from where the start has read them.
    pub(super) tail: Tail,
    /// What they count.
    pub(super) counts: CountSharing,
}

/// What replicas ask of the store that they share, each part by its trait.
struct SharedParts {
    rows: Arc<dyn SharedStore>,
    counts: Arc<dyn CountStore>,
    replicas: Arc<dyn ReplicaStore>,
}

/// A store as it was opened; with what replicas ask of it, if it is shared.
struct Opened {
    store: Arc<dyn Store>,
    shared: Option<SharedParts>,
    /// What is started from while it is away; none: it is open.
    alone: Option<Alone>,
}

impl From<Shared> for Opened {
    fn from(shared: Shared) -> Self {
        let Shared { store, shared: rows, counts, replicas } = shared;
        Self { store, shared: Some(SharedParts { rows, counts, replicas }), alone: None }
    }
}

/// Reads the store and the journal. The store is waited for, as long as this is; or not, if this replica may start without it.
pub(super) async fn load(
    app: &App,
    config: &Config,
    data_dir: &DataDir,
    webhooks: &Arc<Webhooks>,
) -> Result<Started> {
    let settings = &config.settings;
    let is_unavailable = StoreError::is_transient;
    let store_address = &store_address(settings, data_dir).await;
    let Opened { store, shared, alone } = open_store(app, settings, data_dir, store_address).await?;
    let (meta, position) = match &alone {
        Some(Alone { snapshot, .. }) => (snapshot.meta.clone(), data_dir.position(snapshot.meta.store_id)),
        None => {
            retry_until_available(store_address, is_unavailable, async || identity(&*store, data_dir).await)
                .await
                .context("read what the store is")?
        }
    };
    let clock = &app.clock;

    let replica: Arc<str> = settings.replica.as_str().into();
    let boot = getrandom::u64().context("draw a random number")?;
    let options = JournalOptions {
        replica,
        boot,
        bytes_max: settings.journal_bytes_max,
        breakers_max: settings.breakers_max,
        clock: Arc::clone(clock),
    };
    let unused = (!settings.store_start_without_store).then(|| data_dir.snapshot());
    let (journal, recovered) = open_journal(data_dir.journal(meta.store_id), options, unused).await?;
    let journal = Arc::new(journal);
    let (read, at) = (Arc::clone(&journal), Arc::clone(clock));
    app.metrics.show_journal(Arc::new(move || read.stats(at.now()))).context("show the journal")?;

    warn_of_other_journals(data_dir, meta.store_id);

    let declaration = config.has_file().then_some(&config.declaration);
    let seals = Seals::new(&meta.id_key);
    let configuration = match &alone {
        Some(Alone { configuration, .. }) => Arc::clone(configuration),
        None => declare_file(&*store, store_address, &seals, declaration).await?,
    };
    let half = (settings.breakers_max / 2).max(1);
    let limits = Limits {
        breakers_max: settings.breakers_max,
        breakers_per_service_max: settings.breakers_per_service_max.unwrap_or(half),
        breakers_per_caller_max: settings.breakers_per_caller_max.unwrap_or(half),
        own_series_max: settings.breakers_with_own_series,
        idle_ttl: settings.idle_breaker_ttl,
    };
    log_warnings(configuration.catalog(), None);
    let mut runtime = Runtime::assemble(Parts {
        clock: Arc::clone(clock),
        store,
        meta: meta.clone(),
        journal: Arc::clone(&journal),
        configuration,
        limits,
        issuer: boot,
        shared: shared.as_ref().map(|shared| Arc::clone(&shared.rows)),
        watch: app.metrics.watch.clone(),
        tracer: app.tracer.clone(),
        webhooks: Some(Arc::clone(webhooks)),
    });
    let Loaded { engine, store, .. } = &runtime.loaded;
    if let Some(alone) = &alone {
        alone.hand_over(&runtime.loaded.permit_keys, &runtime.loaded.feeds, &position);
    } else {
        let read = async || runtime.loaded.permit_keys.take_over().await;
        retry_until_available(store_address, is_unavailable, read).await.context("read the permit keys")?;
    }
    if recovered.entries > 0 {
        tracing::info!(
            entries = recovered.entries,
            "journal has transitions that the store does not have yet"
        );
    }
    let following = if let (Some(replication), Some(SharedParts { counts, replicas, .. })) =
        (&runtime.replication, shared)
    {
        let tail = match &alone {
            Some(alone) => replication.start_alone(&alone.rows(clock.wall()), &recovered.unanswered),
            None => catch_up(replication, store_address, &recovered).await?,
        };
        runtime.loaded.control.follow(tail.configuration());
        let metrics =
            PresenceMetrics { replica: app.metrics.replica.clone(), store: app.metrics.store.clone() };
        let seals = engine.seals().clone();
        let known = (tail.read(), contact(replication, settings, alone.is_some()));
        let presence = Presence::new(replicas, Arc::clone(clock), journal, seals, known, metrics);
        runtime.loaded.presence = Some(Arc::new(presence));
        Some(Following { tail, counts: replication.count_sharing(counts) })
    } else {
        restore_breakers(engine, &**store, store_address, &recovered, &**clock).await?;
        None
    };
    let read = following.as_ref().map(|Following { tail, .. }| tail.read());
    let source = read.filter(|_| settings.store_start_without_store);
    let source = source.map(|read| snapshot_source(&runtime.loaded, read, meta, store_address, clock));
    let kept = source.map(|source| (Arc::new(source), data_dir.snapshot()));
    let alone = AloneTasks::new(alone, kept);
    app.load(runtime.loaded.clone());
    Ok(Started { runtime, following, position, alone })
}

/// Opens the journal, and removes a snapshot that is not used.
async fn open_journal(
    folder: PathBuf,
    options: JournalOptions,
    unused: Option<PathBuf>,
) -> Result<(Journal, Recovered)> {
    let opened = tokio::task::spawn_blocking(move || {
        if let Some(unused) = unused {
            local_snapshot::remove(&unused);
        }
        Journal::open(&folder, options)
    });
    opened.await.context("read the journal")?.context("open the journal in the data directory")
}

/// The configuration of the store, with what the file declares written to it.
async fn declare_file(
    store: &dyn Store,
    store_address: &str,
    seals: &Seals,
    declaration: Option<&Declaration>,
) -> Result<Arc<Configuration>> {
    let is_unavailable =
        |error: &ControlError| matches!(error, ControlError::Store(error) if error.is_transient());
    let declare = async || first_configuration(store, seals, declaration).await;
    Ok(retry_until_available(store_address, is_unavailable, declare).await?)
}

/// What the local snapshot is taken of.
fn snapshot_source(
    loaded: &Loaded,
    read: Arc<ReadPosition>,
    meta: Meta,
    store_address: &str,
    clock: &Arc<dyn Clock>,
) -> local_snapshot::Source {
    local_snapshot::Source {
        engine: Arc::clone(&loaded.engine),
        control: Arc::clone(&loaded.control),
        permit_keys: Arc::clone(&loaded.permit_keys),
        feeds: Arc::clone(&loaded.feeds),
        read,
        meta,
        store_address: store_address.to_owned(),
        clock: Arc::clone(clock),
    }
}

/// Takes over what the replicas of the store have agreed on.
async fn catch_up(replication: &Replication, store_address: &str, journal: &Recovered) -> Result<Tail> {
    let read = async || replication.catch_up(journal.entries).await;
    retry_until_available(store_address, StoreError::is_transient, read).await.context("read the breakers")
}

/// Puts the breakers in: as the store has them, then what the journal knows better.
async fn restore_breakers(
    engine: &Engine,
    store: &dyn TransitionStore,
    store_address: &str,
    journal: &Recovered,
    clock: &dyn Clock,
) -> Result<()> {
    let mut after = None;
    loop {
        let page = retry_until_available(store_address, StoreError::is_transient, async || {
            store.breakers(after.as_ref(), PAGE).await
        })
        .await
        .context("read the breakers")?;
        for StoredBreaker { key, snapshot, entered_by, .. } in &page {
            engine.restore(key, snapshot, *entered_by, 0, clock.now());
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after = Some(last.key.clone()),
            _ => break,
        }
    }
    for RecoveredState { key, snapshot, entered_by, lsn } in &journal.states {
        engine.restore(key, snapshot, *entered_by, *lsn, clock.now());
    }
    Ok(())
}

/// What the store is, and the file of what was last seen of it.
async fn identity(store: &dyn TimelineStore, data_dir: &DataDir) -> Result<(Meta, PathBuf), StoreError> {
    let meta = store.meta().await?;
    let position = data_dir.position(meta.store_id);
    Ok((in_its_timeline(store, &meta, &position).await?, position))
}

/// The identity of the store, once one that was restored since it was last seen has a new timeline: what was decided on
/// what it lost means nothing in it.
async fn in_its_timeline(
    store: &dyn TimelineStore,
    meta: &Meta,
    position: &Path,
) -> Result<Meta, StoreError> {
    let seen = match PositionFile::at(position.to_owned()).read() {
        Ok(Some(seen)) => seen,
        Ok(None) => return Ok(meta.clone()),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, path = %position.display(), "cannot read what was last seen of the store");
            return Ok(meta.clone());
        }
    };
    let found = store.position(seen.change.revision).await?;
    // A larger timeline than was seen: another breakerd has found out already.
    let went_back = found.timeline < seen.timeline
        || (found.timeline == seen.timeline && found.went_back_behind(seen.change));
    if !went_back {
        return store.meta().await;
    }
    store.renew_timeline(found.timeline, seen.timeline).await?;
    let meta = store.meta().await?;
    // Before anything is decided in the new timeline: a process that ends at once and finds the same backup again must not
    // take a timeline for new that it has used.
    let renewed = store.position(0).await?;
    let seen_now = SeenPosition { timeline: meta.timeline, change: renewed.newest };
    PositionFile::at(position.to_owned()).record(Some(seen_now)).await;
    tracing::warn!(
        revision = found.newest.revision,
        seen = seen.change.revision,
        timeline = meta.timeline,
        "the store was restored from a backup: permits issued before it are late, and watches resync"
    );
    Ok(meta)
}

/// The database may have been deleted or replaced: what the journal of the old one holds is written to no other.
fn warn_of_other_journals(data_dir: &DataDir, store_id: u64) {
    match data_dir.other_journals(store_id) {
        Ok(folders) => {
            for folder in folders {
                tracing::warn!(
                    folder = %folder.display(),
                    "the journal of another store holds changes that were not written to it; to write them, start breakerd \
                     with that store, else remove the folder"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "cannot look for journals of other stores"),
    }
}

/// Where the store is that the settings name, without its secrets.
async fn store_address(settings: &Settings, data_dir: &DataDir) -> String {
    let target = match (&settings.store_url, &settings.store_url_file) {
        (Some(url), _) => store::Target::Postgres(url.expose().to_owned()),
        (None, None) => store::Target::Sqlite(data_dir.database()),
        (None, Some(path)) => {
            let path = path.clone();
            let store_address = tokio::task::spawn_blocking(move || store::location_by_file(&path));
            return store_address.await.unwrap_or_else(|_| "store.url_file".to_owned());
        }
    };
    store::location(&target)
}

/// Whether the store answers, and what breakers do while it does not. `is_away`: it has not been reached yet.
fn contact(replication: &Replication, settings: &Settings, is_away: bool) -> Arc<StoreContact> {
    let contact = replication.contact();
    if settings.store_half_open_without_store == HalfOpenWithoutStore::Local {
        contact.decide_alone();
    }
    if is_away {
        contact.not_reached_yet();
    }
    contact
}

/// Opens the store that the settings name, with metrics and its status. Failures until then are recorded as well: a client that asks
/// before the state is loaded receives the reason.
async fn open_store(
    app: &App,
    settings: &Settings,
    data_dir: &DataDir,
    store_address: &str,
) -> Result<Opened> {
    let monitor = app.health.store();
    let open = async || {
        let opened = open_once(settings, data_dir).await;
        monitor.note(OperationKind::Ping, &opened, app.clock.now());
        opened
    };
    let opened = match open().await {
        Err(away) if away.is_transient() => {
            let alone = if settings.store_start_without_store {
                Alone::prepare(data_dir.snapshot(), store_address, &away, app.clock.wall()).await
            } else {
                None
            };
            match alone {
                Some(alone) => {
                    let opened = Opened::from(alone.shared());
                    Opened { alone: Some(alone), ..opened }
                }
                None => retry_until_available(store_address, StoreError::is_transient, open).await?,
            }
        }
        opened => opened?,
    };
    let Opened { store, shared, alone } = opened;
    let operations = StoreOperations::new(
        app.metrics.store.clone(),
        Arc::clone(app.health.store()),
        Arc::clone(&app.clock),
    )
    .traced(app.tracer.clone());
    let shared = shared.map(|SharedParts { rows, counts, replicas }| SharedParts {
        rows: Arc::new(MeteredSharedStore::new(rows, operations.clone())),
        counts: Arc::new(MeteredCountStore::new(counts, operations.clone())),
        replicas,
    });
    Ok(Opened { store: Arc::new(MeteredStore::new(store, operations)), shared, alone })
}

async fn open_once(settings: &Settings, data_dir: &DataDir) -> Result<Opened, StoreError> {
    let (url, file) = (&settings.store_url, &settings.store_url_file);
    if settings.is_replica() {
        return Ok(open_shared_once(settings).await?.into());
    }
    let store = match (url, file) {
        (Some(url), _) => store::open(&store::Target::Postgres(url.expose().to_owned())).await?,
        (None, Some(path)) => store::open_by_file(path).await?,
        (None, None) => store::open(&store::Target::Sqlite(data_dir.database())).await?,
    };
    Ok(Opened { store, shared: None, alone: None })
}

/// Retries until the store answers: it may become unavailable at any moment of a start.
///
/// `store_address` names the store in the log.
async fn retry_until_available<T, E: std::error::Error + 'static>(
    store_address: &str,
    is_unavailable: impl Fn(&E) -> bool,
    ask: impl AsyncFn() -> Result<T, E>,
) -> Result<T, E> {
    let mut waiting = false;
    loop {
        match ask().await {
            Err(error) if is_unavailable(&error) => {
                if !std::mem::replace(&mut waiting, true) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        store = store_address,
                        ready = false,
                        "store unavailable, retrying"
                    );
                }
                tokio::time::sleep(STORE_RETRY_EVERY).await;
            }
            answered => return answered,
        }
    }
}
