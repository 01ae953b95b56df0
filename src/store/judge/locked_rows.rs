//! What is known before judging: the rows that stand, and what was answered before.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use breaker::{EnteredBy, Key, Snapshot, Time};

use super::guard::Guarded;
use super::service::ServiceOverrides;
use crate::store::episode::Episode;
use crate::store::{DecidedBy, TransitionId};

/// What is known before judging, read under the locks.
#[derive(Default)]
pub(in crate::store) struct LockedRows<'a> {
    /// The timeline of the store; none: one process has it for itself, and knows its past.
    pub(in crate::store) timeline: Option<u32>,
    /// The breakers that the batch names and that have a row.
    pub(in crate::store) present: BTreeMap<&'a Key, BreakerState>,
    /// The changes of the batch that were answered before.
    pub(in crate::store) known: HashMap<&'a TransitionId, Receipt>,
    /// The overrides of those services that the batch brings to their breakers.
    pub(in crate::store) services: ServiceOverrides,
    /// The largest epoch of breakers whose rows were let go of: one without a row may be at any epoch up to it.
    pub(in crate::store) let_go_epoch: u64,
}

/// What the row of a breaker holds.
#[derive(Debug, Clone)]
pub(in crate::store) struct BreakerState {
    /// Whether there is a row yet.
    pub(in crate::store) is_stored: bool,
    pub(in crate::store) snapshot: Snapshot,
    /// How it came into this state; none: not known.
    pub(in crate::store) entered_by: Option<EnteredBy>,
    /// What brought it into this state, if perhaps no journal has it; none: a journal has, or it is not known.
    pub(in crate::store) decided_by: Option<DecidedBy>,
    /// The outage that lasts.
    pub(in crate::store) episode: Option<Episode>,
    /// The epoch of the last act of an operator; 0: there was none, or none that is known.
    pub(in crate::store) act_epoch: u64,
    /// `HALF_OPEN`: when the first of its probes was given; none: none was.
    pub(in crate::store) first_probe_at: Option<Time>,
    /// The epoch of an earlier timeline that the row stands for; none: there was a transition in the present timeline.
    pub(in crate::store) reconciled: Option<u64>,
}

/// What a change was answered when it first came.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum Receipt {
    Won { epoch: u64, revision: RowRevision },
    Lost,
}

/// Which transaction wrote a change.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum RowRevision {
    /// The one that is being made.
    Here,
    /// One that was.
    At(u64),
}

impl BreakerState {
    pub(super) fn pristine() -> Self {
        Self {
            is_stored: false,
            snapshot: Snapshot::pristine(),
            entered_by: None,
            decided_by: None,
            episode: None,
            act_epoch: 0,
            first_probe_at: None,
            reconciled: Some(0),
        }
    }

    /// As it is in a timeline that began with the revision `since`, if the row was written with `revision`: nothing has happened in it
    /// to a row that is older, and what began the timeline only let half-open enter half-open again.
    pub(in crate::store) fn in_timeline_since(self, since: u64, revision: u64) -> Self {
        let epoch = self.snapshot.epoch;
        let reconciled = match revision.cmp(&since) {
            Ordering::Less => Some(epoch),
            Ordering::Equal => Some(epoch.saturating_sub(u64::from(since > 0))),
            Ordering::Greater => self.reconciled,
        };
        Self { reconciled, ..self }
    }

    pub(super) fn guarded<'a>(&'a self, services: &'a ServiceOverrides) -> Guarded<'a> {
        Guarded {
            snapshot: &self.snapshot,
            act_epoch: self.act_epoch,
            first_probe_at: self.first_probe_at,
            services,
        }
    }
}
