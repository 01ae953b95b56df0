//! Two records of one breaker into one: a gap in the history, with the state behind it.

use breaker::{EnteredBy, Numbering, Reason, Snapshot, Time};

use crate::store::proposal::is_emergency_stop;
use crate::store::{Change, Gap, GapCause, Proposal};

/// How many transitions a record stands for that the history will not have.
pub(super) fn lost(proposal: &Proposal) -> u64 {
    match &proposal.change {
        Change::Transition(_) => 0,
        Change::Gap(gap) => gap.lost_transitions,
    }
}

/// When it happened; of a gap, the last of it.
pub(super) fn happened_at(proposal: &Proposal) -> Time {
    match &proposal.change {
        Change::Transition(transition) => transition.at,
        Change::Gap(gap) => gap.at,
    }
}

/// The state that a record brings; none: it brings no state.
pub(super) fn state_after(proposal: &Proposal) -> Option<&Snapshot> {
    match &proposal.change {
        Change::Transition(transition) if transition.shadow => None,
        Change::Transition(transition) => Some(&transition.after),
        Change::Gap(gap) => gap.after.as_ref(),
    }
}

/// How the state that a record brings was entered; none: it brings none, or is a gap, behind which nobody knows.
pub(super) fn entered_by(proposal: &Proposal) -> Option<EnteredBy> {
    match &proposal.change {
        Change::Transition(transition) if !transition.shadow => Some(transition.entered_by()),
        Change::Transition(_) | Change::Gap(_) => None,
    }
}

/// One record in the place of two of the same breaker that no store has been sent yet. It keeps the id of the newer
/// one, so that it has one id through all attempts and restarts. But what was decided alone stands over a change that the store has
/// yet to answer, and is history: the breaker waits for the answer to that change. What the store has already gives way as a whole:
/// it answers that id without a look at the rest, which then no store would ever be asked about.
pub(super) fn merge(older: &Proposal, newer: Proposal, cause: GapCause) -> Proposal {
    if older.decided_in.is_repeat {
        return newer;
    }
    if newer.decided_in.is_repeat {
        return older.clone();
    }
    let base_epoch = older.change.base_epoch();
    let is_over_change = newer.store_unavailable && !older.store_unavailable;
    let after = if is_over_change { state_after(older) } else { state_kept(older, &newer) };
    let gap = Gap {
        lost_transitions: transitions(older) + transitions(&newer),
        at: happened_at(older).max(happened_at(&newer)),
        base_epoch,
        after: after.cloned(),
        cause,
    };
    let kept = if is_over_change { older.clone() } else { newer };
    Proposal { change: Change::Gap(Box::new(gap)), ..kept }
}

/// The state that stands behind both. An emergency stop that the store has not answered stands until it has: what came after it by
/// itself is not known to have come at all.
fn state_kept<'a>(older: &'a Proposal, newer: &'a Proposal) -> Option<&'a Snapshot> {
    let is_stop = |state: &&Snapshot| older.numbering == Numbering::Store && is_emergency_stop(state);
    let is_act = matches!(&newer.change, Change::Transition(transition)
        if matches!(transition.reason, Reason::OverrideSet | Reason::OverrideCleared | Reason::Reset | Reason::Deleted));
    let stop = state_after(older).filter(is_stop).filter(|_| !is_act);
    let newest = state_after(newer).filter(|state| stop.is_none() || is_emergency_stop(state));
    newest.or(stop).or_else(|| state_after(older))
}

/// How many transitions a record stands for.
fn transitions(proposal: &Proposal) -> u64 {
    match &proposal.change {
        Change::Transition(_) => 1,
        Change::Gap(gap) => gap.lost_transitions,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use breaker::{Key, Override, OverrideKind, Scope, State, Stats, Transition};

    use super::*;
    use crate::store::TransitionId;

    pub(in crate::journal) fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn open(epoch: u64) -> Snapshot {
        Snapshot { epoch, state: State::Open, ..Snapshot::pristine() }
    }

    /// The record that enters `epoch`, as many seconds after 1970.
    pub(in crate::journal) fn record(name: &str, epoch: u64) -> Proposal {
        let transition = Transition {
            from: State::Closed,
            reason: Reason::ConsecutiveFailures,
            stats: Stats { failures: 5, ..Stats::default() },
            base_epoch: epoch - 1,
            at: at(epoch),
            lasted: None,
            rejected_calls: 0,
            outcome: None,
            attribution: None,
            after: open(epoch),
            shadow: false,
        };
        Proposal {
            id: TransitionId { replica: "replica-1".into(), boot: 1, seq: epoch },
            key: Key::new("db", name).unwrap(),
            change: Change::Transition(Box::new(transition)),
            numbering: Numbering::Own,
            store_unavailable: false,
            decided_at: Time::ZERO,
            service_override: None,
            age: Duration::ZERO,
            decided_in: crate::store::DecidedIn::default(),
        }
    }

    fn shadow(epoch: u64) -> Proposal {
        let Proposal { change: Change::Transition(transition), .. } = record("eu", epoch) else { panic!() };
        let change = Change::Transition(Box::new(Transition { shadow: true, ..*transition }));
        Proposal { change, ..record("eu", epoch) }
    }

    pub(in crate::journal) fn gap(proposal: &Proposal) -> &Gap {
        match &proposal.change {
            Change::Gap(gap) => gap,
            Change::Transition(transition) => panic!("{transition:?}"),
        }
    }

    #[test]
    fn an_emergency_stop_that_is_not_answered_stands_behind_the_gap() {
        let set_by = Override {
            kind: OverrideKind::ForcedOpen,
            scope: Scope::Breaker,
            expires_at: None,
            ttl: Some(Duration::from_secs(1)),
            actor: "ann".to_owned(),
            reason: "an emergency".to_owned(),
        };
        let after = |state, set_by| Snapshot { state, set_by, ..open(5) };
        let by = |numbering, reason, after: Snapshot| {
            let Proposal { change: Change::Transition(transition), .. } = record("eu", 5) else { panic!() };
            let change = Change::Transition(Box::new(Transition { reason, after, ..*transition }));
            Proposal { change, numbering, ..record("eu", 5) }
        };
        let stop = after(State::ForcedOpen, Some(set_by));
        let expired = after(State::Closed, None);
        let merged = |numbering, reason, next: &Snapshot| {
            let older = by(numbering, Reason::OverrideSet, stop.clone());
            let merged = merge(&older, by(numbering, reason, next.clone()), GapCause::JournalFull);
            gap(&merged).after.clone().unwrap()
        };
        assert_eq!(merged(Numbering::Store, Reason::OverrideExpired, &expired), stop);
        assert_eq!(merged(Numbering::Store, Reason::OverrideCleared, &expired), expired, "another act");
        assert_eq!(
            merged(Numbering::Own, Reason::OverrideExpired, &expired),
            expired,
            "it is known to have ended"
        );
        let trip = by(Numbering::Store, Reason::ConsecutiveFailures, open(4));
        let both =
            merge(&trip, by(Numbering::Store, Reason::OverrideSet, stop.clone()), GapCause::JournalFull);
        assert_eq!(gap(&both).after.as_ref(), Some(&stop));
    }

    #[test]
    fn two_records_of_a_breaker_become_a_gap_with_the_state_of_the_newer() {
        let cause = GapCause::JournalFull;
        let merged = merge(&record("eu", 4), record("eu", 5), cause);
        assert_eq!((&merged.id, &merged.key), (&record("eu", 5).id, &record("eu", 5).key));
        let both = Gap { lost_transitions: 2, at: at(5), base_epoch: 3, after: Some(open(5)), cause };
        assert_eq!(gap(&merged), &both);
        // And that with one more, on either side.
        let later = merge(&merged, record("eu", 6), cause);
        let three = Gap { lost_transitions: 3, at: at(6), after: Some(open(6)), ..both };
        assert_eq!(gap(&later), &three);
        let earlier = merge(&record("eu", 3), merged, cause);
        assert_eq!(
            gap(&earlier),
            &Gap { lost_transitions: 3, at: at(5), base_epoch: 2, after: Some(open(5)), cause }
        );
        // A clock that was behind makes no gap end before its beginning.
        assert_eq!(gap(&merge(&record("eu", 9), record("eu", 5), cause)).at, at(9));
    }

    #[test]
    fn a_record_that_brings_no_state_leaves_the_one_before() {
        let cause = GapCause::JournalUnwritable;
        let after = |older, newer| gap(&merge(&older, newer, cause)).after.as_ref().map(|after| after.epoch);
        assert_eq!(after(record("eu", 4), shadow(5)), Some(4));
        assert_eq!(after(shadow(4), record("eu", 5)), Some(5));
        assert_eq!(after(shadow(4), shadow(5)), None);
    }

    #[test]
    fn a_change_that_the_store_has_yet_to_answer_stands_below_what_was_decided_alone() {
        let of = |alone, epoch| Proposal { store_unavailable: alone, ..record("eu", epoch) };
        let merged = |older, newer| {
            let merged = merge(&older, newer, GapCause::JournalFull);
            let after = gap(&merged).after.as_ref().map(|after| after.epoch);
            (merged.id.seq, merged.store_unavailable, after, lost(&merged))
        };
        assert_eq!(merged(of(false, 4), of(true, 5)), (4, false, Some(4), 2));
        let both = merge(&of(true, 5), of(true, 6), GapCause::JournalFull);
        assert_eq!(merged(of(false, 4), both), (4, false, Some(4), 3));
        assert_eq!(merged(of(true, 5), of(true, 6)), (6, true, Some(6), 2));
        assert_eq!(merged(of(true, 5), of(false, 6)), (6, false, Some(6), 2));
    }

    /// The record that enters `epoch`, which the store has already.
    pub(in crate::journal) fn kept(name: &str, epoch: u64) -> Proposal {
        let decided_in = crate::store::DecidedIn { is_repeat: true, ..crate::store::DecidedIn::default() };
        Proposal { decided_in, ..record(name, epoch) }
    }

    #[test]
    fn what_the_store_has_already_gives_way_to_what_it_has_yet_to_answer() {
        let cause = GapCause::JournalFull;
        assert_eq!(merge(&record("eu", 4), kept("eu", 5), cause), record("eu", 4));
        assert_eq!(merge(&kept("eu", 4), record("eu", 5), cause), record("eu", 5));
        assert_eq!(merge(&kept("eu", 4), kept("eu", 5), cause), kept("eu", 5));
        let both = merge(&record("eu", 4), record("eu", 5), cause);
        assert_eq!(merge(&both, kept("eu", 6), cause), both);
        assert_eq!(merge(&kept("eu", 3), both.clone(), cause), both);
        let alone = Proposal { store_unavailable: true, ..record("eu", 4) };
        assert_eq!(merge(&alone, kept("eu", 5), cause), alone);
    }

    #[test]
    fn a_record_says_which_state_it_brings_and_how_that_was_entered() {
        let entered = EnteredBy {
            from: State::Closed,
            reason: Reason::ConsecutiveFailures,
            stats: Stats { failures: 5, ..Stats::default() },
        };
        let transition = record("eu", 4);
        assert_eq!((state_after(&transition), entered_by(&transition)), (Some(&open(4)), Some(entered)));
        assert_eq!((lost(&transition), happened_at(&transition)), (0, at(4)));
        let merged = merge(&transition, record("eu", 5), GapCause::JournalFull);
        assert_eq!((state_after(&merged), entered_by(&merged)), (Some(&open(5)), None));
        assert_eq!((lost(&merged), happened_at(&merged)), (2, at(5)));
        assert_eq!((state_after(&shadow(4)), entered_by(&shadow(4))), (None, None));
    }
}
