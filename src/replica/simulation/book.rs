//! What callers were told, held against what the store has in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use breaker::{Key, ProbeSlot, State, Time};
use parking_lot::Mutex;

use super::executor::{BEGINNING, Executor};
use crate::engine::{Allowed, Permit, RecordResult};
use crate::store::{MemoryStore, StoredTransition, TransitionQuery, TransitionStore as _};

/// The service of every breaker here.
pub(super) const SERVICE: &str = "db";

/// The book of a run.
pub(super) struct Book {
    executor: Executor,
    store: Arc<MemoryStore>,
    /// P.
    permitted: u32,
    verbose: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    story: String,
    /// By breaker, epoch and nonce: until when a caller takes it for its own.
    probes: BTreeMap<(String, u64, u64), Time>,
    /// States that callers were told of.
    told: BTreeSet<(String, u64, State)>,
    problems: Vec<String>,
    calls: u64,
    probes_given: u64,
    probes_recorded: u64,
}

/// What a run came to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Figures {
    pub(super) calls: u64,
    pub(super) probes: u64,
    pub(super) recorded: u64,
    pub(super) transitions: u64,
}

impl Book {
    pub(super) fn new(executor: Executor, store: Arc<MemoryStore>, permitted: u32, verbose: bool) -> Self {
        Self { executor, store, permitted, verbose, inner: Mutex::default() }
    }

    /// A line of the story, if it is to be told.
    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            let at = self.executor.now().since(BEGINNING).as_secs_f64();
            let line = line();
            let _ = writeln!(self.inner.lock().story, "{at:10.6} {line}");
        }
    }

    pub(super) fn story(&self) -> String {
        self.inner.lock().story.clone()
    }

    pub(super) fn wrong(&self, problem: String) {
        self.say(|| format!("!! {problem}"));
        self.inner.lock().problems.push(problem);
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.inner.lock().problems.clone()
    }

    /// A caller was told whether it may go ahead.
    pub(super) fn allowed(&self, replica: usize, name: &str, allowed: &Allowed) {
        let decision = &allowed.decision;
        self.inner.lock().calls += 1;
        self.told(name, decision.epoch, decision.state);
        let Some(pass) = decision.pass else { return };
        let Some(probe) = pass.probe else { return };
        self.say(|| format!("r{replica} gives {name} slot {} of epoch {}", probe.slot, pass.epoch));
        let now = self.executor.now();
        let key = Key::new(SERVICE, name).expect("a key");
        let completed: BTreeSet<u64> = self
            .store
            .probe_slots(&key, pass.epoch)
            .into_iter()
            .filter_map(|slot| match slot {
                ProbeSlot::Completed { nonce, .. } => Some(nonce),
                ProbeSlot::Free | ProbeSlot::Out { .. } => None,
            })
            .collect();
        let out = {
            let mut inner = self.inner.lock();
            inner.probes_given += 1;
            let until = now + decision.lease.unwrap_or_default();
            inner.probes.insert((name.to_owned(), pass.epoch, probe.nonce), until);
            let of_epoch = (name.to_owned(), pass.epoch, 0)..=(name.to_owned(), pass.epoch, u64::MAX);
            let unexpired = inner
                .probes
                .range(of_epoch)
                .filter(|((_, _, nonce), until)| now < **until && !completed.contains(nonce));
            unexpired.count()
        };
        if out + completed.len() > self.permitted as usize {
            self.wrong(format!(
                "{name} epoch {}: {out} probes out and {} completed, of {}",
                pass.epoch,
                completed.len(),
                self.permitted
            ));
        }
    }

    /// A caller was told what became of its outcome.
    pub(super) fn recorded(&self, replica: usize, name: &str, permit: &Permit, recorded: &RecordResult) {
        self.told(name, recorded.epoch, recorded.state);
        if let Some(probe) = permit.pass.probe {
            self.inner.lock().probes_recorded += 1;
            self.say(|| {
                let RecordResult { recorded, state, epoch, .. } = recorded;
                format!("r{replica} takes {name} slot {}: {recorded}, {state} {epoch}", probe.slot)
            });
        }
    }

    fn told(&self, name: &str, epoch: u64, state: State) {
        self.inner.lock().told.insert((name.to_owned(), epoch, state));
    }

    /// Holds what was told against the history, once everything is at rest.
    pub(super) fn check_history(&self) -> Figures {
        let query = TransitionQuery { oldest_first: true, limit: u32::MAX, ..TransitionQuery::default() };
        let rows = futures_util::FutureExt::now_or_never(self.store.transitions(&query));
        let rows = rows.expect("it waits for nothing").expect("it is there");
        let mut ids = BTreeSet::new();
        for row in &rows {
            let epoch = row.epoch;
            self.say(|| {
                format!(
                    "history: {} {} -> {} {} base {} epoch {epoch:?}",
                    row.key, row.from, row.to, row.reason, row.base_epoch
                )
            });
            if !ids.insert(row.id.clone()) {
                self.wrong(format!("{:?} is in the history twice", row.id));
            }
        }
        let told = self.inner.lock().told.clone();
        let names: BTreeSet<_> = told.iter().map(|(name, ..)| name.clone()).collect();
        for name in names {
            let of_name: Vec<_> = rows.iter().filter(|row| **row.key.name() == *name).collect();
            self.check_chain(&name, &of_name);
            for (_, epoch, state) in told.iter().filter(|(of, ..)| *of == name) {
                self.check_told(&name, *epoch, *state, &of_name);
            }
        }
        let inner = self.inner.lock();
        Figures {
            calls: inner.calls,
            probes: inner.probes_given,
            recorded: inner.probes_recorded,
            transitions: rows.len() as u64,
        }
    }

    /// Epochs go up by one, along the edges that there are.
    fn check_chain(&self, name: &str, rows: &[&StoredTransition]) {
        let (mut epoch, mut state) = (0, State::Closed);
        for row in rows.iter().filter(|row| row.epoch.is_some()) {
            let is_edge = matches!(
                (row.from, row.to),
                (State::Closed | State::HalfOpen, State::Open)
                    | (State::Open, State::HalfOpen)
                    | (State::HalfOpen, State::Closed)
            );
            if row.epoch != Some(epoch + 1) || row.base_epoch != epoch || row.from != state || !is_edge {
                self.wrong(format!(
                    "{name}: {} -> {} of epoch {:?} after {state} of epoch {epoch}",
                    row.from, row.to, row.epoch
                ));
            }
            (epoch, state) = (row.epoch.unwrap_or(epoch), row.to);
        }
    }

    /// What a caller was told is in the history: as what stood, or as a trip that was not confirmed yet.
    fn check_told(&self, name: &str, epoch: u64, state: State, rows: &[&StoredTransition]) {
        let stood = (epoch == 0 && state == State::Closed)
            || rows.iter().any(|row| row.epoch == Some(epoch) && row.to == state);
        let proposed = || rows.iter().any(|row| row.base_epoch == epoch && row.to == state);
        if !stood && !proposed() {
            self.wrong(format!("{name}: a caller was told {state} of epoch {epoch}, which is nowhere"));
        }
    }
}
