//! A client: the breakers of a process, and the thread that keeps them in step with breakerd.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use breaker::{Key, State};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use crate::breaker_handle::Breaker;
use crate::cell::{Around, Cell, Context, Source};
use crate::clock::Clock;
use crate::connection::{Addresses, Session};
use crate::error::{BreakerError, BuildError};
use crate::known::Known;
use crate::link::Link;
use crate::lock;
use crate::outbox::Outbox;
use crate::settings::{Builder, Mode, WhenUnreachable};
use crate::stats::BreakerStats;
use crate::worker;

/// Requests for permission that are out at one time; more are decided as if breakerd could not be reached.
const REQUESTS_MAX: usize = 1_024;

/// A service and a name. Built from `"service"`, for the default breaker of the service, and from `("service", "name")`.
#[derive(Debug, Clone)]
pub struct BreakerKey<'a> {
    service: Cow<'a, str>,
    name: Cow<'a, str>,
}

impl<'a> From<&'a str> for BreakerKey<'a> {
    fn from(service: &'a str) -> Self {
        Self { service: service.into(), name: "".into() }
    }
}

impl<'a> From<&'a String> for BreakerKey<'a> {
    fn from(service: &'a String) -> Self {
        service.as_str().into()
    }
}

impl<'a, S: AsRef<str> + ?Sized, N: AsRef<str> + ?Sized> From<(&'a S, &'a N)> for BreakerKey<'a> {
    fn from((service, name): (&'a S, &'a N)) -> Self {
        Self { service: service.as_ref().into(), name: name.as_ref().into() }
    }
}

/// The breakers of this process. Cheap to clone. The thread of the client ends with its last clone and its last [`Breaker`].
#[derive(Debug, Clone)]
pub struct Client {
    life: Arc<Life>,
}

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
    unreachable_of: std::collections::BTreeMap<(String, String), WhenUnreachable>,
    /// Where requests are made. None: this client is a fake.
    pub(crate) runtime: Option<Handle>,
    pub(crate) session: watch::Sender<Option<Session>>,
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
                changes: Mutex::new(VecDeque::new()),
                changed: Notify::new(),
                wake: crate::wake::Wake::default(),
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
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
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
    fn cell_of(&self, key: &Key) -> Result<Arc<Cell>, BreakerError> {
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

impl Client {
    /// Builds a client of the breakerd at `address`, such as `http://127.0.0.1:50051`.
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address.into())
    }

    pub(crate) async fn connect(builder: Builder) -> Result<Self, BuildError> {
        let addresses = Addresses::new(&builder)?;
        let first_snapshot = builder.first_snapshot;
        let shared = worker::start(builder, addresses)?;
        let client = Self { life: Arc::new(Life { shared: Arc::clone(&shared) }) };
        if let Some(runtime) = &shared.runtime {
            let waits = Arc::clone(&shared);
            // On the thread of the client: the caller's runtime may have no timer.
            let wait = runtime.spawn(async move {
                let mut synced = waits.session.subscribe();
                let synced =
                    synced.wait_for(|session| session.as_ref().is_some_and(|session| session.synced));
                let _ = tokio::time::timeout(first_snapshot, synced).await;
            });
            let _ = wait.await;
        }
        Ok(client)
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { life: Arc::new(Life { shared }) }
    }

    /// The breaker of a service, such as `"sentinel"`, or a named one of it, such as `("notifications", "slack")`. Keep it: a lookup costs more
    /// than a decision.
    ///
    /// # Errors
    /// [`BreakerError`].
    pub fn breaker<'a>(&self, key: impl Into<BreakerKey<'a>>) -> Result<Breaker, BreakerError> {
        let BreakerKey { service, name } = key.into();
        let key = Key::new(&service, &name)?;
        let cell = self.shared().cell_of(&key)?;
        Ok(Breaker::new(cell, Arc::clone(&self.life)))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.life.shared
    }

    /// Whether breakerd decides. If not, this process does by itself, as [`Builder::when_unreachable`] says.
    pub fn is_connected(&self) -> bool {
        self.shared().context().live
    }

    /// Every breaker of this process, ordered by service and name.
    pub fn get_all_stats(&self) -> Vec<BreakerStats> {
        let shared = self.shared();
        let context = shared.context();
        let mut all: Vec<_> = shared.all_cells().iter().map(|cell| cell.stats(&context)).collect();
        all.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
        all
    }

    /// The states of the breakers of this process, as the page `/health/circuit-breakers` of breakerd has them.
    pub fn health_check(&self) -> Health {
        Health::of(&self.get_all_stats())
    }

    /// Sends what is left to report, for at most about a second, and ends the thread of the client. Breakers of it go on without
    /// breakerd.
    pub async fn shutdown(&self) {
        let shared = self.shared();
        if shared.runtime.is_none() {
            return;
        }
        let mut stopped = shared.stopped.subscribe();
        shared.stop.send_replace(true);
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

/// Whether all breakers let calls through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Status {
    /// No breaker is OPEN or `FORCED_OPEN`.
    Healthy,
    /// Some are.
    Degraded,
}

/// The states of the breakers of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Health {
    /// Whether all breakers let calls through.
    pub status: Status,
    /// How many there are, by state.
    pub circuit_breakers: Counts,
    /// Each of them, ordered by service and name.
    pub details: Vec<Detail>,
}

/// How many breakers there are, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// All.
    pub total: usize,
    /// CLOSED, DISABLED and `METRICS_ONLY`.
    pub closed: usize,
    /// OPEN and `FORCED_OPEN`.
    pub open: usize,
    /// `HALF_OPEN`.
    pub half_open: usize,
}

/// One breaker of a health page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Detail {
    /// Name of the breaker within the service.
    pub name: String,
    /// `Closed`, `Open`, `HalfOpen`, `ForcedOpen`, `Disabled` or `MetricsOnly`.
    pub state: &'static str,
    /// Failures of this process since its last success.
    pub consecutive_failures: u32,
    /// Successes of this process since its last failure.
    pub consecutive_successes: u32,
    /// Changes of the state that this process saw.
    pub transition_count: u64,
    /// Service of the breaker.
    pub service: String,
}

impl Health {
    fn of(stats: &[BreakerStats]) -> Self {
        let mut counts = Counts { total: stats.len(), ..Counts::default() };
        for breaker in stats {
            match breaker.state {
                State::Closed | State::Disabled | State::MetricsOnly => counts.closed += 1,
                State::Open | State::ForcedOpen => counts.open += 1,
                State::HalfOpen => counts.half_open += 1,
            }
        }
        let detail = |breaker: &BreakerStats| Detail {
            name: breaker.name.clone(),
            state: state_name(breaker.state),
            consecutive_failures: breaker.consecutive_failures,
            consecutive_successes: breaker.consecutive_successes,
            transition_count: breaker.transitions,
            service: breaker.service.clone(),
        };
        Self {
            status: if counts.open > 0 { Status::Degraded } else { Status::Healthy },
            circuit_breakers: counts,
            details: stats.iter().map(detail).collect(),
        }
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Closed => "Closed",
        State::Open => "Open",
        State::HalfOpen => "HalfOpen",
        State::ForcedOpen => "ForcedOpen",
        State::Disabled => "Disabled",
        State::MetricsOnly => "MetricsOnly",
    }
}
