//! What the checker knows of a store that goes back, and what must hold then.

use std::collections::BTreeSet;

use breaker::{ProposalId, Reason, State, Time};

use crate::store::{Answer, Answered, Change, Proposal, StoredTransition, TransitionId};

/// A trip that a replica told its callers of.
#[derive(Debug, Clone)]
pub(super) struct Trip {
    pub(super) replica: usize,
    pub(super) name: String,
    /// Of the store.
    pub(super) timeline: u32,
    pub(super) id: ProposalId,
    /// When its wait is over, by whatever clock.
    pub(super) until: Time,
}

/// What the checker knows of it.
#[derive(Default)]
pub(super) struct GoingBack {
    times: u32,
    /// Timelines that were begun since it last went back.
    begun: u32,
    /// In these timelines claims were lost without a trace: a backup was restored under the server's present timeline.
    lost_claims: BTreeSet<u32>,
    /// Trips of processes that live, which no store had before one went back.
    trips: Vec<Trip>,
}

impl GoingBack {
    /// The store goes back, which had this history.
    pub(super) fn goes_back(&mut self, timeline: u32, is_promoted: bool, rows: &[StoredTransition]) {
        (self.times, self.begun) = (self.times + 1, 0);
        // What it had answered is taken up, or superseded by what came after it.
        self.trips.retain(|trip| !rows.iter().any(|row| is_of(row, trip.replica, trip.id)));
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

    pub(super) fn tripped(&mut self, trip: Trip) {
        self.trips.push(trip);
    }

    /// The process of a replica begins anew, and knows of its trips by its journal alone.
    pub(super) fn begins(&mut self, replica: usize) {
        self.trips.retain(|trip| trip.replica != replica);
    }

    /// Trips of a replica, of an earlier timeline, whose wait is not over.
    pub(super) fn held(&self, replica: usize, name: &str, timeline: u32, now: Time) -> Vec<ProposalId> {
        let holds = |trip: &&Trip| {
            trip.replica == replica && trip.name == name && trip.timeline < timeline && now < trip.until
        };
        self.trips.iter().filter(holds).map(|trip| trip.id).collect()
    }

    pub(super) fn may_lose_claims(&self, timeline: u32) -> bool {
        self.lost_claims.contains(&timeline)
    }
}

/// Whether this is a trip of an earlier timeline than `present` that no store had answered, and something is left of its wait.
fn is_unanswered_trip(proposal: &Proposal, present: u32) -> bool {
    let Change::Transition(transition) = &proposal.change else { return false };
    (transition.from, transition.after.state) == (State::Closed, State::Open)
        && !proposal.decided_in.is_repeat
        && proposal.decided_in.taken_up.is_none()
        && proposal.decided_in.timeline.is_some_and(|timeline| timeline != present)
        && transition.after.wait.is_some_and(|wait| proposal.age < wait)
}

/// A trip of before that no store had answered opens its breaker where nothing is known that came after it. `before`
/// are the epochs of before that the rows stood for.
pub(super) fn check_trips(
    proposals: &[Proposal],
    before: &[Option<u64>],
    answered: &[Answered],
) -> Vec<String> {
    let mut problems = Vec::new();
    for ((proposal, before), answered) in proposals.iter().zip(before).zip(answered) {
        let row = &answered.row.row;
        if proposals.iter().filter(|other| other.key == proposal.key).count() > 1
            || !is_unanswered_trip(proposal, row.version.timeline)
        {
            continue;
        }
        let Change::Transition(transition) = &proposal.change else { continue };
        let (key, base_epoch) = (&proposal.key, transition.base_epoch);
        let is_lost = matches!(answered.answer, Answer::Lost { .. });
        if is_lost && row.snapshot.state == State::Closed && before.is_some_and(|before| before <= base_epoch)
        {
            problems.push(format!("{key}: the trip of epoch {base_epoch} of before opens nothing"));
        }
    }
    problems
}

/// Whether a row of the history is of a proposal.
pub(super) fn is_of(row: &StoredTransition, replica: usize, id: ProposalId) -> bool {
    let TransitionId { replica: of, boot, seq } = &row.id;
    **of == format!("r{replica}") && (*boot, *seq) == (id.boot, id.number)
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

/// Whether a row of the history is of a change that holds, until it is answered, in a later timeline than its own, whatever epoch the row has
/// there: FORCED_OPEN, or a trip. One that opened has another base there than its callers were told of.
pub(super) fn is_held(row: &StoredTransition, timeline: Option<u32>) -> bool {
    let is_trip = row.from != State::HalfOpen && row.to == State::Open && row.reason != Reason::Restart;
    let is_of_before = timeline.is_none_or(|timeline| row.timeline < Some(timeline));
    let has_opened = row.epoch.is_some() && row.timeline == timeline;
    (row.to == State::ForcedOpen || is_trip) && (is_of_before || has_opened)
}
