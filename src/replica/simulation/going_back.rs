//! What the checker knows of a store that goes back, and what must hold then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, Numbering, ProposalId, Reason, Snapshot, State, Stats, Time, Transition};
use breakerd_common::clock::ManualClock;
use futures_util::FutureExt as _;

use crate::store::{
    Answer, Answered, Change, DecidedIn, MemoryStore, Proposal, SharedStore as _, StoredBreaker,
    StoredTransition, TransitionId, TransitionQuery,
};

/// A trip that a replica told its callers of.
#[derive(Debug, Clone)]
pub(super) struct Trip {
    pub(super) replica: usize,
    pub(super) name: String,
    /// Of the store.
    pub(super) timeline: u32,
    pub(super) id: ProposalId,
    /// Of the CLOSED that it left.
    pub(super) base_epoch: u64,
    /// When its wait is over, by whatever clock.
    pub(super) until: Time,
}

impl Trip {
    /// As the store knows it.
    fn transition_id(&self) -> TransitionId {
        let ProposalId { boot, number: seq } = self.id;
        TransitionId { replica: format!("r{}", self.replica).into(), boot, seq }
    }
}

/// What the checker knows of it.
#[derive(Default)]
pub(super) struct GoingBack {
    times: u32,
    /// Timelines that were begun since it last went back.
    begun: u32,
    /// By timeline, the rows that it began with: breaker, epoch and state, and the transitions of timelines before it that brought them about.
    taken_over: BTreeMap<(u32, String, u64, State), TransitionId>,
    /// In these timelines claims were lost without a trace: a backup was restored under the server's present timeline.
    lost_claims: BTreeSet<u32>,
    /// Trips of processes that live, which no store had answered before one went back.
    trips: Vec<Trip>,
}

impl GoingBack {
    /// The store goes back, and is still as it was.
    pub(super) fn goes_back(&mut self, timeline: u32, is_promoted: bool, store: &MemoryStore) {
        (self.times, self.begun) = (self.times + 1, 0);
        // What it has answered is taken up, or superseded by what came after it. The history does not have all of that: not the trip that
        // came when another replica's had opened the breaker.
        self.trips.retain(|trip| !store.has_answered(&trip.transition_id()));
        if !is_promoted {
            self.lost_claims.insert(timeline);
        }
    }

    pub(super) fn times(&self) -> u32 {
        self.times
    }

    /// A timeline was begun, which has these rows, brought about by these transitions. Once each time; but a replica that knows a larger one than the first who noticed
    /// begins another.
    pub(super) fn begun(&mut self, timeline: u32, rows: &[(StoredBreaker, TransitionId)]) -> Option<String> {
        let taken_over = rows.iter().map(|(row, id)| {
            let Snapshot { epoch, state, .. } = row.snapshot;
            ((timeline, row.key.name().to_string(), epoch, state), id.clone())
        });
        self.taken_over.extend(taken_over);
        self.begun += 1;
        let most = self.times.min(2);
        (self.begun > most)
            .then(|| format!("{} timelines are begun, as the store went back once", self.begun))
    }

    pub(super) fn tripped(&mut self, trip: Trip) {
        self.trips.push(trip);
    }

    /// A replica shows this epoch of a timeline. A trip of its own from before that decides nothing any more: the state that it knows does
    /// (seed 6486422).
    pub(super) fn knows(&mut self, (replica, name): (usize, &str), (timeline, epoch): (u32, u64)) {
        self.trips.retain(|trip| {
            (trip.replica, &*trip.name, trip.timeline) != (replica, name, timeline)
                || epoch <= trip.base_epoch + 1
        });
    }

    /// The process of a replica begins anew, and knows of its trips by its journal alone.
    pub(super) fn begins(&mut self, replica: usize) {
        self.trips.retain(|trip| trip.replica != replica);
    }

    /// Trips of a replica, of an earlier timeline, whose wait is not over, which this store has not answered either, and after which
    /// nothing came that it knows of: a later CLOSED, with which the timeline began, stands over a trip of one before it (seed 3135837).
    pub(super) fn held(
        &self,
        (replica, name): (usize, &str),
        (timeline, now): (u32, Time),
        store: &MemoryStore,
    ) -> Vec<ProposalId> {
        let is_healed = |trip: &Trip| {
            let of_name = |epoch| (timeline, name.to_owned(), epoch, State::Closed);
            let later = of_name(trip.base_epoch + 1)..=of_name(u64::MAX);
            self.taken_over.range(later).any(|((.., state), _)| *state == State::Closed)
        };
        let holds = |trip: &&Trip| {
            trip.replica == replica
                && trip.name == name
                && trip.timeline < timeline
                && now < trip.until
                && !is_healed(trip)
        };
        let held = self.trips.iter().filter(holds);
        held.filter(|trip| !store.has_answered(&trip.transition_id())).map(|trip| trip.id).collect()
    }

    /// The transition of a timeline before that brought about this row, with which a timeline began.
    pub(super) fn took_over(
        &self,
        timeline: u32,
        name: &str,
        (epoch, state): (u64, State),
    ) -> Option<&TransitionId> {
        self.taken_over.get(&(timeline, name.to_owned(), epoch, state))
    }

    /// Whether it ever went back.
    pub(super) fn has_gone_back(&self) -> bool {
        self.times > 0
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
/// are the epochs of before that the rows stood for; none: it does not matter what becomes of it now.
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

/// Whether a row of the history is what a caller was told of: as what stood, as what stood in a timeline that is over, or
/// as the state that a replica took up from there. `taken_over` is the transition of a row that the timeline began with, as the one
/// before had it.
pub(super) fn is_told_by(
    row: &StoredTransition,
    timeline: Option<u32>,
    (epoch, state): (u64, State),
    taken_over: Option<&TransitionId>,
) -> bool {
    if row.to != state {
        return false;
    }
    let made_in = row.timeline.unwrap_or_default();
    let stands = row.epoch == Some(epoch) && timeline.is_none_or(|timeline| made_in <= timeline);
    let stood = row.epoch.is_none()
        && row.base_epoch + 1 == epoch
        && timeline.is_none_or(|timeline| made_in == timeline || taken_over == Some(&row.id));
    let taken_up = row.reason == Reason::Restart && timeline.is_none_or(|timeline| made_in > timeline);
    stands || stood || taken_up
}

/// Whether a row of the history is of a change that holds, until it is answered, in a later timeline than its own, whatever epoch the row has
/// there: FORCED_OPEN, or a trip. One that opened has another base there than its callers were told of.
///
/// One that stands at the epoch that callers were told of is it, whatever the numbers of the timelines: where two begin after one loss, the first
/// may have a lower number than the one that the trip was decided in (seed 6079927).
pub(super) fn is_held(row: &StoredTransition, timeline: Option<u32>, epoch: u64) -> bool {
    let is_trip = row.from != State::HalfOpen && row.to == State::Open && row.reason != Reason::Restart;
    let is_of_before = timeline.is_none_or(|timeline| row.timeline < Some(timeline));
    let has_opened = row.epoch == Some(epoch) || (row.epoch.is_some() && row.timeline == timeline);
    (row.to == State::ForcedOpen || is_trip) && (is_of_before || has_opened)
}

fn proposed(trip: &Trip) -> Proposal {
    let after =
        Snapshot { epoch: 1, state: State::Open, wait: Some(Duration::from_secs(2)), ..Snapshot::pristine() };
    let transition = Transition {
        from: State::Closed,
        reason: Reason::ConsecutiveFailures,
        stats: Stats::default(),
        base_epoch: 0,
        at: Time::ZERO,
        lasted: None,
        rejected_calls: 0,
        outcome: None,
        attribution: None,
        after,
        shadow: false,
    };
    Proposal {
        id: trip.transition_id(),
        key: Key::new("db", &trip.name).expect("a key"),
        change: Change::Transition(Box::new(transition)),
        numbering: Numbering::Store,
        store_unavailable: false,
        decided_at: Time::ZERO,
        service_override: None,
        age: Duration::ZERO,
        decided_in: DecidedIn::timeline(trip.timeline),
    }
}

/// It lost, and the history has nothing of it: another had brought about what it wanted.
#[test]
fn a_trip_that_came_after_that_of_another_replica_is_answered() {
    let clock = Arc::new(ManualClock::new(Time::from_micros(1_700_000_000_000_000)));
    let store = MemoryStore::new(clock, 1);
    let backup = store.snapshot();
    let mut going_back = GoingBack::default();
    let (name, now) = ("a", Time::ZERO);
    for replica in 0..3 {
        let id = ProposalId { boot: 1, number: 0 };
        let until = now + Duration::from_secs(1);
        let trip = Trip { replica, name: name.to_owned(), timeline: 0, id, base_epoch: 0, until };
        if replica < 2 {
            let answered = store.propose_shared(&[proposed(&trip)]).now_or_never().unwrap().unwrap();
            assert_eq!(matches!(answered[0].answer, Answer::Won { .. }), replica == 0);
        }
        going_back.tripped(trip);
    }
    let query = TransitionQuery { limit: u32::MAX, ..TransitionQuery::default() };
    assert_eq!(store.history(&query).len(), 1, "of the first alone");
    going_back.goes_back(0, false, &store);
    store.restore(&backup);
    let held = |replica| !going_back.held((replica, name), (1, now), &store).is_empty();
    assert_eq!([0, 1, 2].map(held), [false, false, true]);
}

/// A replica that was cut off tripped a breaker that others had opened and closed since.
#[test]
fn a_trip_of_before_is_not_held_over_what_came_after_it() {
    let clock = Arc::new(ManualClock::new(Time::from_micros(1_700_000_000_000_000)));
    let store = MemoryStore::new(clock, 1);
    for (base_epoch, is_held) in [(0, false), (2, false), (3, true), (4, true)] {
        let mut going_back = GoingBack::default();
        let (id, until) = (ProposalId { boot: 1, number: 0 }, Time::ZERO + Duration::from_secs(1));
        going_back.tripped(Trip { replica: 0, name: "a".to_owned(), timeline: 0, id, base_epoch, until });
        let closed = StoredBreaker {
            key: Key::new("db", "a").expect("a key"),
            snapshot: Snapshot { epoch: 3, ..Snapshot::pristine() },
            entered_by: None,
            decided_by: None,
            revision: 7,
        };
        going_back.goes_back(0, true, &store);
        let id = TransitionId { replica: "r1".into(), boot: 1, seq: 0 };
        assert_eq!(going_back.begun(5, &[(closed, id)]), None);
        let is_held_now =
            |going_back: &GoingBack| !going_back.held((0, "a"), (5, Time::ZERO), &store).is_empty();
        assert_eq!(is_held_now(&going_back), is_held, "a trip of epoch {base_epoch}");
        // Its own, and one that came after it.
        going_back.knows((0, "a"), (0, base_epoch + 1));
        assert_eq!(is_held_now(&going_back), is_held);
        going_back.knows((0, "a"), (0, base_epoch + 2));
        assert!(!is_held_now(&going_back));
    }
}
