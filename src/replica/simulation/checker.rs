//! What callers were told, held against what the store has in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, ProbeSlot, Reason, Recorded, State, Time};
use futures_util::FutureExt as _;
use parking_lot::Mutex;

use super::acts::{Act, Acts};
use super::executor::{BEGINNING, Executor};
use super::going_back::{GoingBack, is_told_by};
use super::service_checks::{self, Durations};
use crate::engine::{Allowed, Permit, RecordResult};
use crate::store::{
    ChangeKind, ChangeQuery, ConfigStore as _, MemoryStore, StoredChange, StoredTransition,
    TimelineStore as _, TransitionQuery,
};

/// The service of every breaker here.
pub(super) const SERVICE: &str = "db";

/// How long OPEN waits.
pub(super) const OPEN_WAIT: Duration = Duration::from_secs(2);

/// Notes what callers are told in a run, and checks it.
pub(super) struct Checker {
    executor: Executor,
    store: Arc<MemoryStore>,
    /// P.
    permitted: u32,
    /// Processes end as they should.
    is_reliable: bool,
    /// Nothing goes wrong.
    is_calm: bool,
    verbose: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    story: String,
    /// By breaker, the timeline that its epoch is of, epoch and nonce.
    probes: BTreeMap<(String, u32, u64, u64), Lease>,
    /// By replica and breaker: the timeline and the epoch that it showed last in its present life.
    shown: BTreeMap<(usize, String), (u32, u64)>,
    /// States that callers were told of, by timeline, if that is known, and epoch.
    told: BTreeSet<(String, Option<u32>, u64, State)>,
    going_back: GoingBack,
    acts: Acts,
    /// The overrides of the service that operators set, or tried to.
    service_overrides: Durations,
    /// The replicas that said of a transition of a breaker, into this state at this epoch, that it stands.
    stood: BTreeMap<(String, State, u64), BTreeSet<usize>>,
    problems: Vec<String>,
    calls: u64,
    probes_given: u64,
    probes_recorded: u64,
    not_counted: u64,
}

/// Until when a probe counts.
#[derive(Debug, Clone, Copy)]
struct Lease {
    /// As its caller sees it, which was told so by the replica.
    of_caller: Time,
    /// As the store sees it, which decides; none: its slot was another's already.
    of_store: Option<Time>,
}

/// What a run came to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Figures {
    pub(super) calls: u64,
    pub(super) probes: u64,
    pub(super) recorded: u64,
    pub(super) transitions: u64,
    /// Outcomes that were not counted.
    pub(super) not_counted: u64,
}

impl Checker {
    pub(super) fn new(
        executor: Executor,
        store: Arc<MemoryStore>,
        (permitted, is_reliable, is_calm): (u32, bool, bool),
        verbose: bool,
    ) -> Self {
        Self { executor, store, permitted, is_reliable, is_calm, verbose, inner: Mutex::default() }
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

    /// A caller was told whether it may go ahead, which was decided at `decided_at`: leases count from there.
    pub(super) fn allowed(
        &self,
        replica: usize,
        name: &str,
        allowed: &Allowed,
        (timeline, decided_at): (u32, Time),
    ) {
        let decision = &allowed.decision;
        self.inner.lock().calls += 1;
        self.told(name, Some(timeline), decision.epoch, decision.state);
        let Some(pass) = decision.pass else { return };
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
            if recorded.recorded == Recorded::NotCounted {
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
        inner.shown.retain(|(of, _), _| *of != replica);
        inner.acts.dies(replica, now);
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
        if held.is_empty() {
            return;
        }
        let stored = self.history();
        let actors: BTreeSet<_> =
            stored.iter().filter_map(|row| Some(&*row.attribution.as_ref()?.actor)).collect();
        for actor in held.iter().filter(|actor| !actors.contains(&***actor)) {
            self.violated(format!(
                "r{replica} lets calls of {name} pass under the emergency stop of {actor}"
            ));
        }
    }

    fn history(&self) -> Vec<StoredTransition> {
        let query = TransitionQuery { oldest_first: true, limit: u32::MAX, ..TransitionQuery::default() };
        self.store.history(&query)
    }

    /// A replica showed an epoch, at this moment.
    pub(super) fn shown(&self, replica: usize, name: &str, epoch: (u32, u64)) {
        let before = self.inner.lock().shown.insert((replica, name.to_owned()), epoch);
        if before.is_some_and(|before| before > epoch) {
            self.violated(format!("r{replica} goes back with {name}: from epoch {before:?} to {epoch:?}"));
        }
    }

    /// A replica says of one of its transitions that it stands: this is what it logs and counts.
    pub(super) fn stands(&self, replica: usize, name: &str, (to, epoch): (State, u64)) {
        self.inner.lock().stood.entry((name.to_owned(), to, epoch)).or_default().insert(replica);
    }

    /// Each transition that stands is logged by one replica. One of an operator whose answer was lost may be by none, and so may
    /// one of a replica that died over it.
    fn check_stood(&self, rows: &[StoredTransition]) {
        let meta = self.store.meta().now_or_never().expect("it waits for nothing");
        if meta.expect("it is there").timeline != 0 {
            // What was logged before the store went back may be gone.
            return;
        }
        for row in rows.iter().filter(|row| row.lost_transitions == 0) {
            let Some(epoch) = row.epoch else { continue };
            let stood = self.inner.lock().stood.remove(&(row.key.name().to_string(), row.to, epoch));
            let replicas = stood.map_or(0, |replicas| replicas.len());
            // The answer to an outcome may be lost, and the next transition come before it is asked for again.
            let by_probe = row.from == State::HalfOpen && !self.is_calm;
            let may_be_none = !self.is_reliable || row.attribution.is_some() || by_probe;
            if replicas > 1 || (replicas == 0 && !may_be_none) {
                self.violated(format!(
                    "{}: {} of epoch {epoch} by {} is logged by {replicas} replicas",
                    row.key, row.to, row.reason
                ));
            }
        }
        let left = self.inner.lock().stood.clone();
        for (name, to, epoch) in left.keys() {
            if !rows.iter().any(|row| row.lost_transitions > 0 && row.key.name().as_ref() == name) {
                self.violated(format!("{name}: {to} of epoch {epoch} is logged, and does not stand"));
            }
        }
    }

    /// An operator is to set an override of the service, for so long.
    pub(super) fn service_override(&self, actor: &str, ttl: Option<Duration>) {
        self.inner.lock().service_overrides.insert(actor.to_owned(), ttl);
    }

    /// What was changed of the overrides of the service, the oldest first.
    fn changes(&self) -> Vec<StoredChange> {
        let kinds = vec![ChangeKind::ServiceOverride];
        let query = ChangeQuery { kinds, limit: u32::MAX, ..ChangeQuery::default() };
        let changes = self.store.changes(&query).now_or_never().expect("it waits for nothing");
        changes.expect("it is there").into_iter().rev().collect()
    }

    /// Somebody was told that a breaker is in this state.
    pub(super) fn told(&self, name: &str, timeline: Option<u32>, epoch: u64, state: State) {
        self.inner.lock().told.insert((name.to_owned(), timeline, epoch, state));
    }

    /// The timeline in which the store's present epoch of this number was decided; none: it has no such epoch.
    fn made_in(&self, name: &str, epoch: u64) -> Option<u32> {
        let rows = self.history();
        let row = rows.iter().find(|row| **row.key.name() == *name && row.epoch == Some(epoch))?;
        row.timeline
    }

    /// The store goes back.
    pub(super) fn goes_back(&self, timeline: u32, is_promoted: bool) {
        self.inner.lock().going_back.goes_back(timeline, is_promoted);
    }

    /// A replica began a timeline of the store.
    pub(super) fn timeline_begun(&self, timeline: u32) {
        self.log(|| format!("the store has timeline {timeline}"));
        let problem = self.inner.lock().going_back.begun();
        if let Some(problem) = problem {
            self.violated(problem);
        }
    }

    /// Holds what was told against the history, once everything is at rest.
    pub(super) fn check_history(&self) -> Figures {
        let rows = self.history();
        let mut ids = BTreeSet::new();
        for row in &rows {
            let epoch = row.epoch;
            self.log(|| {
                format!(
                    "history: {} {} -> {} {} base {} epoch {epoch:?} of timeline {:?}",
                    row.key, row.from, row.to, row.reason, row.base_epoch, row.timeline
                )
            });
            if !ids.insert(row.id.clone()) {
                self.violated(format!("{:?} is in the history twice", row.id));
            }
        }
        let problems = service_checks::check(&self.changes(), &self.inner.lock().service_overrides, &rows);
        for problem in problems {
            self.violated(problem);
        }
        self.check_stood(&rows);
        let told = self.inner.lock().told.clone();
        let names: BTreeSet<_> = told.iter().map(|(name, ..)| name.clone()).collect();
        for name in names {
            let of_name: Vec<_> = rows.iter().filter(|row| **row.key.name() == *name).collect();
            self.check_chain(&name, &of_name);
            let problems = self.inner.lock().acts.check(&name, &of_name);
            for problem in problems {
                self.violated(problem);
            }
            for (_, timeline, epoch, state) in told.iter().filter(|(of, ..)| *of == name) {
                self.check_told(&name, *timeline, *epoch, *state, &of_name);
            }
        }
        let inner = self.inner.lock();
        Figures {
            calls: inner.calls,
            probes: inner.probes_given,
            recorded: inner.probes_recorded,
            transitions: rows.len() as u64,
            not_counted: inner.not_counted,
        }
    }

    /// Epochs go up by one, along the edges that there are.
    fn check_chain(&self, name: &str, rows: &[&StoredTransition]) {
        let (mut epoch, mut state, mut entered_at) = (0, State::Closed, Time::ZERO);
        for row in rows.iter().filter(|row| row.epoch.is_some()) {
            let is_edge = row.attribution.is_some()
                || matches!(row.reason, Reason::OverrideExpired | Reason::Restart)
                || matches!(
                    (row.from, row.to),
                    (State::Closed | State::HalfOpen, State::Open)
                        | (State::Open, State::HalfOpen)
                        | (State::HalfOpen, State::Closed)
                );
            if row.epoch != Some(epoch + 1) || row.base_epoch != epoch || row.from != state || !is_edge {
                self.violated(format!(
                    "{name}: {} -> {} of epoch {:?} after {state} of epoch {epoch}",
                    row.from, row.to, row.epoch
                ));
            }
            let waited = row.occurred_at.since(entered_at);
            if row.from == State::Open && row.reason == Reason::WaitElapsed && waited < OPEN_WAIT {
                self.violated(format!("{name}: OPEN of epoch {epoch} ended after {waited:?}"));
            }
            entered_at = row.occurred_at;
            (epoch, state) = (row.epoch.unwrap_or(epoch), row.to);
        }
    }

    /// What a caller was told is in the history: as what stood, or as a trip that was not confirmed yet.
    fn check_told(
        &self,
        name: &str,
        timeline: Option<u32>,
        epoch: u64,
        state: State,
        rows: &[&StoredTransition],
    ) {
        // It may be born into an override of the service, without a row.
        let is_overridden = !self.inner.lock().service_overrides.is_empty();
        let is_born_in =
            is_overridden && matches!(state, State::ForcedOpen | State::Disabled | State::MetricsOnly);
        let stood = (epoch == 0 && (state == State::Closed || is_born_in))
            || rows.iter().any(|row| is_told_by(row, timeline, epoch, state));
        // FORCED_OPEN holds while rows of later epochs come, until it is answered: also after it has won, and ended, in the store.
        let is_of = |base| base == epoch || state == State::ForcedOpen;
        let is_in = |row: &StoredTransition| timeline.is_none() || row.timeline == timeline;
        let proposed = || rows.iter().any(|row| is_of(row.base_epoch) && row.to == state && is_in(row));
        if !stood && !proposed() {
            self.violated(format!(
                "{name}: a caller was told {state} of epoch {epoch} of {timeline:?}, which is nowhere"
            ));
        }
    }
}
