//! What callers were told, held against the history once everything is at rest.

use std::collections::BTreeSet;

use breaker::{Reason, State, Time};
use futures_util::FutureExt as _;

use super::checker::{Checker, OPEN_WAIT};
use super::going_back::{is_held, is_told_by};
use super::results::Figures;
use super::service_checks;
use crate::store::{
    ChangeKind, ChangeQuery, ConfigStore as _, StoredChange, StoredTransition, TimelineStore as _,
};

impl Checker {
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
            let problem = self.inner.lock().branches.check(row);
            if let Some(problem) = problem {
                self.violated(problem);
            }
        }
        let problems = service_checks::check(&self.changes(), &self.inner.lock().service_overrides, &rows);
        for problem in problems {
            self.violated(problem);
        }
        self.check_stood(&rows);
        let told = self.inner.lock().told.clone();
        for (name, told) in told {
            let of_name: Vec<_> = rows.iter().filter(|row| **row.key.name() == *name).collect();
            let gone = self.inner.lock().let_go.get(&name).cloned().unwrap_or_default();
            for history in &gone {
                self.check_chain(&name, &history.iter().collect::<Vec<_>>(), !gone.is_empty());
            }
            self.check_chain(&name, &of_name, !gone.is_empty());
            let of_name: Vec<_> = gone.iter().flatten().chain(of_name).collect();
            let problems = self.inner.lock().acts.check(&name, &of_name);
            for problem in problems {
                self.violated(problem);
            }
            for (timeline, epoch, state) in told {
                self.check_told(&name, timeline, epoch, state, &of_name);
            }
        }
        let inner = self.inner.lock();
        Figures {
            calls: inner.calls,
            probes: inner.probes_given,
            recorded: inner.probes_recorded,
            transitions: rows.len() as u64,
            not_counted: inner.not_counted,
            let_go: inner.let_go.values().map(|rows| rows.len() as u64).sum(),
            started_alone: inner.started_alone,
            alone: inner.branches.figures,
        }
    }

    /// Epochs go up by one, along the edges that there are.
    fn check_chain(&self, name: &str, rows: &[&StoredTransition], was_let_go: bool) {
        let present = rows.iter().filter_map(|row| row.timeline).max();
        let first = rows.iter().find(|row| row.epoch.is_some());
        // A replica goes on from the epoch of a row that was let go of.
        let epoch = first.filter(|_| was_let_go).map_or(0, |row| row.base_epoch);
        let (mut epoch, mut state, mut entered_at, mut alone) = (epoch, State::Closed, Time::ZERO, false);
        for row in rows.iter().filter(|row| row.epoch.is_some()) {
            let is_edge = row.attribution.is_some()
                || matches!(row.reason, Reason::OverrideExpired | Reason::Restart)
                || (row.timeline < present && (row.from, row.to) == (State::Open, State::Open))
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
            // The time of what was decided alone is that of its replica's wall clock.
            let is_timed = !alone && row.reason == Reason::WaitElapsed;
            if row.from == State::Open && is_timed && waited < OPEN_WAIT {
                self.violated(format!("{name}: OPEN of epoch {epoch} ended after {waited:?}"));
            }
            (entered_at, alone) = (row.occurred_at, row.store_unavailable);
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
        let took_over =
            |timeline| self.inner.lock().going_back.took_over(timeline, name, (epoch, state)).cloned();
        let taken_over = timeline.and_then(took_over);
        let stood = (epoch == 0 && (state == State::Closed || is_born_in))
            || rows.iter().any(|row| is_told_by(row, timeline, (epoch, state), taken_over.as_ref()));
        // FORCED_OPEN holds while rows of later epochs come, until it is answered: also after it has won, and ended, in the store.
        let is_of = |base| base == epoch || state == State::ForcedOpen;
        let is_in = |row: &StoredTransition| timeline.is_none() || row.timeline == timeline;
        let has_it =
            |row: &StoredTransition| (is_of(row.base_epoch) && is_in(row)) || is_held(row, timeline, epoch);
        let proposed = || rows.iter().any(|row| row.to == state && has_it(row));
        if !stood && !proposed() {
            self.violated(format!(
                "{name}: a caller was told {state} of epoch {epoch} of {timeline:?}, which is nowhere"
            ));
        }
    }

    /// Each transition that stands is logged by one replica. One of an operator whose answer was lost may be by none, and so may
    /// one of a replica that died over it.
    fn check_stood(&self, rows: &[StoredTransition]) {
        let meta = self.store.meta().now_or_never().expect("it waits for nothing");
        if meta.expect("it is there").timeline != 0 || !self.inner.lock().let_go.is_empty() {
            // What was logged before the store went back may be gone, and epochs come again after a row was let go of.
            return;
        }
        for row in rows.iter().filter(|row| row.lost_transitions == 0) {
            let Some(epoch) = row.epoch else { continue };
            let stood = self.inner.lock().stood.remove(&(row.key.name().to_string(), row.to, epoch));
            let replicas = stood.map_or(0, |replicas| replicas.len());
            let may_be_none = !self.is_reliable || row.attribution.is_some();
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

    /// What was changed of the overrides of the service, the oldest first.
    fn changes(&self) -> Vec<StoredChange> {
        let kinds = vec![ChangeKind::ServiceOverride];
        let query = ChangeQuery { kinds, limit: u32::MAX, ..ChangeQuery::default() };
        let changes = self.store.changes(&query).now_or_never().expect("it waits for nothing");
        changes.expect("it is there").into_iter().rev().collect()
    }
}
