//! What each state holds, and what leads from one to the next.

use std::sync::Arc;
use std::time::Duration;

use super::ActiveOverride;
use super::half_open::HalfOpen;
use crate::state::Reason;
use crate::tally::{Tally, TripsJudged};
use crate::thresholds::Thresholds;
use crate::time::Time;
use crate::transition::{Attribution, HalfOpenTerms, Stats};

#[derive(Debug, Clone)]
pub(super) enum Phase {
    Closed(Tally),
    Open(Box<Open>),
    HalfOpen(Box<HalfOpen>),
    /// HALF_OPEN, come back after a restart: whom its probes went to is forgotten.
    HalfOpenRestored(Box<HalfOpenTerms>),
    /// `FORCED_OPEN` or `DISABLED`.
    Overridden(Arc<ActiveOverride>),
    MetricsOnly(Box<MetricsOnly>),
}

#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) wait: Duration,
    pub(super) retry_after: Option<Duration>,
    /// What was counted when it opened, for show.
    pub(super) stats: Stats,
}

#[derive(Debug, Clone)]
pub(super) struct MetricsOnly {
    pub(super) set_by: Arc<ActiveOverride>,
    pub(super) tally: Tally,
    /// The counts are past a trip, and it has been said.
    pub(super) crossed: bool,
    /// The last crossing that was said.
    pub(super) crossing: Option<Crossing>,
}

/// When METRICS_ONLY would have opened, and what the failure asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crossing {
    pub(super) at: Time,
    pub(super) retry_after: Option<Duration>,
}

impl MetricsOnly {
    pub(super) fn new(set_by: Arc<ActiveOverride>, thresholds: &Thresholds) -> Self {
        Self { set_by, tally: Tally::new(thresholds), crossed: false, crossing: None }
    }

    /// The crossing is over when the counts, before the next outcome, are no longer past a trip.
    pub(super) fn look(&mut self, thresholds: &Thresholds, now: Time) {
        self.tally.advance(now);
        self.crossed &= self.tally.trip(thresholds, TripsJudged::ALL).is_some();
    }
}

/// Why and by whom a state is entered.
pub(super) struct Cause {
    pub(super) reason: Reason,
    pub(super) attribution: Option<Attribution>,
    pub(super) reporters: u32,
}

impl Cause {
    pub(super) fn own(reason: Reason) -> Self {
        Self { reason, attribution: None, reporters: 0 }
    }

    pub(super) fn by_operator(reason: Reason, by: Attribution) -> Self {
        Self { reason, attribution: Some(by), reporters: 0 }
    }
}

/// What to enter; the statistics that go with it are worked out on entry.
pub(super) enum Next {
    Closed,
    Open { retry_after: Option<Duration> },
    HalfOpen,
    Override(Arc<ActiveOverride>),
}
