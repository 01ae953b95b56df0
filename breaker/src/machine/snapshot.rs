//! A breaker as it is kept and as it is shown: its state out of the machine, and back into it.

use std::sync::Arc;

use super::phase::{Open, Phase};
use super::{ActiveOverride, Breaker, Identity, Numbering};
use crate::state::State;
use crate::tally::Tally;
use crate::thresholds::Thresholds;
use crate::time::Time;
use crate::transition::{Snapshot, Stats};

/// A breaker as it is shown: its state, and what has been counted in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The state.
    pub snapshot: Snapshot,
    /// What was counted; in OPEN, what was counted when it opened.
    pub stats: Stats,
    /// `HALF_OPEN`: probes that are out under a lease.
    pub probes_out: u32,
    /// In an override: when it ends by itself, by the wall clock of now; none: when it is cleared.
    pub override_ends_at: Option<Time>,
    /// Whether the window holds enough calls for its rates to be judged.
    pub rates_judged: bool,
}

impl Breaker {
    /// A breaker as the store and the journal kept it. Its window starts empty.
    ///
    /// What is left of a wait is never longer than the wait, even if the clock was set back meanwhile; and
    /// the wait is the one that the present thresholds make.
    ///
    /// HALF_OPEN comes back as such, but whom its probes went to is forgotten. Where the machine numbers the
    /// epochs, the first look enters it anew (reason RESTART). Where the store does, a restart spends no epoch
    /// (each crash would hand out P anew): the store has them still.
    pub fn restore(
        thresholds: Arc<Thresholds>,
        config_revision: u64,
        identity: Identity,
        snapshot: Snapshot,
        now: Time,
    ) -> Self {
        let mut breaker = Self::new(thresholds, config_revision, identity, now);
        let entered_at = identity.wall.to_monotonic(snapshot.entered_at);
        breaker.take_over(snapshot, entered_at, now);
        match &mut breaker.phase {
            Phase::Open(open) => {
                let retry_after = open.retry_after;
                breaker.set_wait(retry_after);
            }
            Phase::HalfOpen(half_open) if identity.numbering == Numbering::Own => {
                breaker.phase = Phase::HalfOpenRestored(Box::new(half_open.terms()));
            }
            _ => {}
        }
        breaker
    }

    /// How it is shown at `now`. Call [`Breaker::poll`] first: this only reads.
    pub fn view(&self, now: Time) -> View {
        if let Some(own) = self.branch() {
            return View { snapshot: self.snapshot(), ..own.view(now) };
        }
        if let Some((row, since)) = self.hidden_behind() {
            return self.view_of_row(row, since);
        }
        let probes_out = match &self.phase {
            Phase::HalfOpen(half_open) => half_open.out(now.max(self.last_now)),
            _ => 0,
        };
        let stats = self.stats();
        let rates_judged = matches!(self.phase, Phase::Closed(_) | Phase::MetricsOnly(_))
            && stats.calls >= self.thresholds.minimum_calls();
        let override_ends_at = self.override_in_force().and_then(|active| active.ends_at(self.wall));
        View {
            snapshot: self.snapshot(),
            stats,
            probes_out,
            override_ends_at: override_ends_at.map(|end| self.wall.to_wall(end)),
            rates_judged,
        }
    }

    /// How the row is shown that is in this state since then. What was counted in it is with the change that is under way.
    fn view_of_row(&self, row: &Snapshot, since: Time) -> View {
        let active =
            row.set_by.clone().map(|set_by| ActiveOverride::by_store(set_by, (row.entered_at, since)));
        let ends_at = active.and_then(|active| active.ends_at(self.wall));
        View {
            snapshot: self.row_snapshot(row, since),
            stats: Stats::default(),
            probes_out: 0,
            override_ends_at: ends_at.map(|end| self.wall.to_wall(end)),
            rates_judged: false,
        }
    }

    fn row_snapshot(&self, row: &Snapshot, since: Time) -> Snapshot {
        Snapshot { entered_at: self.wall.to_wall(since), ..row.clone() }
    }

    /// Its state as it is shown, and kept.
    pub fn snapshot(&self) -> Snapshot {
        if let Some(own) = self.branch() {
            return Snapshot { epoch: self.epoch, ..own.phase_snapshot() };
        }
        self.hidden_behind()
            .map_or_else(|| self.phase_snapshot(), |(row, since)| self.row_snapshot(row, since))
    }

    pub(super) fn phase_snapshot(&self) -> Snapshot {
        let (wait, retry_after) = match &self.phase {
            Phase::Open(open) => (Some(open.wait), open.retry_after),
            _ => (None, None),
        };
        let half_open = match &self.phase {
            Phase::HalfOpen(half_open) => Some(half_open.terms()),
            Phase::HalfOpenRestored(terms) => Some(**terms),
            _ => None,
        };
        Snapshot {
            epoch: self.epoch,
            state: self.phase_state(),
            open_count: self.open_count,
            entered_at: self.wall.to_wall(self.entered_at),
            wait,
            retry_after,
            set_by: self.override_in_force().map(|active| active.set_by.clone()),
            half_open,
            config_revision: self.entered_revision,
        }
    }

    /// Takes a kept state over as it is, with nothing counted.
    pub(super) fn take_over(&mut self, snapshot: Snapshot, entered_at: Time, now: Time) {
        self.epoch = snapshot.epoch;
        self.open_count = snapshot.open_count;
        self.drop_proposal();
        self.end_branch();
        self.end_sharing();
        // A state entered in what is now the future was entered now: a clock that was set back must not
        // make a wait longer than it is.
        self.entered_at = entered_at.min(now);
        self.rejected_calls = 0;
        self.entered_revision = snapshot.config_revision;
        self.phase = match (snapshot.state, snapshot.set_by) {
            (State::Open, _) => {
                let retry_after = snapshot.retry_after;
                let wait = snapshot.wait.unwrap_or_else(|| self.wait(retry_after));
                Phase::Open(Box::new(Open { wait, retry_after, stats: Stats::default() }))
            }
            (State::HalfOpen, _) => {
                let terms = snapshot.half_open.unwrap_or_else(|| self.half_open_terms());
                Phase::HalfOpen(Box::new(self.half_open(terms)))
            }
            (State::ForcedOpen | State::Disabled | State::MetricsOnly, Some(set_by)) => {
                let active = match self.numbering {
                    Numbering::Own => ActiveOverride::new(set_by, self.wall, now),
                    Numbering::Store => {
                        ActiveOverride::by_store(set_by, (snapshot.entered_at, self.entered_at))
                    }
                };
                self.overridden(Arc::new(active))
            }
            _ => Phase::Closed(Tally::new(&self.thresholds)),
        };
    }
}
