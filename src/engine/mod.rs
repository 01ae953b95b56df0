//! Many breakers under one clock.
//!
//! The engine holds the machines, finds them by key, locks one for one pure call, and passes on what changed.
//! It never waits and knows no store. Its parts: the registry (this file), [`Clock`], sealed [`Permit`]s,
//! the heap of deadlines, and the counters that metrics read.
//!
//! # The road of a call
//! Hash the key, read-lock its shard, find the breaker, lock it, let the machine decide, count. When the machine
//! answers with transitions, they go to the [`Outbox`] (the journal) before the breaker is unlocked: nobody can
//! be told of a change, or decided by it, before it is written down.
//!
//! # Order of the locks
//! Shard, then breaker, then (never together) the heap of deadlines, the outbox's own, the histograms' table.

mod clock;
mod counters;
mod durations;
mod entry;
mod permit;
mod sync;
mod timers;

#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, not(shuttle)))]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use breaker::{
    Breaker, Decision, Identity, Judged, Key, KeyError, Numbering, Recorded, Report, Snapshot, State, Ticket,
    Time, Transition, Verdict,
};

use hashbrown::{HashTable, hash_table};

pub use clock::{Clock, ManualClock, SystemClock};
pub use counters::{Counters, Edge, Trouble};
pub use durations::{BOUNDS_SECONDS, HistogramView, OTHER};
pub use entry::{BreakerView, LastTransition};
pub use permit::{Forged, KeyId, Permit, PermitKind, SEALED_BYTES, Seals};

use crate::catalog::Catalog;
use entry::{Entry, Inner};
use sync::{AtomicUsize, Mutex, Ordering, RwLock};

/// Shards of the registry: many more than cores, so that two threads seldom want the same one.
const SHARDS: usize = 64;
/// Deadlines taken from the heap at one time.
const DUE_MAX: usize = 1_024;
/// How often, at the most, a full registry is searched for breakers that may go.
const FORCED_SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Where changes go, in the order they happen to a breaker.
///
/// Called with the breaker locked: it must be quick, and must not call the engine.
pub trait Outbox: Send + Sync + 'static {
    /// Takes a change down for good.
    fn append(&self, event: Event<'_>);
}

/// One change of one breaker.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The breaker.
    pub key: &'a Key,
    /// What changed.
    pub transition: &'a Transition,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a change comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This replica made it.
    Own,
    /// Another replica made it, and this one took it over.
    Remote,
    /// This replica made it while the store was away.
    Alone,
}

/// What an engine is made with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Breakers in all; beyond it a new one is refused.
    pub breakers_max: usize,
    /// Breakers, and services, with metric series of their own; the rest count under [`OTHER`].
    pub own_series_max: usize,
    /// How long a breaker that never left its first state, and that nobody configured, may go unused.
    pub idle_ttl: Duration,
}

/// Why the engine did not take a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The service or the name cannot be.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There are as many breakers as there may be.
    #[error("there are already {max} breakers, which is the limit; the new one was not created")]
    Full {
        /// The limit.
        max: usize,
    },
    /// The permit is another breaker's than the one named beside it.
    #[error("the permit belongs to another breaker than {service}/{name}")]
    OtherBreaker {
        /// The service named.
        service: String,
        /// The name.
        name: String,
    },
    /// The permit is of another epoch than the one given beside it.
    #[error("the permit is of epoch {permit}, not {given}")]
    OtherEpoch {
        /// The permit's.
        permit: u64,
        /// The one given.
        given: u64,
    },
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// What the machine decided.
    pub decision: Decision,
    /// What the call carries, if it may go ahead.
    pub permit: Option<Permit>,
    /// The revision of the thresholds in force.
    pub config_revision: u64,
}

/// What an outcome is reported for: a permit, or a breaker.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The permit, opened.
    pub permit: Option<Permit>,
    /// The service; may be empty beside a permit.
    pub service: &'a str,
    /// The name; empty: the service's own.
    pub name: &'a str,
    /// The epoch the call was decided in, if known.
    pub epoch: Option<u64>,
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether it counted.
    pub recorded: Recorded,
    /// The state after it.
    pub state: State,
}

/// A table of pointers: the id is in the entry, and is its own hash.
type Shard = HashTable<Arc<Entry>>;

/// All breakers of this process.
pub struct Engine {
    shards: Box<[RwLock<Shard>]>,
    /// Breakers there are.
    count: AtomicUsize,
    /// Breakers with series of their own.
    own_series: AtomicUsize,
    limits: Limits,
    /// Replaced, before breakers are told, with every shard still to be visited: whoever creates a breaker
    /// reads it under the shard's lock, so that none is created with what was replaced and then missed.
    catalog: RwLock<Arc<Catalog>>,
    enabled: AtomicBool,
    seals: Seals,
    lineage: u32,
    /// Random for each life of the process.
    issuer: u64,
    numbering: Numbering,
    outbox: Box<dyn Outbox>,
    timers: timers::Timers,
    durations: durations::Durations,
    /// What breakers without series of their own had counted when they were retired.
    retired: Mutex<Counters>,
    last_forced_sweep: Mutex<Time>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("breakers", &self.len()).finish_non_exhaustive()
    }
}

/// What the engine takes from the store it stands on.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The store's seals.
    pub seals: Seals,
    /// The store's lineage.
    pub lineage: u32,
    /// Random for each life of the process.
    pub issuer: u64,
    /// Who numbers epochs.
    pub numbering: Numbering,
}

impl Engine {
    /// An engine with the breakers that the catalog names.
    pub fn new(
        limits: Limits,
        standing: Standing,
        catalog: Arc<Catalog>,
        outbox: Box<dyn Outbox>,
        now: Time,
    ) -> Self {
        let engine = Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            count: AtomicUsize::new(0),
            own_series: AtomicUsize::new(0),
            limits,
            enabled: AtomicBool::new(catalog.enabled()),
            catalog: RwLock::new(Arc::clone(&catalog)),
            seals: standing.seals,
            lineage: standing.lineage,
            issuer: standing.issuer,
            numbering: standing.numbering,
            outbox,
            timers: timers::Timers::default(),
            durations: durations::Durations::new(limits.own_series_max),
            retired: Mutex::default(),
            last_forced_sweep: Mutex::new(Time::ZERO),
        };
        engine.create_configured(&catalog, now);
        engine
    }

    /// May a call go ahead? The breaker is created at its first use.
    ///
    /// # Errors
    /// [`EngineError::Key`], [`EngineError::Full`].
    pub fn allow(&self, service: &str, name: &str, now: Time) -> Result<Allowed, EngineError> {
        let id = self.seals.key_id(service, name);
        self.with_breaker(id, service, name, now, |entry, inner| {
            inner.last_used = now;
            if !self.is_enabled() {
                return self.allow_untracked(entry, inner, now);
            }
            let (decision, transitions) = inner.breaker.allow(now);
            inner.counters.decided(decision.verdict);
            self.settle(entry, inner, &transitions);
            let permit = decision.pass.map(|pass| self.permit(entry, inner, pass, now));
            Allowed { decision, permit, config_revision: inner.breaker.config_revision() }
        })
    }

    /// How a call went. A breaker that is named and not known is created; one that is known only by a permit
    /// cannot be, and nothing is counted.
    ///
    /// # Errors
    /// [`EngineError`], each of them.
    pub fn record(&self, target: Target<'_>, report: &Report<'_>, now: Time) -> Result<Taken, EngineError> {
        let Target { permit, service, name, epoch } = target;
        let Some(permit) = permit else {
            let id = self.seals.key_id(service, name);
            let ticket = Ticket::Bare { epoch };
            return self.with_breaker(id, service, name, now, |entry, inner| {
                self.take(entry, inner, ticket, report, now)
            });
        };
        if !service.is_empty() || !name.is_empty() {
            Key::new(service, name)?;
            if self.seals.key_id(service, name) != permit.key {
                return Err(EngineError::OtherBreaker { service: service.into(), name: name.into() });
            }
        }
        if let Some(given) = epoch
            && given != permit.pass.epoch
        {
            return Err(EngineError::OtherEpoch { permit: permit.pass.epoch, given });
        }
        let record = |entry: &Entry, inner: &mut Inner| {
            if permit.lineage != self.lineage || permit.branch != 0 {
                inner.counters.late += 1;
                return Taken { recorded: Recorded::Late, state: inner.breaker.state() };
            }
            if permit.kind == PermitKind::Untracked {
                return Taken { recorded: Recorded::NotCounted, state: self.shown(inner.breaker.state()) };
            }
            let own = permit.issuer == self.issuer;
            let ticket = if own { Ticket::Own(permit.pass) } else { Ticket::Foreign(permit.pass) };
            self.take(entry, inner, ticket, report, now)
        };
        if service.is_empty() {
            // Retired, or not seen since a restart: there is no row of it, so it is closed at epoch 0.
            let unknown = Taken { recorded: Recorded::NotCounted, state: self.shown(State::Closed) };
            return Ok(self.with_known(permit.key, record).unwrap_or(unknown));
        }
        self.with_breaker(permit.key, service, name, now, record)
    }

    /// Gives a probe back unused.
    pub fn release(&self, permit: &Permit, now: Time) {
        if let Some(probe) = permit.pass.probe {
            self.with_known(permit.key, |_, inner| inner.breaker.release(probe, now));
        }
    }

    /// Puts a breaker in as the store or the journal kept it. An older state than the one it has is nothing.
    ///
    /// A stored breaker has its place even beyond the limit: were it refused, it would be born again closed,
    /// at an epoch that the store has passed.
    pub fn restore(&self, key: &Key, snapshot: &Snapshot, now: Time) {
        let id = self.seals.key_id(key.service(), key.name());
        let Ok(entry) = self.create(id, key.clone(), Room::Always, now) else {
            return;
        };
        let mut inner = entry.inner.lock();
        if snapshot.epoch <= inner.breaker.epoch() {
            return;
        }
        let thresholds = Arc::clone(inner.breaker.thresholds());
        let revision = inner.breaker.config_revision();
        let identity = self.identity(id, now);
        inner.breaker = Breaker::restore(thresholds, revision, identity, snapshot.clone(), now);
        self.arm(&entry, &mut inner);
    }

    /// Judges by another catalog from now on, running breakers included.
    pub fn apply(&self, catalog: Arc<Catalog>, now: Time) {
        *self.catalog.write() = Arc::clone(&catalog);
        self.enabled.store(catalog.enabled(), Ordering::Relaxed);
        self.create_configured(&catalog, now);
        for entry in self.entries() {
            let thresholds = catalog.thresholds(entry.key.service());
            let mut inner = entry.inner.lock();
            let transitions = inner.breaker.set_thresholds(thresholds, catalog.revision(), now);
            self.settle(&entry, &mut inner, &transitions);
            // A deadline can move without a change of state.
            self.arm(&entry, &mut inner);
        }
    }

    /// The catalog in force.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read())
    }

    /// The seals of permits.
    pub fn seals(&self) -> &Seals {
        &self.seals
    }

    /// How many breakers there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets every breaker whose deadline `now` has reached take note of it.
    pub fn tick(&self, now: Time) {
        loop {
            let due = self.timers.due(now, DUE_MAX);
            for id in &due {
                self.with_known(*id, |entry, inner| {
                    inner.armed = Time::MAX;
                    self.look(entry, inner, now);
                });
            }
            if due.len() < DUE_MAX {
                break;
            }
        }
        if self.timers.is_bloated(self.len()) {
            self.timers.clear();
            for entry in self.entries() {
                let mut inner = entry.inner.lock();
                inner.armed = Time::MAX;
                self.arm(&entry, &mut inner);
            }
        }
    }

    /// The earliest deadline of all breakers.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Ends when the earliest deadline has become an earlier one.
    pub fn earlier_deadline(&self) -> impl Future<Output = ()> + '_ {
        self.timers.earlier()
    }

    /// Retires the breakers that never left their first state, that nobody configured, and that nobody has
    /// used for the idle time. Answers how many.
    pub fn sweep(&self, now: Time) -> usize {
        let catalog = self.catalog();
        let mut retired = 0;
        for shard in &self.shards {
            shard.write().retain(|entry| {
                let inner = entry.inner.lock();
                let idle = now.since(inner.last_used) >= self.limits.idle_ttl;
                let configured =
                    *entry.key.name() == *entry.key.service() && catalog.contains(entry.key.service());
                if !idle || configured || !inner.breaker.is_pristine() {
                    return true;
                }
                if entry.own_series {
                    self.own_series.fetch_sub(1, Ordering::Relaxed);
                } else {
                    self.retired.lock().add(&inner.counters);
                }
                retired += 1;
                false
            });
        }
        self.count.fetch_sub(retired, Ordering::Relaxed);
        if retired > 0 {
            self.durations.prune();
        }
        retired
    }

    /// One breaker as it is at `now`; none: there is no such breaker.
    pub fn view(&self, service: &str, name: &str, now: Time) -> Option<BreakerView> {
        self.with_known(self.seals.key_id(service, name), |entry, inner| self.show(entry, inner, now))
    }

    /// The next `limit` breakers after `after` in the order of their keys, of those that `wanted` wants.
    pub fn list(
        &self,
        after: Option<&Key>,
        limit: usize,
        now: Time,
        wanted: impl Fn(&Key, State) -> bool,
    ) -> Vec<BreakerView> {
        let mut found: std::collections::BTreeMap<Key, Arc<Entry>> = std::collections::BTreeMap::new();
        for entry in self.entries() {
            let beyond =
                found.len() == limit && found.last_key_value().is_none_or(|(last, _)| entry.key > *last);
            if beyond || after.is_some_and(|after| entry.key <= *after) {
                continue;
            }
            let state = {
                let mut inner = entry.inner.lock();
                self.look(&entry, &mut inner, now);
                self.shown(inner.breaker.state())
            };
            if wanted(&entry.key, state) {
                found.insert(entry.key.clone(), entry);
                if found.len() > limit {
                    found.pop_last();
                }
            }
        }
        found.values().map(|entry| self.show(entry, &mut entry.inner.lock(), now)).collect()
    }

    /// Shows every breaker, one at a time, in no order.
    pub fn for_each(&self, now: Time, mut visit: impl FnMut(BreakerView)) {
        for entry in self.entries() {
            let view = self.show(&entry, &mut entry.inner.lock(), now);
            visit(view);
        }
    }

    /// What breakers without series of their own had counted when they were retired.
    pub fn retired_counters(&self) -> Counters {
        self.retired.lock().clone()
    }

    /// How long calls took, by service.
    pub fn durations(&self) -> Vec<HistogramView> {
        self.durations.views()
    }

    /// Every breaker at this moment. A handful of locks taken one after the other; nobody waits for long.
    fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::with_capacity(self.len());
        for shard in &self.shards {
            entries.extend(shard.read().iter().cloned());
        }
        entries
    }

    fn shard(&self, id: KeyId) -> &RwLock<Shard> {
        // The map within a shard uses the low bits.
        let index = usize::try_from(id.0 >> 122).unwrap_or(0);
        &self.shards[index % SHARDS]
    }

    fn with_known<T>(&self, id: KeyId, call: impl FnOnce(&Entry, &mut Inner) -> T) -> Option<T> {
        let shard = self.shard(id).read();
        let entry = shard.find(id.hash(), |entry| entry.id == id)?;
        let mut inner = entry.inner.lock();
        Some(call(entry, &mut inner))
    }

    fn with_breaker<T>(
        &self,
        id: KeyId,
        service: &str,
        name: &str,
        now: Time,
        call: impl FnOnce(&Entry, &mut Inner) -> T,
    ) -> Result<T, EngineError> {
        {
            let shard = self.shard(id).read();
            if let Some(entry) = shard.find(id.hash(), |entry| entry.id == id) {
                return Ok(call(entry, &mut entry.inner.lock()));
            }
        }
        let entry = self.create(id, Key::new(service, name)?, Room::IfAny, now)?;
        let mut inner = entry.inner.lock();
        Ok(call(&entry, &mut inner))
    }

    #[cold]
    fn create(&self, id: KeyId, key: Key, room: Room, now: Time) -> Result<Arc<Entry>, EngineError> {
        if room == Room::IfAny && self.len() >= self.limits.breakers_max {
            self.forced_sweep(now);
        }
        let mut shard = self.shard(id).write();
        let vacant = match shard.entry(id.hash(), |entry| entry.id == id, |entry| entry.id.hash()) {
            hash_table::Entry::Occupied(present) => return Ok(Arc::clone(present.get())),
            hash_table::Entry::Vacant(vacant) => vacant,
        };
        let max = match room {
            Room::IfAny => self.limits.breakers_max,
            Room::Always => usize::MAX,
        };
        if !take_place(&self.count, max) {
            return Err(EngineError::Full { max });
        }
        let own_series = take_place(&self.own_series, self.limits.own_series_max);
        let catalog = self.catalog();
        let thresholds = catalog.thresholds(key.service());
        let breaker = Breaker::new(thresholds, catalog.revision(), self.identity(id, now), now);
        let inner = Inner {
            breaker,
            counters: Counters::default(),
            last_used: now,
            armed: Time::MAX,
            last_transition: None,
        };
        let (service, durations) = self.durations.of(key.service());
        let key = key.sharing(service);
        let entry =
            Arc::new(Entry { key, id, created_at: now, own_series, durations, inner: Mutex::new(inner) });
        vacant.insert(Arc::clone(&entry));
        Ok(entry)
    }

    fn identity(&self, id: KeyId, now: Time) -> Identity {
        let key_hash = id.hash();
        Identity {
            key_hash,
            salt: self.issuer ^ key_hash,
            first_number: now.as_micros(),
            numbering: self.numbering,
        }
    }

    fn create_configured(&self, catalog: &Catalog, now: Time) {
        for service in catalog.services() {
            let id = self.seals.key_id(service, "");
            // A registry that is full of others has no place for it; it comes at its first use, or says so then.
            let _ = self.with_breaker(id, service, "", now, |_, _| ());
        }
    }

    /// Looks for room when there is none, but not for every stranger who asks.
    fn forced_sweep(&self, now: Time) {
        let mut last = self.last_forced_sweep.lock();
        if now.since(*last) < FORCED_SWEEP_EVERY {
            return;
        }
        *last = now;
        drop(last);
        self.sweep(now);
    }

    fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// The state to show of a breaker that is in `state`.
    fn shown(&self, state: State) -> State {
        if self.is_enabled() { state } else { State::Disabled }
    }

    /// The answer while breakerd is disabled as a whole: yes, and nothing will be recorded of it.
    fn allow_untracked(&self, entry: &Entry, inner: &Inner, now: Time) -> Allowed {
        let epoch = inner.breaker.epoch();
        let pass = breaker::Pass { epoch, number: 0, probe: None };
        let permit = Permit { kind: PermitKind::Untracked, ..self.permit(entry, inner, pass, now) };
        let decision = Decision {
            verdict: Verdict::Disabled,
            state: State::Disabled,
            epoch,
            pass: Some(pass),
            retry_after: None,
        };
        Allowed { decision, permit: Some(permit), config_revision: permit.config_revision }
    }

    fn permit(&self, entry: &Entry, inner: &Inner, pass: breaker::Pass, now: Time) -> Permit {
        Permit {
            lineage: self.lineage,
            key: entry.id,
            branch: 0,
            kind: PermitKind::Tracked,
            pass,
            issuer: self.issuer,
            issued_at: now,
            config_revision: inner.breaker.config_revision(),
        }
    }

    fn take(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        ticket: Ticket,
        report: &Report<'_>,
        now: Time,
    ) -> Taken {
        inner.last_used = now;
        if !self.is_enabled() {
            return Taken { recorded: Recorded::NotCounted, state: State::Disabled };
        }
        let judged = inner.breaker.thresholds().judge(report);
        let (recorded, transitions) = inner.breaker.record(ticket, report, now);
        inner.counters.recorded(recorded, judged);
        if recorded == Recorded::Recorded
            && judged != Judged::Ignored
            && let Some(took) = report.duration
        {
            entry.durations.observe(took);
        }
        self.settle(entry, inner, &transitions);
        Taken { recorded, state: inner.breaker.state() }
    }

    /// Lets the time that passed take effect.
    fn look(&self, entry: &Entry, inner: &mut Inner, now: Time) {
        let transitions = inner.breaker.poll(now);
        self.settle(entry, inner, &transitions);
        self.arm(entry, inner);
    }

    /// Passes on what changed, before anybody can be told of it. Also arms the timer of half-open's maximal
    /// wait, which begins with the first probe and not with a transition.
    fn settle(&self, entry: &Entry, inner: &mut Inner, transitions: &[Transition]) {
        if transitions.is_empty() && inner.breaker.state() == State::Closed {
            return;
        }
        for transition in transitions {
            self.outbox.append(Event { key: &entry.key, transition, origin: Origin::Own });
            inner.counters.changed(transition);
            if !transition.shadow {
                inner.last_transition = Some(Box::new(transition.into()));
            }
        }
        self.arm(entry, inner);
    }

    fn arm(&self, entry: &Entry, inner: &mut Inner) {
        let deadline = inner.breaker.next_deadline().unwrap_or(Time::MAX);
        if deadline == inner.armed {
            return;
        }
        inner.armed = deadline;
        if deadline < Time::MAX {
            self.timers.arm(deadline, entry.id);
        }
    }

    fn show(&self, entry: &Entry, inner: &mut Inner, now: Time) -> BreakerView {
        self.look(entry, inner, now);
        BreakerView {
            key: entry.key.clone(),
            state: self.shown(inner.breaker.state()),
            view: inner.breaker.view(now),
            thresholds: Arc::clone(inner.breaker.thresholds()),
            config_revision: inner.breaker.config_revision(),
            counters: inner.counters.clone(),
            created_at: entry.created_at,
            last_used: inner.last_used,
            last_transition: inner.last_transition.clone(),
            own_series: entry.own_series,
        }
    }
}

/// Whether a new breaker needs a free place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    IfAny,
    Always,
}

/// Takes one of `max` places; false when all are taken.
fn take_place(taken: &AtomicUsize, max: usize) -> bool {
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < max).then_some(taken + 1))
        .is_ok()
}
