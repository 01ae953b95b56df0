//! Many breakers under one clock.
//!
//! The engine holds the machines, finds them by key, locks one for one pure call, and passes on what changed.
//! It never waits and knows no store. Its parts: the registry, [`Clock`], sealed [`Permit`]s, the heap of
//! deadlines, and the counters that metrics read.
//!
//! # The road of a call
//! Hash the key, read-lock its shard, find the breaker, lock it, let the machine decide, count. When the machine
//! answers with transitions, they go to the [`Outbox`] (the journal) before the breaker is unlocked: nobody can
//! be told of a change, or decided by it, before it is written down.
//!
//! # Order of the locks
//! Shard, then breaker, then (never together) the heap of deadlines, the outbox's own, the histograms' table.

mod by_hand;
mod calls;
mod clock;
mod counters;
mod durations;
mod entry;
mod outbox;
mod overrides;
mod permit;
mod registry;
mod sync;
mod timers;

#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, not(shuttle)))]
#[expect(clippy::unwrap_used, reason = "in a test, what fails is what the test is for")]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use breaker::{
    Breaker, Decision, Judged, Key, Numbering, Pass, Recorded, Report, Snapshot, State, Ticket, Time,
    Transition, Verdict,
};

pub use by_hand::{ByHand, ByHandError};
pub use calls::{Allowed, EngineError, Taken, Target};
pub use clock::{Clock, ManualClock, SystemClock};
pub use counters::{Counters, Edge, Trouble};
pub use durations::{BOUNDS_SECONDS, HistogramView, OTHER};
pub use entry::{BreakerView, LastTransition};
pub use outbox::{Event, Origin, Outbox};
pub use overrides::Walk;
pub use permit::{Forged, KeyId, Permit, PermitKind, SEALED_BYTES, Seals};

use crate::catalog::Catalog;
use entry::{Entry, Inner};
use registry::{Registry, Room};
use sync::Ordering;
use timers::Timers;

/// Deadlines taken from the heap at one time.
const DUE_MAX: usize = 1_024;

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

/// All breakers of this process.
pub struct Engine {
    registry: Registry,
    enabled: AtomicBool,
    seals: Seals,
    lineage: u32,
    /// Random for each life of the process.
    issuer: u64,
    outbox: Box<dyn Outbox>,
    timers: Timers,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("breakers", &self.len()).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with the breakers that the catalog names.
    pub fn new(
        limits: Limits,
        standing: Standing,
        catalog: &Arc<Catalog>,
        outbox: Box<dyn Outbox>,
        now: Time,
    ) -> Self {
        let engine = Self {
            enabled: AtomicBool::new(catalog.enabled()),
            registry: Registry::new(limits, standing.issuer, standing.numbering, Arc::clone(catalog)),
            seals: standing.seals,
            lineage: standing.lineage,
            issuer: standing.issuer,
            outbox,
            timers: Timers::default(),
        };
        engine.create_configured(catalog, now);
        engine
    }

    /// May a call go ahead? The breaker is created at its first use.
    ///
    /// # Errors
    /// [`EngineError::Key`], [`EngineError::Full`].
    pub fn allow(&self, service: &str, name: &str, now: Time) -> Result<Allowed, EngineError> {
        let id = self.seals.key_id(service, name);
        self.registry.with_breaker(id, service, name, now, |entry, inner| {
            inner.last_used = now;
            if !self.is_enabled() {
                return self.allow_untracked(entry, inner, now);
            }
            let (decision, transitions) = inner.breaker.allow(now);
            inner.counters.decided(&decision);
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
            return self.registry.with_breaker(id, service, name, now, |entry, inner| {
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
            return Ok(self.registry.with_known(permit.key, record).unwrap_or(unknown));
        }
        self.registry.with_breaker(permit.key, service, name, now, record)
    }

    /// Gives a probe back unused.
    pub fn release(&self, permit: &Permit, now: Time) {
        if let Some(probe) = permit.pass.probe {
            self.registry.with_known(permit.key, |_, inner| inner.breaker.release(probe, now));
        }
    }

    /// Puts a breaker in as the store or the journal kept it. An older state than the one it has is nothing.
    ///
    /// A stored breaker has its place even beyond the limit: were it refused, it would be born again closed,
    /// at an epoch that the store has passed.
    ///
    /// One that a crash left behind the override of its service goes on as it was until a [`Walk`] reaches it. It must
    /// not take the override up at the first look: one page of a list looks at a thousand, a scrape at all, and the
    /// outbox has only so many places.
    pub fn restore(&self, key: &Key, snapshot: &Snapshot, now: Time) {
        let id = self.seals.key_id(key.service(), key.name());
        let Ok(entry) = self.registry.create(id, key.clone(), Room::Always, now) else {
            return;
        };
        let mut inner = entry.inner.lock();
        if snapshot.epoch <= inner.breaker.epoch() {
            return;
        }
        let thresholds = Arc::clone(inner.breaker.thresholds());
        let revision = inner.breaker.config_revision();
        let identity = self.registry.identity(id, now);
        inner.breaker = Breaker::restore(thresholds, revision, identity, snapshot.clone(), now);
        if snapshot.set_by.is_some() {
            inner.breaker.inherit(self.registry.service_override(key.service()), now);
        }
        self.arm(&entry, &mut inner);
    }

    /// Judges by another catalog from now on, running breakers included.
    pub fn apply(&self, catalog: &Arc<Catalog>, now: Time) {
        self.registry.set_catalog(Arc::clone(catalog));
        let was_enabled = self.enabled.swap(catalog.enabled(), Ordering::Relaxed);
        self.create_configured(catalog, now);
        for entry in self.registry.entries() {
            let thresholds = catalog.thresholds(entry.key.service());
            let mut inner = entry.inner.lock();
            let deadline = inner.breaker.next_deadline();
            let transitions = inner.breaker.set_thresholds(thresholds, catalog.revision(), now);
            self.settle(&entry, &mut inner, &transitions);
            // A deadline can move without a change of state.
            if transitions.is_empty() && inner.breaker.next_deadline() != deadline {
                self.outbox.moved(&entry.key);
            }
            self.arm(&entry, &mut inner);
        }
        if was_enabled != catalog.enabled() {
            self.outbox.all_changed();
        }
    }

    /// The catalog in force.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.registry.catalog()
    }

    /// The seals of permits.
    pub fn seals(&self) -> &Seals {
        &self.seals
    }

    /// How many breakers there are.
    pub fn len(&self) -> usize {
        self.registry.len()
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
                self.registry.with_known(*id, |entry, inner| {
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
            for entry in self.registry.entries() {
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
        self.registry.sweep(now)
    }

    /// One breaker as it is at `now`; none: there is no such breaker.
    pub fn view(&self, service: &str, name: &str, now: Time) -> Option<BreakerView> {
        self.registry
            .with_known(self.seals.key_id(service, name), |entry, inner| self.show(entry, inner, now))
    }

    /// The next `limit` breakers after `after` in the order of their keys, of those that `wanted` wants.
    pub fn list(
        &self,
        after: Option<&Key>,
        limit: usize,
        now: Time,
        wanted: impl Fn(&Key, State) -> bool,
    ) -> Vec<BreakerView> {
        let mut found: BTreeMap<Key, Arc<Entry>> = BTreeMap::new();
        for entry in self.registry.entries() {
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
        for entry in self.registry.entries() {
            let view = self.show(&entry, &mut entry.inner.lock(), now);
            visit(view);
        }
    }

    /// What breakers without series of their own had counted when they were retired.
    pub fn retired_counters(&self) -> Counters {
        self.registry.retired_counters()
    }

    /// How long calls took, by service.
    pub fn durations(&self) -> Vec<HistogramView> {
        self.registry.durations()
    }

    fn create_configured(&self, catalog: &Catalog, now: Time) {
        for service in catalog.services() {
            let id = self.seals.key_id(service, "");
            // A registry that is full of others has no place for it; it comes at its first use, or says so then.
            let _ = self.registry.with_breaker(id, service, "", now, |_, _| ());
        }
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
        let pass = Pass { epoch, number: 0, probe: None };
        let permit = Permit { kind: PermitKind::Untracked, ..self.permit(entry, inner, pass, now) };
        let decision = Decision {
            verdict: Verdict::Disabled,
            state: State::Disabled,
            epoch,
            pass: Some(pass),
            retry_after: None,
            would_deny: false,
        };
        Allowed { decision, permit: Some(permit), config_revision: permit.config_revision }
    }

    fn permit(&self, entry: &Entry, inner: &Inner, pass: Pass, now: Time) -> Permit {
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
        if std::mem::take(&mut inner.untold) && transitions.is_empty() {
            self.outbox.moved(&entry.key);
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
