//! Many breakers under one clock.
//!
//! The engine holds the machines, finds them by key, locks one for one pure call, and passes on what changed.
//! It never waits and knows no store. Its parts: the registry, sealed [`Permit`]s, the heap of
//! deadlines, and the counters that metrics read.
//!
//! # The road of a call
//! Hash the key, find the breaker in its shard, lock it, let the machine decide, count. When the machine
//! answers with transitions, they go to the [`TransitionSink`] (the journal) before the breaker is unlocked: nobody can
//! be told of a change, or decided by it, before it is written down.
//!
//! # Order of the locks
//! A breaker is found under its shard's lock, and locked when that is released: what a call does with it may take as long
//! as the journal's disk. Then (never together) the heap of deadlines, the outbox's own, the catalog, the overrides of
//! services, the index, the histograms' table, how the wall clock stands, the counts of those that were retired,
//! the table of reported permits. Where a breaker is made or retired these are
//! taken under the shard's lock too, and so is the index;
//! a breaker is then only tried, never waited for.
//!
//! # Time
//! Each `now` is of the monotonic clock, and so are deadlines. What leaves the engine (views, and transitions on their way
//! to the outbox) says times of the wall clock, and what comes in from the store does too.

mod alone;
mod branches;
mod calls;
mod counters;
mod counts;
mod created_breakers;
mod durations;
mod entry;
mod hot;
mod idle;
mod index;
mod known_rows;
mod limits;
mod operator_actions;
mod overrides;
mod permit;
mod permit_keys;
mod planned_acts;
mod rearm;
mod registry;
mod replication;
mod reported;
mod row_use;
mod sealed_permit;
mod seals;
mod service_override;
mod shares;
mod store_requests;
mod sync;
mod timelines;
mod timers;
mod tombstones;
mod transition_sink;
mod views;
mod wall_clock;

#[cfg(all(test, not(feature = "shuttle")))]
mod panic_tests;
#[cfg(all(test, feature = "shuttle"))]
mod shuttle_tests;
#[cfg(all(test, not(feature = "shuttle")))]
#[expect(clippy::unwrap_used, reason = "in a test, what fails is what the test is for")]
mod tests;

use std::sync::Arc;

use breaker::{Breaker, EnteredBy, Key, Reason, RowVersion, Snapshot, State, Time, Transition};

pub use calls::{Allowed, RecordResult, Run, RunResult, Target, Waits};
pub use counters::{Counters, LocalTotals, OpenedCounters, TransitionKind};
pub use counts::HotCounts;
pub use durations::{BOUNDS_SECONDS, HistogramView, OTHER, RunDurations};
pub use entry::{BreakerView, LastTransition};
pub use idle::IdleWalk;
pub use known_rows::KnownRow;
pub use limits::{EngineError, Limits, StoreIdentity};
pub use operator_actions::{Deleted, OperatorError, OperatorResult, Unknown};
pub use overrides::{Reached, Walk};
pub use permit::{KeyId, PERMIT_LIFE, Permit, PermitKind};
pub use permit_keys::{FIRST_PERMIT_KEY, SealingKey};
pub use planned_acts::{Acted, OperatorAct, PlannedAct};
pub use rearm::Rearm;
pub use replication::{BreakerRequests, ReportedProbe, RequestLimit, StoreAnswer};
pub use row_use::RowWalk;
pub use sealed_permit::{Forged, PermitError, SEALED_BYTES, SealedPermit};
pub use seals::Seals;
pub use service_override::NotedOverride;
pub use shares::{BreakerLimit, Creator};
pub use store_requests::AnswerGroup;
pub use timelines::TakenUp;
pub use transition_sink::{Appended, Event, Origin, Standing, TransitionSink};
pub use views::ListQuery;

use crate::catalog::Catalog;
use branches::Branches;
use entry::{Entry, Inner, Newest};
use hot::HotBreakers;
use registry::{Known, Registry};
use reported::ReportedPermits;
use service_override::ChangedBy;
use shares::{Owner, Room};
use store_requests::StoreRequests;
use sync::{AtomicBool, Ordering};
use timers::Timers;
use tombstones::Tombstone;

/// Deadlines taken from the heap at one time by [`Engine::tick`].
const DUE_MAX: usize = 1_024;

/// All breakers of this process.
pub struct Engine {
    registry: Registry,
    enabled: AtomicBool,
    seals: Seals,
    /// Random for each life of the process.
    issuer: u64,
    /// Permits of other issuers that were reported.
    reported: ReportedPermits,
    sink: Box<dyn TransitionSink>,
    timers: Timers,
    replication: StoreRequests,
    branches: Branches,
    /// Breakers that fail, if there are other replicas.
    hot: HotBreakers,
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
        identity: StoreIdentity,
        catalog: &Arc<Catalog>,
        sink: Box<dyn TransitionSink>,
        now: Time,
    ) -> Self {
        let engine = Self {
            enabled: AtomicBool::new(catalog.enabled()),
            registry: Registry::new(limits, &identity, Arc::clone(catalog)),
            seals: identity.seals,
            issuer: identity.issuer,
            reported: ReportedPermits::default(),
            sink,
            timers: Timers::default(),
            replication: StoreRequests::default(),
            branches: Branches::default(),
            hot: HotBreakers::default(),
        };
        engine.create_configured(&Catalog::default(), catalog, now);
        engine
    }

    /// Puts a breaker in as the store or the journal kept it. An older state than the one it has is nothing.
    ///
    /// A stored breaker has its place even beyond the limit: were it refused, it would be born again closed,
    /// at an epoch that the store has passed. Of one that has been closed for the idle time only its epoch is kept, as
    /// if it had been retired: it is there again at its next use; likewise of one that was deleted, or about to be retired.
    /// `lsn` is the log sequence number of its state in the journal; 0: the store has it. `entered_by` is shown as its newest transition.
    ///
    /// One that a crash left behind the override of its service goes on as it was until a [`Walk`] reaches it. It must
    /// not take the override up at the first look: one page of a list looks at a thousand, a scrape at all, and the
    /// outbox has only so many places.
    pub fn restore(
        &self,
        key: &Key,
        snapshot: &Snapshot,
        entered_by: Option<EnteredBy>,
        lsn: u64,
        now: Time,
    ) {
        let id = self.seals.key_id(key.service(), key.name());
        let deleted = snapshot.state == State::Closed
            && matches!(entered_by, Some(EnteredBy { reason: Reason::Deleted | Reason::Idle, .. }));
        let closed_at = self.registry.wall.offset().to_monotonic(snapshot.entered_at);
        let row = (snapshot, RowVersion::default());
        if lsn == 0 && self.bury(id, key, row, closed_at, deleted, now) {
            return;
        }
        // The outbox keeps for a while what the store has already.
        if matches!(self.registry.known(id), Some(Known::Retired(buried)) if snapshot.epoch <= buried.epoch) {
            return;
        }
        let owner = self.owner(key.service(), Creator::Server);
        let Ok(entry) = self.registry.create(id, key.clone(), owner, Room::Always, now) else {
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
        inner.deleted = deleted;
        // Of a closed breaker nobody asks why; there are a million of them.
        let last_transition = entered_by
            .filter(|_| snapshot.state != State::Closed)
            .map(|entered_by| LastTransition::restored(snapshot, entered_by, self.registry.wall.offset()));
        inner.newest =
            (lsn > 0 || last_transition.is_some()).then(|| Box::new(Newest { lsn, last_transition }));
        self.registry.reindex(&entry, &mut inner);
        self.arm(&entry, &mut inner);
        drop(inner);
        if deleted {
            // The journal has it, which is enough: nothing but its epoch is left to keep here.
            self.registry.retire(&entry, u64::MAX, now);
        }
    }

    /// Keeps only the epoch of a stored breaker that is closed and idle, or was deleted.
    fn bury(
        &self,
        id: KeyId,
        key: &Key,
        (snapshot, version): (&Snapshot, RowVersion),
        closed_at: Time,
        deleted: bool,
        now: Time,
    ) -> bool {
        let Snapshot { epoch, state, .. } = *snapshot;
        let configured = self.registry.is_configured(key);
        let idle = now.since(closed_at) >= self.registry.idle_ttl();
        let owner = self.owner(key.service(), Creator::Server);
        // A permit may have been given until a moment ago.
        state == State::Closed
            && epoch > 0
            && (deleted || (idle && !configured))
            && self.registry.bury(Tombstone::new(id, (epoch, version), owner, (closed_at, now)))
    }

    /// Whether the store may let go of the row of a breaker that is closed and has no history: nobody has used it for as
    /// long as a permit counts.
    pub fn may_forget(&self, key: &Key, now: Time) -> bool {
        match self.registry.known(self.seals.key_id(key.service(), key.name())) {
            Some(Known::Live(_)) => false,
            Some(Known::Retired(tombstone)) => now.since(tombstone.last_used()) >= PERMIT_LIFE,
            None => true,
        }
    }

    /// Forgets a breaker that was retired at `epoch`, now that the store has let go of its row.
    pub fn forget(&self, key: &Key, epoch: u64) {
        self.registry.forget(self.seals.key_id(key.service(), key.name()), epoch);
    }

    /// Judges by another catalog from now on, running breakers included. For one caller at a time.
    pub fn apply(&self, catalog: &Arc<Catalog>, now: Time) {
        let before = self.registry.catalog();
        self.registry.set_catalog(Arc::clone(catalog));
        let was_enabled = self.enabled.swap(catalog.enabled(), Ordering::Relaxed);
        self.create_configured(&before, catalog, now);
        let changed = catalog.changed_since(&before);
        for entry in self.registry.entries_of(changed) {
            let service = entry.key.service();
            let (thresholds, revision) = (catalog.thresholds(service), catalog.revision_of(service));
            let Some(mut inner) = entry.lock() else { continue };
            self.sync_wall(&mut inner);
            let deadline = inner.breaker.next_deadline();
            let transitions = inner.breaker.set_thresholds(thresholds, revision, now);
            self.settle(&entry, &mut inner, &transitions);
            // A deadline can move without a change of state.
            if transitions.is_empty() && inner.breaker.next_deadline() != deadline {
                self.sink.moved(&entry.key);
            }
            self.arm(&entry, &mut inner);
        }
        self.retire_unconfigured(&before, catalog, now);
        if was_enabled != catalog.enabled() {
            self.sink.all_changed();
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

    /// Random for each life of the process.
    pub fn issuer(&self) -> u64 {
        self.issuer
    }

    /// How many breakers there are.
    pub fn len(&self) -> usize {
        self.registry.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most breakers that there may be.
    pub fn breakers_max(&self) -> usize {
        self.registry.breakers_max()
    }

    /// How many breakers were retired of which the epoch is still known.
    pub fn retired(&self) -> usize {
        self.registry.retired()
    }

    /// Lets every breaker whose deadline `now` has reached take note of it. Each writes to the outbox: who has other
    /// things to do takes [`Engine::tick_some`].
    pub fn tick(&self, now: Time) {
        while self.tick_some(DUE_MAX, now) {}
    }

    /// Lets at most `most` of the breakers whose deadline `now` has reached take note of it. False: those were the last.
    pub fn tick_some(&self, most: usize, now: Time) -> bool {
        let due = self.timers.due(now, most);
        for (deadline, id) in &due {
            self.registry.with_known(*id, |entry, inner| {
                // A stale one: the breaker has another deadline by now, which is in the heap too, or none.
                if inner.armed == *deadline {
                    inner.armed = Time::MAX;
                    self.look(entry, inner, now);
                }
            });
        }
        if due.len() == most {
            return true;
        }
        if self.timers.is_bloated(self.len()) {
            self.timers.clear();
            for entry in self.registry.entries() {
                if let Some(mut inner) = entry.lock() {
                    inner.armed = Time::MAX;
                    self.arm(&entry, &mut inner);
                }
            }
        }
        false
    }

    /// The earliest deadline of all breakers.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Ends when the earliest deadline has become an earlier one.
    pub fn earlier_deadline(&self) -> impl Future<Output = ()> + '_ {
        self.timers.earlier()
    }

    /// Retires the breakers that are closed, that nobody configured, and that nobody has used for the idle time; of those
    /// that ever changed their state only the ones that the store has as they are: `stored_up_to` is the place in the
    /// outbox up to which it has everything. Answers how many.
    ///
    /// Of one that ever changed its state a tombstone is kept: it goes on from its epoch when it is used again. There are
    /// no more tombstones than there may be breakers; beyond that such a breaker stays.
    pub fn sweep(&self, stored_up_to: u64, now: Time) -> usize {
        self.registry.sweep(stored_up_to, now)
    }

    /// Ends when there is little room left for new breakers, so that a [`Engine::sweep`] out of turn is worth while. For
    /// one task; it is not to answer each of these with a sweep.
    pub async fn sweep_wanted(&self) {
        self.registry.sweep_wanted().await;
    }

    fn create_configured(&self, before: &Catalog, catalog: &Catalog, now: Time) {
        for service in catalog.services().filter(|service| !before.contains(service)) {
            let id = self.seals.key_id(service, "");
            // A registry that is full of others has no place for it; it comes at its first use, or says so then.
            let owner = || self.owner(service, Creator::Server);
            let _ = self.registry.with_breaker(id, service, "", owner, now, |_, _| ());
        }
    }

    /// Breakers that were made because their service was configured, and were never used, go with the configuration: a name
    /// that was a typo is not known any more once its settings are unset. One that is busy at this moment stays until the
    /// next sweep, if it was not used.
    fn retire_unconfigured(&self, before: &Catalog, catalog: &Catalog, now: Time) {
        for service in before.services().filter(|service| !catalog.contains(service)) {
            if let Some(Known::Live(entry)) = self.registry.known(self.seals.key_id(service, "")) {
                // Nothing of it is on its way to the store: it never changed its state.
                self.registry.retire(&entry, 0, now);
            }
        }
    }

    /// Whom a new breaker of `service` counts for.
    fn owner(&self, service: &str, creator: Creator<'_>) -> Owner {
        Owner::new(&self.seals, service, creator)
    }

    fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// The state to show of a breaker that is in `state`.
    fn shown(&self, state: State) -> State {
        if self.is_enabled() { state } else { State::Disabled }
    }

    /// Lets the time that passed take effect.
    fn look(&self, entry: &Entry, inner: &mut Inner, now: Time) {
        if inner.retired {
            return;
        }
        self.sync_wall(inner);
        let transitions = inner.breaker.poll(now);
        self.settle(entry, inner, &transitions);
        self.arm(entry, inner);
    }

    /// Passes on what changed, before anybody can be told of it. Also arms the timer of half-open's maximal
    /// wait, which begins with the first probe and not with a transition.
    fn settle(&self, entry: &Entry, inner: &mut Inner, transitions: &[Transition]) {
        self.settle_from(ChangedBy::Breaker, entry, inner, transitions);
    }

    fn settle_from(&self, by: ChangedBy, entry: &Entry, inner: &mut Inner, transitions: &[Transition]) {
        if inner.breaker.is_unlisted() {
            self.list_hot(entry, inner);
        }
        if transitions.is_empty() && inner.breaker.state() == State::Closed {
            return;
        }
        if std::mem::take(&mut inner.birth_unannounced) && transitions.is_empty() {
            self.sink.moved(&entry.key);
        }
        // What it decides alone never makes it leave its branch, and what others decide does.
        let is_alone = inner.breaker.is_on_branch();
        for transition in transitions {
            let Appended { lsn, id } = self.sink.append(Event {
                key: &entry.key,
                transition,
                origin: if is_alone { Origin::Alone } else { Origin::Own },
                numbering: self.registry.numbering(),
                service_override: by
                    .brings_service_override(transition)
                    .then(|| inner.breaker.service_revision()),
                timeline: self.is_replicated().then(|| self.timeline_of(&inner.breaker)),
            });
            if let Some(id) = id.filter(|_| !transition.shadow && !is_alone) {
                inner.breaker.proposed_as(id);
            }
            // What the store numbers is counted once it stands ([`Engine::note_won`]).
            if transition.shadow || !self.is_replicated() {
                inner.counters.changed(transition);
            }
            let newest = inner.newest.get_or_insert_default();
            newest.lsn = newest.lsn.max(lsn);
            // One that is not shown yet is, once the store has it.
            if !transition.shadow && !is_alone && inner.breaker.state() == transition.to() {
                newest.last_transition = Some(LastTransition::new(transition, inner.breaker.wall_offset()));
            }
        }
        if is_alone {
            self.note_branch(entry, inner);
        }
        self.registry.reindex(entry, inner);
        self.arm(entry, inner);
        self.note_requests(entry, inner);
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
}
