//! What the handles and the thread of a client share.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use breaker::Key;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use crate::cell::{Around, Cell, Context, Source};
use crate::changes::StateChanges;
use crate::clock::Clock;
use crate::connection_errors::ConnectionErrors;
use crate::error::{BreakerError, BuildError};
use crate::known::Known;
use crate::link::Link;
use crate::lock;
use crate::outbox::Outbox;
use crate::session::Session;
use crate::settings::{Builder, Mode, WhenUnreachable};
use crate::wake::Wake;

/// Requests for permission that are out at one time; more are decided as if breakerd could not be reached.
pub(crate) const REQUESTS_MAX: u32 = 1_024;

/// What ends with the last user of a client.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

/// What the handles and the thread of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) around: Around,
    pub(crate) mode: Mode,
    pub(crate) deadline: Duration,
    pub(crate) caller: String,
    /// The services to follow; empty: all.
    pub(crate) services: Vec<String>,
    /// Before cells, and both before a cell's own lock.
    pub(crate) known: Mutex<Known>,
    cells: RwLock<HashMap<Key, Arc<Cell>>>,
    cells_max: usize,
    when_unreachable: WhenUnreachable,
    unreachable_of: BTreeMap<(String, String), WhenUnreachable>,
    /// Where requests are made. None: this client is a fake.
    pub(crate) runtime: Option<Handle>,
    pub(crate) session: watch::Sender<Option<Session>>,
    pub(crate) connection_errors: ConnectionErrors,
    pub(crate) requests: Arc<Semaphore>,
    /// A snapshot is wanted, since something of the last was forgotten.
    pub(crate) resnapshot: Notify,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) stopped: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(builder: &Builder, clock: Clock, runtime: Option<Handle>) -> Result<Self, BuildError> {
        builder.check()?;
        Ok(Self {
            around: Around {
                clock,
                link: Link::default(),
                outbox: Outbox::new(builder.queue_bytes_max),
                changes: StateChanges::default(),
                wake: Wake::default(),
                enabled: AtomicBool::new(true),
            },
            mode: builder.mode,
            deadline: builder.deadline,
            caller: builder.caller.clone(),
            services: builder.services.clone(),
            known: Mutex::new(Known::new(builder.fallbacks()?)),
            cells: RwLock::default(),
            cells_max: builder.breakers_max,
            when_unreachable: builder.when_unreachable,
            unreachable_of: builder.unreachable_of.clone(),
            runtime,
            session: watch::Sender::new(None),
            connection_errors: ConnectionErrors::default(),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX as usize)),
            resnapshot: Notify::new(),
            stop: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
        })
    }

    pub(crate) fn context(&self) -> Context<'_> {
        self.around.context()
    }

    fn cells(&self) -> RwLockReadGuard<'_, HashMap<Key, Arc<Cell>>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cell(&self, key: &Key) -> Option<Arc<Cell>> {
        self.cells().get(key).cloned()
    }

    /// Every breaker of this process.
    pub(crate) fn all_cells(&self) -> Vec<Arc<Cell>> {
        self.cells().values().cloned().collect()
    }

    /// The breaker with this key, made at its first use.
    pub(crate) fn cell_of(&self, key: &Key) -> Result<Arc<Cell>, BreakerError> {
        if let Some(cell) = self.cell(key) {
            return Ok(cell);
        }
        let service = key.service();
        if !self.services.is_empty() && !self.services.iter().any(|watched| **watched == **service) {
            return Err(BreakerError::NotWatched { service: service.to_string() });
        }
        // Held all along, so that what breakerd says meanwhile is not missed.
        let mut known = lock(&self.known);
        let context = self.context();
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let limit = self.cells_max;
        let is_full = cells.len() >= limit;
        match cells.entry(key.clone()) {
            Entry::Occupied(entry) => Ok(Arc::clone(entry.get())),
            Entry::Vacant(_) if is_full => Err(BreakerError::TooMany { limit }),
            Entry::Vacant(entry) => {
                let (thresholds, revision) = known.thresholds(service);
                let of_its_own = (key.service().to_string(), key.name().to_string());
                let when_unreachable = self.unreachable_of.get(&of_its_own).copied();
                let when_unreachable = when_unreachable.unwrap_or(self.when_unreachable);
                let cell = Cell::new(key.clone(), when_unreachable, Arc::clone(&thresholds), &context);
                let cell = entry.insert(Arc::new(cell));
                cell.hear_thresholds(thresholds, revision, &context);
                cell.hear_service_override(known.override_of(service), &context);
                if let Some(heard) = known.take_other(key, context.now) {
                    cell.hear(heard, Source::Stream, &context);
                } else if known.forgot {
                    self.resnapshot.notify_one();
                }
                Ok(Arc::clone(cell))
            }
        }
    }
}
