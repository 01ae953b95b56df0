//! What callers were told, held against what the store has in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, ProbeSlot, Recorded, State, Time};
use parking_lot::Mutex;

use super::acts::{Act, Acts};
use super::alone::Branches;
use super::executor::{BEGINNING, Executor};
use super::going_back::{GoingBack, Trip};
use super::service_checks::Durations;
use crate::engine::{Allowed, Permit, RecordResult};
use crate::store::{MemoryStore, StoredBreaker, StoredTransition, TransitionQuery};

/// The service of every breaker here.
pub(super) const SERVICE: &str = "db";

/// How long OPEN waits.
pub(super) const OPEN_WAIT: Duration = Duration::from_secs(2);

/// Notes what callers are told in a run, and checks it.
pub(super) struct Checker {
    executor: Executor,
    pub(super) store: Arc<MemoryStore>,
    /// P.
    permitted: u32,
    /// Processes end as they should.
    pub(super) is_reliable: bool,
    verbose: bool,
    pub(super) inner: Mutex<Inner>,
}

#[derive(Default)]
pub(super) struct Inner {
    story: String,
    /// By breaker, the timeline that its epoch is of, epoch and nonce.
    probes: BTreeMap<(String, u32, u64, u64), Lease>,
    /// By replica and breaker: the timeline and the epoch that it showed last in its present life.
    shown: BTreeMap<usize, BTreeMap<String, (u32, u64)>>,
    /// By breaker: states that callers were told of, by timeline, if that is known, and epoch.
    pub(super) told: BTreeMap<String, BTreeSet<(Option<u32>, u64, State)>>,
    pub(super) going_back: GoingBack,
    /// By breaker, the histories of those of its rows that were let go of.
    pub(super) let_go: BTreeMap<String, Vec<Vec<StoredTransition>>>,
    /// By replica and breaker, how many of them it has gone back behind.
    gone_back: BTreeMap<(usize, String), usize>,
    pub(super) branches: Branches,
    pub(super) acts: Acts,
    /// The overrides of the service that operators set, or tried to.
    pub(super) service_overrides: Durations,
    /// The replicas that said of a transition of a breaker, into this state at this epoch, that it stands.
    pub(super) stood: BTreeMap<(String, State, u64), BTreeSet<usize>>,
    /// Of which transitions a life of a replica said so.
    logged: BTreeSet<((usize, u64), String, State, u64)>,
    problems: Vec<String>,
    pub(super) calls: u64,
    pub(super) probes_given: u64,
    pub(super) probes_recorded: u64,
    pub(super) not_counted: u64,
    pub(super) started_alone: u64,
}

/// When a call was decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided {
    /// The timeline that its breaker was in.
    pub(super) timeline: u32,
    pub(super) at: Time,
    /// By the clock of the replica.
    pub(super) by_clock: Time,
}

/// Until when a probe counts.
#[derive(Debug, Clone, Copy)]
struct Lease {
    /// As its caller sees it, which was told so by the replica.
    of_caller: Time,
    /// As the store sees it, which decides; none: its slot was another's already.
    of_store: Option<Time>,
}

impl Checker {
    pub(super) fn new(
        executor: Executor,
        store: Arc<MemoryStore>,
        (permitted, is_reliable): (u32, bool),
        verbose: bool,
    ) -> Self {
        Self { executor, store, permitted, is_reliable, verbose, inner: Mutex::default() }
    }

    /// A line of the story, if it is to be told.
    pub(super) fn log(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            let at = self.executor.now().since(BEGINNING).as_secs_f64();
            let line = line();
            let _ = writeln!(self.inner.lock().story, "{at:10.6} {line}");
        }
    }

    pub(super) fn story(&self) -> String {
        self.inner.lock().story.clone()
    }

    pub(super) fn violated(&self, problem: String) {
        self.log(|| format!("!! {problem}"));
        self.inner.lock().problems.push(problem);
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.inner.lock().problems.clone()
    }

    /// A caller was told whether it may go ahead, and when that was decided: leases count from there.
    pub(super) fn allowed(
        &self,
        replica: usize,
        name: &str,
        allowed: &Allowed,
        Decided { timeline, at: decided_at, by_clock }: Decided,
    ) {
        let decision = &allowed.decision;
        self.inner.lock().calls += 1;
        self.told(name, Some(timeline), decision.epoch, decision.state);
        let Some(pass) = decision.pass else { return };
        if let Some(permit) = allowed.permit.filter(|permit| permit.branch != 0) {
            self.log(|| {
                format!("r{replica} lets {name} pass alone, {} of epoch {}", decision.state, pass.epoch)
            });
            let terms = (by_clock, decision.lease.unwrap_or_default(), self.permitted);
            let problem = self.inner.lock().branches.given(replica, name, &permit, terms);
            if let Some(problem) = problem {
                self.violated(problem);
            }
            return;
        }
        let Some(probe) = pass.probe else { return };
        self.log(|| format!("r{replica} gives {name} slot {} of epoch {}", probe.slot, pass.epoch));
        let now = self.executor.now();
        let key = Key::new(SERVICE, name).expect("a key");
        // The store may have gone back, and have another epoch of that number.
        let made_in = self.made_in(name, pass.epoch).filter(|made_in| *made_in <= timeline);
        let slots = made_in.map_or_else(Vec::new, |_| self.store.probe_slots(&key, pass.epoch));
        let timeline = made_in.unwrap_or(timeline);
        let of_store = slots.iter().find_map(|slot| match slot {
            ProbeSlot::Out { nonce, lease_until } if *nonce == probe.nonce => Some(*lease_until),
            _ => None,
        });
        let completed: BTreeSet<u64> = slots
            .into_iter()
            .filter_map(|slot| match slot {
                ProbeSlot::Completed { nonce, .. } => Some(nonce),
                ProbeSlot::Free | ProbeSlot::Out { .. } => None,
            })
            .collect();
        let out = {
            let mut inner = self.inner.lock();
            inner.probes_given += 1;
            let of_caller = decided_at + decision.lease.unwrap_or_default();
            inner
                .probes
                .insert((name.to_owned(), timeline, pass.epoch, probe.nonce), Lease { of_caller, of_store });
            let of = |nonce| (name.to_owned(), timeline, pass.epoch, nonce);
            let of_epoch = of(0)..=of(u64::MAX);
            let unexpired = inner
                .probes
                .range(of_epoch)
                .filter(|((.., nonce), lease)| now < lease.of_caller && !completed.contains(nonce));
            unexpired.count()
        };
        let is_forgiven = self.inner.lock().going_back.may_lose_claims(timeline);
        if out + completed.len() > self.permitted as usize && !is_forgiven {
            self.violated(format!(
                "{name} epoch {}: {out} probes out and {} completed, of {}",
                pass.epoch,
                completed.len(),
                self.permitted
            ));
        }
    }

    /// A caller was told what became of its outcome.
    pub(super) fn recorded(
        &self,
        replica: usize,
        name: &str,
        permit: &Permit,
        recorded: &RecordResult,
        reported_at: Time,
    ) {
        self.told(name, None, recorded.epoch, recorded.state);
        if permit.branch != 0 {
            self.log(|| format!("r{replica} takes {name}, allowed alone: {}", recorded.recorded));
            let problem = self.inner.lock().branches.recorded(replica, name, permit, recorded.recorded);
            if let Some(problem) = problem {
                self.violated(problem);
            }
            return;
        }
        self.inner.lock().not_counted += u64::from(recorded.recorded == Recorded::NotCounted);
        if let Some(probe) = permit.pass.probe {
            let lease = {
                let mut inner = self.inner.lock();
                inner.probes_recorded += 1;
                let is_it = |((of, _, epoch, nonce), _): &(&(String, u32, u64, u64), &Lease)| {
                    of == name && *epoch == permit.pass.epoch && *nonce == probe.nonce
                };
                inner.probes.iter().find(is_it).map(|(_, lease)| *lease)
            };
            // A backup was restored in its timeline, and until the next poll has noticed its epoch may be another state (seed 5475872).
            let is_of_backup = self.inner.lock().going_back.may_lose_claims(permit.timeline);
            if recorded.recorded == Recorded::NotCounted && !is_of_backup {
                self.violated(format!(
                    "{name}: the outcome of a probe of epoch {} is lost",
                    permit.pass.epoch
                ));
            }
            // A replica that does not wait for the store takes the outcome in, and it may yet prove late: it counts once the
            // store has it.
            let key = Key::new(SERVICE, name).expect("a key");
            let slots = self.store.probe_slots(&key, permit.pass.epoch);
            let counts = slots
                .iter()
                .any(|slot| matches!(slot, ProbeSlot::Completed { nonce, .. } if *nonce == probe.nonce));
            let until = lease.and_then(|lease| lease.of_store);
            let is_late = until.is_none_or(|until| until < reported_at);
            if recorded.recorded == Recorded::Recorded && counts && is_late {
                self.violated(format!("{name}: slot {} counts after its lease", probe.slot));
            }
            self.log(|| {
                let RecordResult { recorded, state, epoch, .. } = recorded;
                format!("r{replica} takes {name} slot {}: {recorded}, {state} {epoch}", probe.slot)
            });
        }
    }

    /// A replica's process begins anew.
    pub(super) fn begins(&self, replica: usize) {
        let now = self.now();
        let mut inner = self.inner.lock();
        inner.shown.remove(&replica);
        inner.acts.dies(replica, now);
        inner.going_back.begins(replica);
    }

    /// A replica trips a breaker, and tells callers.
    pub(super) fn tripped(&self, trip: Trip) {
        self.log(|| format!("r{} trips {} as {:?}", trip.replica, trip.name, trip.id));
        self.inner.lock().going_back.tripped(trip);
    }

    /// A replica lets a call pass, at this moment, in CLOSED: none of its trips holds that no store has answered.
    pub(super) fn passed_closed(&self, replica: usize, name: &str, timeline: u32) {
        let held = self.inner.lock().going_back.held((replica, name), (timeline, self.now()), &self.store);
        for id in held {
            self.violated(format!("r{replica} lets calls of {name} pass, which it tripped before: {id:?}"));
        }
    }

    pub(super) fn now(&self) -> Time {
        self.executor.now()
    }

    /// A replica begins an operator's act.
    pub(super) fn act_begins(&self, actor: &str, act: Act) {
        self.inner.lock().acts.begins(actor, act);
    }

    /// An operator was told what became of an act.
    pub(super) fn act_ended(&self, actor: &str, is_done: bool) {
        let now = self.now();
        if is_done {
            self.inner.lock().acts.ended(actor, now);
        }
    }

    /// A replica lets a call pass, at this moment: it holds no FORCED_OPEN that the store does not have yet.
    pub(super) fn passed(&self, replica: usize, name: &str) {
        let now = self.now();
        let held: Vec<_> = {
            let inner = self.inner.lock();
            inner.acts.held(replica, name, now).map(str::to_owned).collect()
        };
        for actor in held {
            let is_by = |row: &StoredTransition| row.attribution.as_ref().is_some_and(|by| by.actor == actor);
            if self.store.find_transition(is_by, |_| ()).is_none() {
                self.violated(format!(
                    "r{replica} lets calls of {name} pass under the emergency stop of {actor}"
                ));
            }
        }
    }

    pub(super) fn history(&self) -> Vec<StoredTransition> {
        let query = TransitionQuery { oldest_first: true, limit: u32::MAX, ..TransitionQuery::default() };
        self.store.history(&query)
    }

    /// A replica showed an epoch, at this moment.
    pub(super) fn shown(&self, replica: usize, name: &str, epoch: (u32, u64)) {
        let before = {
            let mut inner = self.inner.lock();
            let shown = inner.shown.entry(replica).or_default();
            match shown.get_mut(name) {
                Some(shown) => Some(std::mem::replace(shown, epoch)),
                None => shown.insert(name.to_owned(), epoch),
            }
        };
        if before != Some(epoch) {
            self.log(|| format!("r{replica} shows {name} at epoch {} of timeline {}", epoch.1, epoch.0));
            self.inner.lock().going_back.knows((replica, name), epoch);
        }
        if before.is_some_and(|before| before > epoch) {
            {
                // Once for each time that its row was let go of.
                let mut inner = self.inner.lock();
                // A backup was restored in this timeline of the server: rows of it are taken until the next poll has noticed (seed 1538177).
                let is_of_backup = |(timeline, _): (u32, u64)| {
                    timeline == epoch.0 && inner.going_back.may_lose_claims(timeline)
                };
                if before.is_some_and(is_of_backup) {
                    return;
                }
                let let_go = inner.let_go.get(name).map_or(0, Vec::len);
                let gone_back = inner.gone_back.entry((replica, name.to_owned())).or_default();
                if std::mem::replace(gone_back, let_go) < let_go {
                    return;
                }
            }
            self.violated(format!("r{replica} goes back with {name}: from epoch {before:?} to {epoch:?}"));
        }
    }

    /// A replica has forgotten breakers that it had not used for long.
    pub(super) fn forgot(&self, replica: usize, is_forgotten: impl Fn(&str) -> bool) {
        self.log(|| format!("r{replica} forgets breakers"));
        if let Some(shown) = self.inner.lock().shown.get_mut(&replica) {
            shown.retain(|name, _| !is_forgotten(name));
        }
    }

    pub(super) fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// The row of a breaker was let go of, which had this history.
    pub(super) fn let_go(&self, key: &Key, history: Vec<StoredTransition>) {
        self.log(|| format!("the row of {key} goes, after {} transitions", history.len()));
        let name = key.name().to_string();
        let mut inner = self.inner.lock();
        inner.probes.retain(|(of, ..), _| *of != name);
        inner.let_go.entry(name).or_default().push(history);
    }

    /// A life of a replica says of one of its transitions that it stands: this is what it logs and counts, once.
    pub(super) fn stands(&self, (replica, life): (usize, u64), name: &str, (to, epoch): (State, u64)) {
        let is_new = {
            let mut inner = self.inner.lock();
            inner.stood.entry((name.to_owned(), to, epoch)).or_default().insert(replica);
            // Epochs come again in another timeline, and after a row was let go of.
            inner.logged.insert(((replica, life), name.to_owned(), to, epoch))
                || inner.going_back.has_gone_back()
                || !inner.let_go.is_empty()
        };
        if !is_new {
            self.violated(format!("r{replica} logs {to} of epoch {epoch} of {name} once more"));
        }
    }

    /// An operator is to set an override of the service, for so long.
    pub(super) fn service_override(&self, actor: &str, ttl: Option<Duration>) {
        self.inner.lock().service_overrides.insert(actor.to_owned(), ttl);
    }

    /// Somebody was told that a breaker is in this state.
    pub(super) fn told(&self, name: &str, timeline: Option<u32>, epoch: u64, state: State) {
        let mut inner = self.inner.lock();
        let told = (timeline, epoch, state);
        match inner.told.get_mut(name) {
            Some(of_name) => of_name.insert(told),
            None => inner.told.entry(name.to_owned()).or_default().insert(told),
        };
    }

    /// The timeline in which the store's present epoch of this number was decided; none: it has no such epoch.
    fn made_in(&self, name: &str, epoch: u64) -> Option<u32> {
        let is_it = |row: &StoredTransition| **row.key.name() == *name && row.epoch == Some(epoch);
        self.store.find_transition(is_it, |row| row.timeline).flatten()
    }

    /// The store goes back.
    pub(super) fn goes_back(&self, timeline: u32, is_promoted: bool) {
        self.inner.lock().going_back.goes_back(timeline, is_promoted, &self.store);
    }

    /// How often the store has gone back.
    pub(super) fn went_back(&self) -> u32 {
        self.inner.lock().going_back.times()
    }

    /// A replica began a timeline of the store, which has these rows at that moment.
    pub(super) fn timeline_begun(&self, timeline: u32, rows: &[StoredBreaker]) {
        self.log(|| format!("the store has timeline {timeline}"));
        let id = |row: &StoredBreaker| {
            let is_it = |transition: &StoredTransition| {
                transition.key == row.key && transition.epoch == Some(row.snapshot.epoch)
            };
            self.store.find_transition(is_it, |transition| transition.id.clone())
        };
        let rows: Vec<_> = rows.iter().filter_map(|row| Some((row.clone(), id(row)?))).collect();
        let problem = self.inner.lock().going_back.begun(timeline, &rows);
        if let Some(problem) = problem {
            self.violated(problem);
        }
    }
}
