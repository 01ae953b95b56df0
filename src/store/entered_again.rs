//! A half-open that enters half-open again, as its store went back: whoever begins a timeline lets it, and no replica proposes it.
//!
//! The state is in no journal then, and would be missing from the history if the store went back once more. So every replica whose
//! tail reads it from its row takes it down, before it takes that row. All know it by one id, which follows from the timeline and the breaker, so
//! that the history has it once.

use std::hash::Hasher as _;

use breaker::{EnteredBy, Key, Reason, RowVersion, Snapshot, State, Stats, Time};
use siphasher::sip::SipHasher24;

use super::shared_store::ChangedRow;
use super::{Change, Proposal, StoredBreaker, TransitionId};

/// In place of a replica's name.
const DECIDED_BY: &str = "store";

/// The half-open begins anew at `now`, in a timeline that begins, without the probes that it gave.
pub(super) fn enter_again(breaker: StoredBreaker, timeline: u32, now: Time) -> Proposal {
    let StoredBreaker { key, snapshot, .. } = breaker;
    let lasted = now.since(snapshot.entered_at);
    let after = Snapshot { epoch: snapshot.epoch + 1, entered_at: now, ..snapshot };
    let mut again = proposal(key, after, timeline);
    if let Change::Transition(transition) = &mut again.change {
        transition.lasted = Some(lasted);
    }
    again
}

/// What let a half-open enter again, if that is the state of this row, as far as the row says: how long it had lasted before, it does not.
pub fn entered_again(changed: &ChangedRow) -> Option<Proposal> {
    let ChangedRow { key, row, entered_by, decided_by } = changed;
    let RowVersion { timeline, .. } = row.version;
    let is_again = row.snapshot.state == State::HalfOpen
        // Otherwise a replica took it up.
        && decided_by.is_none()
        && matches!(entered_by, Some(EnteredBy { from: State::HalfOpen, reason: Reason::Restart, .. }));
    is_again.then(|| proposal(key.clone(), row.snapshot.clone(), timeline))
}

fn proposal(key: Key, after: Snapshot, timeline: u32) -> Proposal {
    let decided_at = after.entered_at;
    let entered_by = EnteredBy { from: State::HalfOpen, reason: Reason::Restart, stats: Stats::default() };
    let id = TransitionId { replica: DECIDED_BY.into(), boot: u64::from(timeline), seq: number(&key) };
    Proposal { decided_at, ..Proposal::of_store(id, key, after, entered_by, timeline) }
}

/// A number for the breaker, the same in every process and in every version: 63 bits, as databases have them. Of two breakers with one
/// number the second would not enter again; to make up a name that has the number of another's takes 2^63 attempts.
fn number(key: &Key) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(key.service().as_bytes());
    // In no name.
    hasher.write(&[0xff]);
    hasher.write(key.name().as_bytes());
    hasher.finish() >> 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use breaker::Transition;

    use super::*;

    fn key(service: &str, name: &str) -> Key {
        Key::new(service, name).unwrap()
    }

    fn row(timeline: u32, after: &Snapshot, (from, reason): (State, Reason)) -> ChangedRow {
        let version = RowVersion { timeline, revision: 9 };
        let row = breaker::StoredRow { version, snapshot: after.clone(), age: Duration::ZERO };
        let entered_by = Some(EnteredBy { from, reason, stats: Stats::default() });
        ChangedRow { key: key("db", "a"), row, entered_by, decided_by: None }
    }

    #[test]
    fn who_reads_the_row_knows_the_transition_by_its_id() {
        let (before, now) = (Time::from_micros(1_000_000), Time::from_micros(3_000_000));
        let half_open =
            Snapshot { state: State::HalfOpen, epoch: 4, entered_at: before, ..Snapshot::pristine() };
        let stored = StoredBreaker {
            key: key("db", "a"),
            snapshot: half_open,
            entered_by: None,
            decided_by: None,
            revision: 7,
        };
        let decided = enter_again(stored, 5, now);
        let Change::Transition(transition) = &decided.change else { panic!("{decided:?}") };
        assert_eq!((transition.after.epoch, transition.lasted), (5, Some(Duration::from_secs(2))));
        let again = (State::HalfOpen, Reason::Restart);
        let read = entered_again(&row(5, &transition.after, again)).unwrap();
        assert_eq!((&read.id, &read.key, &read.decided_in), (&decided.id, &decided.key, &decided.decided_in));
        let as_read = Box::new(Transition { lasted: None, ..(**transition).clone() });
        assert_eq!(read.change, Change::Transition(as_read));
        for other in [(State::Open, Reason::WaitElapsed), (State::Open, Reason::Restart)] {
            assert_eq!(entered_again(&row(5, &transition.after, other)), None);
        }
        let opened = Snapshot { state: State::Open, ..transition.after.clone() };
        assert_eq!(entered_again(&row(5, &opened, again)), None);
    }

    /// Replicas of other versions know it by the same number.
    #[test]
    fn a_breaker_has_its_number_in_every_version() {
        assert_eq!(number(&key("db", "a")), 4_207_053_039_556_955_063);
        assert_eq!(number(&key("db", "")), 154_346_891_190_572_481);
        assert_ne!(number(&key("da", "xb")), number(&key("dax", "b")));
    }
}
