//! A store that went back, while replicas use it: a timeline of the server that nobody has checked, and what a new timeline of the
//! store makes of what was decided before.

use std::time::Duration;

use breaker::{Key, Reason, RowVersion, State};
use breakerd::store::{
    Answer, Change, DecidedIn, ProbeRequest, Proposal, RowCursor, StoreError, StoredTransition,
    TransitionQuery,
};

use super::bed::{SharedBed, claim, claimed};
use super::on_every_shared_store;
use crate::store_contract::change::{key, proposed};

on_every_shared_store!(
    on_a_timeline_of_the_server_that_is_not_checked_nothing_is_written,
    a_timeline_is_begun_once_and_half_open_is_entered_again,
    what_was_decided_in_another_timeline_goes_into_the_history_alone,
    a_trip_that_nobody_has_answered_opens_a_new_timeline_for_the_rest_of_its_wait,
    an_emergency_stop_that_nobody_has_answered_stands_in_a_new_timeline,
    the_state_with_the_highest_epoch_of_before_stands_until_there_is_a_transition,
    an_answer_names_the_newest_change,
    revisions_are_asked_about,
);

fn in_timeline(timeline: u32, proposal: Proposal) -> Proposal {
    Proposal { decided_in: DecidedIn::timeline(timeline), ..proposal }
}

/// The state of epoch `epoch` of before.
fn taken_up(seq: u64, key: &Key, to: State, epoch: u64, timeline: u32) -> Proposal {
    let mut proposal = proposed(seq, key, State::Closed, to, epoch - 1);
    if let Change::Transition(transition) = &mut proposal.change {
        transition.reason = Reason::Restart;
    }
    let decided_in = DecidedIn { taken_up: Some(epoch), ..DecidedIn::timeline(timeline) };
    Proposal { decided_in, ..proposal }
}

async fn timeline(bed: &SharedBed) -> u32 {
    bed.store.meta().await.unwrap().timeline
}

async fn history(bed: &SharedBed) -> Vec<StoredTransition> {
    let query = TransitionQuery { oldest_first: true, limit: 99, ..TransitionQuery::default() };
    bed.store.transitions(&query).await.unwrap()
}

fn is_refused<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(error) if error.is_transient() && error.to_string().contains("may have gone back"))
}

async fn on_a_timeline_of_the_server_that_is_not_checked_nothing_is_written(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 2, 1).await;
    assert!(bed.rows_after(&RowCursor::default(), 9).await.position.is_checked);
    bed.change_server().await;
    let trip = proposed(1, &key("b", ""), State::Closed, State::Open, 0);
    assert!(is_refused(&bed.store.propose_shared(std::slice::from_ref(&trip)).await));
    assert!(is_refused(&bed.store.ask_probes(&[claim(&a, 1, &[7])]).await));
    let page = bed.rows_after(&RowCursor::default(), 9).await;
    assert!(!page.position.is_checked);
    assert!(page.position.went_back_behind(page.position.newest), "whatever it has");
    assert!(!bed.store.position(1).await.unwrap().is_checked);
    assert_eq!(bed.store.revision().await.unwrap(), 1);
    bed.store.begin_timeline(0, 0).await.unwrap();
    assert!(bed.rows_after(&RowCursor::default(), 9).await.position.is_checked);
    bed.store.propose_shared(&[trip]).await.unwrap();
}

async fn a_timeline_is_begun_once_and_half_open_is_entered_again(bed: &mut SharedBed) {
    let (a, b) = (key("a", ""), key("b", ""));
    bed.half_open([&a], 2, 1).await;
    bed.propose(proposed(1, &b, State::Closed, State::Open, 0)).await;
    let (grant, _) = bed.claim(&a, 1, &[7, 8]).await;
    assert_eq!(grant.unwrap().probes.len(), 2);
    bed.store.begin_timeline(0, 70_000).await.unwrap();
    let begun = timeline(bed).await;
    assert!(begun > 70_000);
    // Of two that noticed, the second was late.
    bed.store.begin_timeline(0, 90_000).await.unwrap();
    let page = bed.rows_after(&RowCursor::default(), 9).await;
    assert_eq!((page.position.timeline, page.position.newest.revision), (begun, 3));
    let rows: Vec<_> = page
        .rows
        .iter()
        .map(|row| (&row.key, row.row.version, row.row.snapshot.state, row.row.snapshot.epoch))
        .collect();
    let at = |revision| RowVersion { timeline: begun, revision };
    assert_eq!(rows, [(&b, at(2), State::Open, 1), (&a, at(3), State::HalfOpen, 2)]);
    let again = history(bed).await.pop().unwrap();
    assert_eq!((again.from, again.to, again.reason), (State::HalfOpen, State::HalfOpen, Reason::Restart));
    assert_eq!((again.timeline, again.epoch), (Some(begun), Some(2)));
    let claimed_in = async |timeline, epoch| {
        let ProbeRequest::Claim { key, claim, .. } = claim(&a, epoch, &[9, 10]) else { panic!() };
        claimed(bed.ask(ProbeRequest::Claim { key, claim, timeline }).await).0
    };
    assert!(claimed_in(begun, 1).await.is_none(), "its epoch is over");
    assert!(claimed_in(0, 2).await.is_none(), "its timeline is over");
    assert_eq!(claimed_in(begun, 2).await.unwrap().probes.len(), 2, "all of them are there");
    // With nothing in half-open there is a revision all the same.
    bed.store.begin_timeline(begun, begun).await.unwrap();
    assert!(timeline(bed).await > begun);
}

async fn what_was_decided_in_another_timeline_goes_into_the_history_alone(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.store.begin_timeline(0, 0).await.unwrap();
    let present = timeline(bed).await;
    let decided_in = DecidedIn { is_repeat: true, ..DecidedIn::timeline(0) };
    let old = Proposal { decided_in, ..proposed(1, &a, State::Closed, State::Open, 0) };
    let answered = bed.propose(old.clone()).await;
    assert!(matches!(answered.answer, Answer::Lost { .. }), "{answered:?}");
    let revision = answered.newest.revision;
    assert_eq!(answered.row.row.version, RowVersion { timeline: present, revision });
    let rows = history(bed).await;
    assert_eq!((rows.len(), rows[0].timeline, rows[0].superseded), (1, Some(0), true));
    assert_eq!((rows[0].to, rows[0].base_epoch, rows[0].epoch), (State::Open, 0, None));
    bed.propose(old).await;
    assert_eq!(history(bed).await.len(), 1, "once, however often it is sent");
    let new = in_timeline(present, proposed(2, &a, State::Closed, State::Open, 0));
    assert!(matches!(bed.propose(new).await.answer, Answer::Won { epoch: 1, .. }));
    assert_eq!(history(bed).await[1].timeline, Some(present));
}

async fn a_trip_that_nobody_has_answered_opens_a_new_timeline_for_the_rest_of_its_wait(bed: &mut SharedBed) {
    bed.store.begin_timeline(0, 0).await.unwrap();
    let present = timeline(bed).await;
    let trip = |seq, key: &Key, base_epoch, age: u64| {
        let mut proposal = proposed(seq, key, State::Closed, State::Open, base_epoch);
        if let Change::Transition(transition) = &mut proposal.change {
            transition.after.wait = Some(Duration::from_mins(1));
        }
        Proposal { age: Duration::from_secs(age), ..in_timeline(0, proposal) }
    };
    let (a, b, c) = (key("a", ""), key("b", ""), key("c", ""));
    let answered = bed.propose(trip(1, &a, 2, 20)).await;
    assert!(matches!(answered.answer, Answer::Won { epoch: 1, .. }), "{answered:?}");
    let age = answered.row.row.age;
    assert!(
        (Duration::from_secs(20)..Duration::from_secs(50)).contains(&age),
        "{age:?} of its wait are over"
    );
    assert_eq!(history(bed).await[0].timeline, Some(0), "it was decided before");
    // The row stands for the state that it left, in this transaction and in the next.
    let state = async |seq, key: &Key, to, epoch| {
        bed.propose(taken_up(seq, key, to, epoch, present)).await.row.row.snapshot.state
    };
    assert_eq!(state(10, &a, State::Closed, 2).await, State::Open);
    assert_eq!(state(11, &a, State::Closed, 3).await, State::Closed);
    // Nothing is left of this one, and another knew less than somebody else.
    assert!(matches!(bed.propose(trip(2, &b, 0, 60)).await.answer, Answer::Lost { .. }));
    assert_eq!(state(12, &c, State::Closed, 5).await, State::Closed);
    assert!(matches!(bed.propose(trip(3, &c, 4, 20)).await.answer, Answer::Lost { .. }));
    assert!(matches!(bed.propose(trip(4, &c, 5, 20)).await.answer, Answer::Won { epoch: 2, .. }));
    // Of two that tripped, the second finds it open.
    assert!(matches!(bed.propose(trip(5, &c, 5, 20)).await.answer, Answer::Lost { .. }));
}

async fn an_emergency_stop_that_nobody_has_answered_stands_in_a_new_timeline(bed: &mut SharedBed) {
    bed.store.begin_timeline(0, 0).await.unwrap();
    let stop = |seq, key: &Key, is_repeat| {
        let mut proposal = proposed(seq, key, State::Closed, State::ForcedOpen, 0);
        if let Change::Transition(transition) = &mut proposal.change {
            transition.reason = Reason::OverrideSet;
        }
        let decided_in = DecidedIn { is_repeat, ..DecidedIn::timeline(0) };
        Proposal { decided_in, ..proposal }
    };
    let (a, b) = (key("a", ""), key("b", ""));
    let unanswered = bed.propose(stop(1, &a, false)).await;
    assert!(matches!(unanswered.answer, Answer::Won { epoch: 1, .. }), "{unanswered:?}");
    // This one stood in the timeline before, and may have been reset there.
    assert!(matches!(bed.propose(stop(2, &b, true)).await.answer, Answer::Lost { .. }));
}

async fn the_state_with_the_highest_epoch_of_before_stands_until_there_is_a_transition(bed: &mut SharedBed) {
    let (a, b) = (key("a", ""), key("b", ""));
    bed.propose(proposed(1, &a, State::Closed, State::Open, 0)).await;
    bed.store.begin_timeline(0, 0).await.unwrap();
    let present = timeline(bed).await;
    let answer = async |seq, key: &Key, to, epoch| {
        let answered = bed.propose(taken_up(seq, key, to, epoch, present)).await;
        (matches!(answered.answer, Answer::Won { .. }), answered.row.row.snapshot.state)
    };
    assert_eq!(answer(10, &a, State::Closed, 1).await, (false, State::Open), "no later than what is there");
    assert_eq!(answer(11, &a, State::Closed, 4).await, (true, State::Closed));
    assert_eq!(answer(12, &a, State::Open, 3).await, (false, State::Closed), "it knew less");
    assert_eq!(answer(13, &a, State::Open, 5).await, (true, State::Open));
    assert_eq!(answer(14, &a, State::Open, 5).await, (false, State::Open), "it is that");
    let open = in_timeline(present, proposed(2, &a, State::Open, State::Closed, 3));
    assert!(matches!(bed.propose(open).await.answer, Answer::Won { epoch: 4, .. }));
    assert_eq!(answer(15, &a, State::Open, 9).await, (false, State::Closed), "something came since");
    // A breaker of which the store lost all.
    assert_eq!(answer(16, &b, State::Open, 1).await, (true, State::Open));
    // Reconciled with the timeline before the one before it is not reconciled any more.
    bed.store.begin_timeline(present, present).await.unwrap();
    let later = timeline(bed).await;
    let again = bed.propose(taken_up(17, &b, State::Closed, 2, later)).await;
    assert!(matches!(again.answer, Answer::Won { epoch: 2, .. }), "{again:?}");
}

async fn an_answer_names_the_newest_change(bed: &mut SharedBed) {
    let a = key("a", "");
    let won = bed.propose(proposed(1, &a, State::Closed, State::Open, 0)).await;
    let position = bed.store.position(1).await.unwrap();
    assert_eq!(won.newest, position.newest);
    let lost = bed.propose(proposed(2, &a, State::Closed, State::HalfOpen, 0)).await;
    assert_eq!(lost.newest, bed.store.position(1).await.unwrap().newest, "also if nothing was written");
}

async fn revisions_are_asked_about(bed: &mut SharedBed) {
    for seq in 1..=3 {
        bed.propose(proposed(seq, &key("a", &seq.to_string()), State::Closed, State::Open, 0)).await;
    }
    let page = bed.store.rows_after(&RowCursor::default(), &[3, 1, 9], 1).await.unwrap();
    let mut seen = page.seen.clone();
    seen.sort_by_key(|change| change.revision);
    assert_eq!(seen.iter().map(|change| change.revision).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(seen[1], page.position.newest);
}
