//! The store went back: breakers go over into its new timeline, one after the other.

use breaker::{Pass, Probe, ProposalAnswer, ProposalId, RowVersion, StoredRow};

use super::*;
use crate::protocol_rules::{Rule, without};

/// Gives what changes an id, as a journal does.
#[derive(Debug)]
struct Proposing;

const ID: ProposalId = ProposalId { boot: 1, number: 1 };

impl TransitionSink for Proposing {
    fn append(&self, _: Event<'_>) -> Appended {
        Appended { lsn: 1, id: Some(ID) }
    }
}

fn closed(timeline: u32, revision: u64, epoch: u64) -> StoredRow {
    let version = RowVersion { timeline, revision };
    StoredRow { version, snapshot: Snapshot { epoch, ..Snapshot::pristine() }, age: Duration::ZERO }
}

/// A replica with a trip that the store has not answered, when it hears of a new timeline; with the number of that.
fn tripped() -> (Engine, Key, u32) {
    let identity = StoreIdentity { numbering: Numbering::Store, ..identity(1) };
    let before = identity.timeline;
    let engine = Engine::new(LIMITS, identity, &catalog(&declaration(), 1), Box::new(Proposing), at(0));
    let key = Key::new("db", "").unwrap();
    engine.take_answer(&key, &StoreAnswer::Row(&closed(before, 1, 4)), None, at(0));
    trip(&engine, "db", "", at(1));
    engine.begin_timeline(before + 1);
    (engine, key, before + 1)
}

#[test]
fn a_trip_that_the_store_has_not_answered_holds_in_a_new_timeline_until_it_does() {
    let (engine, key, timeline) = tripped();
    engine.take_timeline(&key, &closed(timeline, 2, 2), None, at(2));
    assert_eq!(engine.view("db", "", at(2)).unwrap().state, State::Open);
    let row = closed(timeline, 3, 3);
    let answer = StoreAnswer::Proposal { id: ID, answer: ProposalAnswer::Lost, row: &row };
    engine.take_answer(&key, &answer, None, at(3));
    assert_eq!(engine.view("db", "", at(3)).unwrap().state, State::Closed);
}

/// The journal has the answer, and does not ask again.
#[test]
fn a_trip_that_was_answered_before_its_breaker_went_over_holds_no_longer() {
    let (engine, key, timeline) = tripped();
    let row = closed(timeline, 2, 2);
    let answer = StoreAnswer::Proposal { id: ID, answer: ProposalAnswer::Lost, row: &row };
    engine.take_answer(&key, &answer, None, at(2));
    assert_eq!(engine.view("db", "", at(2)).unwrap().state, State::Open, "it is in the timeline before");
    engine.take_timeline(&key, &row, None, at(3));
    assert_eq!(engine.view("db", "", at(3)).unwrap().state, State::Closed);
}

/// Where it is in the timeline before, its epoch says nothing of the probe: the slot would be out until its lease ends.
#[test]
fn the_outcome_of_a_probe_of_a_timeline_that_is_not_known_yet_is_the_stores() {
    let (engine, key, timeline) = tripped();
    let probe = Some(Probe { slot: 0, nonce: 9 });
    let permit = |timeline, epoch| Permit {
        timeline,
        key: engine.seals().key_id(key.service(), key.name()),
        branch: 0,
        kind: PermitKind::Tracked,
        pass: Pass { epoch, number: 1, probe },
        issuer: 2,
        issued_at: at(2),
        config_revision: 1,
    };
    let reported_in = |timeline, epoch| {
        let report = Report::plain(Outcome::Success);
        engine.probe_report(&by_permit(Some(permit(timeline, epoch))), &report, at(3)).unwrap()
    };
    let reported = |timeline| reported_in(timeline, 3);
    assert!(engine.allow("db", "", at(3)).unwrap().permit.is_none());
    let known = engine.view("db", "", at(3)).unwrap().view.snapshot.epoch;
    assert!(known > 3, "it knows a later epoch of before");
    let report = reported_in(timeline, known).expect("the store decides").report;
    assert_eq!(report.rejected_calls, 0, "what was rejected before is of another timeline");
    let report = reported(timeline).expect("the store decides").report;
    assert_eq!((report.epoch, Some(report.probe)), (3, probe));
    assert!(reported(timeline - 1).is_none(), "that epoch is over");
    engine.take_timeline(&key, &closed(timeline, 2, 4), None, at(4));
    assert!(reported(timeline).is_none(), "so is this one, now that the breaker is in its timeline");
}

/// The tail brings the row as well, and with it comes what the breaker was in before.
#[test]
fn an_answer_of_a_new_timeline_does_not_hide_the_state_of_before() {
    let taken_up = || {
        let identity = StoreIdentity { numbering: Numbering::Store, ..identity(1) };
        let before = identity.timeline;
        let engine = Engine::new(LIMITS, identity, &catalog(&declaration(), 1), Box::new(Proposing), at(0));
        let key = Key::new("db", "").unwrap();
        engine.take_answer(&key, &StoreAnswer::Row(&closed(before, 9, 7)), None, at(0));
        engine.begin_timeline(before + 1);
        let row = closed(before + 1, 2, 1);
        engine.take_answer(&key, &StoreAnswer::AnsweredRow(&row), None, at(1));
        engine.take_timeline(&key, &row, None, at(2)).map(|taken_up| taken_up.transition.after.epoch)
    };
    assert_eq!(taken_up(), Some(7));
    assert_eq!(without(Some(Rule::TimelineByTail), taken_up), None, "it has to");
}

/// What an earlier life had proposed is answered while the rows are read: the answer is of a moment before the row.
#[test]
fn a_row_of_the_timeline_that_an_answer_has_told_of_already_is_taken() {
    let identity = StoreIdentity { numbering: Numbering::Store, ..identity(1) };
    let timeline = identity.timeline + 1;
    let engine = Engine::new(LIMITS, identity, &catalog(&declaration(), 1), Box::new(Proposing), at(0));
    engine.begin_timeline(timeline);
    let key = Key::new("db", "replica").unwrap();
    let open = Snapshot { epoch: 3, state: State::Open, ..Snapshot::pristine() };
    let answered = StoredRow { snapshot: open, ..closed(timeline, 2, 3) };
    engine.take_answer(&key, &StoreAnswer::AnsweredRow(&answered), None, at(1));
    let known = || {
        let view = engine.view("db", "replica", at(2)).unwrap();
        (view.state, view.view.snapshot.epoch)
    };
    assert_eq!(known(), (State::Open, 3));
    for (row, shown) in [(closed(timeline, 4, 5), 5), (closed(timeline, 3, 4), 5)] {
        assert!(engine.take_timeline(&key, &row, None, at(2)).is_none());
        assert_eq!(known(), (State::Closed, shown));
    }
}
