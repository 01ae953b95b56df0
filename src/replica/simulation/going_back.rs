//! What the checker knows of a store that goes back, and what must hold then.

use std::collections::BTreeSet;

use breaker::{Reason, State};

use crate::store::StoredTransition;

/// What the checker knows of it.
#[derive(Default)]
pub(super) struct GoingBack {
    times: u32,
    /// Timelines that were begun since it last went back.
    begun: u32,
    /// In these timelines claims were lost without a trace: a backup was restored under the server's present timeline.
    lost_claims: BTreeSet<u32>,
}

impl GoingBack {
    pub(super) fn goes_back(&mut self, timeline: u32, is_promoted: bool) {
        (self.times, self.begun) = (self.times + 1, 0);
        if !is_promoted {
            self.lost_claims.insert(timeline);
        }
    }

    /// A timeline was begun. Once each time; but a replica that knows a larger one than the first who noticed begins another.
    pub(super) fn begun(&mut self) -> Option<String> {
        self.begun += 1;
        let most = self.times.min(2);
        (self.begun > most)
            .then(|| format!("{} timelines are begun, as the store went back once", self.begun))
    }

    pub(super) fn may_lose_claims(&self, timeline: u32) -> bool {
        self.lost_claims.contains(&timeline)
    }
}

/// Whether a row of the history is what a caller was told of: as what stood, as what stood in a timeline that is over, or
/// as the state that a replica took up from there.
pub(super) fn is_told_by(row: &StoredTransition, timeline: Option<u32>, epoch: u64, state: State) -> bool {
    if row.to != state {
        return false;
    }
    let made_in = row.timeline.unwrap_or_default();
    let stands = row.epoch == Some(epoch) && timeline.is_none_or(|timeline| made_in <= timeline);
    let stood = row.epoch.is_none()
        && row.base_epoch + 1 == epoch
        && timeline.is_none_or(|timeline| made_in == timeline);
    let taken_up = row.reason == Reason::Restart && timeline.is_none_or(|timeline| made_in > timeline);
    stands || stood || taken_up
}
