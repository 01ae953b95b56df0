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

mod allow;
mod alone;
mod branches;
mod configuration;
mod counters;
mod counts;
mod created_breakers;
mod deadlines;
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
mod record;
mod registry;
mod replication;
mod reported;
mod restore;
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

use breaker::{State, Time, Transition};

pub use allow::{Allowed, Waits};
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
pub use record::{RecordResult, Run, RunResult, Target};
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
use entry::{Entry, Inner};
use hot::HotBreakers;
use registry::Registry;
use reported::ReportedPermits;
use service_override::ChangedBy;
use shares::Owner;
use store_requests::StoreRequests;
use sync::{AtomicBool, Ordering};
use timers::Timers;

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
}
