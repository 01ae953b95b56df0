//! Rows of breakers that the store lets go of while replicas know them.

use breaker::{
    CausingOutcome, EnteredBy, Probe, ProbeAnswer, ProbeCounts, ProbeReport, ProbeSettled, ProposalAnswer,
    ProposalId, RowVersion, Stats, StoredRow,
};

use super::retiring::{HOUR, ROOM, epoch, key};
use super::*;

/// One of several replicas, whose breakers are those that rows are taken of.
fn replica() -> Engine {
    let identity = StoreIdentity { numbering: Numbering::Store, ..identity(1) };
    Engine::new(ROOM, identity, &catalog(&declaration(), 1), Box::new(Kept::default()), at(0))
}

/// The row of a breaker at this epoch, closed for so long; at epoch 0, that there is none.
fn row(revision: u64, epoch: u64, age_s: u64) -> StoredRow {
    let version = RowVersion { timeline: identity(1).timeline, revision };
    let snapshot = Snapshot { epoch, ..Snapshot::pristine() };
    StoredRow { version, snapshot, age: Duration::from_secs(age_s) }
}

#[test]
fn a_replica_says_which_breakers_it_uses_and_asks_about_those_that_calls_create() {
    let engine = replica();
    engine.take_answer(&key("x"), &StoreAnswer::Row(&row(1, 2, 0)), None, at(0));
    engine.take_answer(&key("idle"), &StoreAnswer::Row(&row(2, 4, HOUR)), None, at(HOUR));
    assert_eq!((engine.len(), engine.retired()), (2, 1), "of one that is idle only the epoch is kept");
    assert_eq!(engine.rows_created(9), [(Key::new("db", "").unwrap(), 0)]);
    engine.allow("db", "new", at(1)).unwrap();
    engine.allow("db", "idle", at(1)).unwrap();
    engine.allow("db", "new", at(1)).unwrap();
    let mut created = engine.rows_created(9);
    created.sort();
    assert_eq!(created, [(key("idle"), 4), (key("new"), 0)]);
    assert_eq!(engine.rows_created(9), []);
    let mut walk = engine.row_walk();
    let mut used = [Engine::rows_used(&mut walk, 1), Engine::rows_used(&mut walk, 9)].concat();
    used.sort();
    assert_eq!(used, [(key("idle"), 4), (key("x"), 2)]);
    assert_eq!(Engine::rows_used(&mut walk, 9), []);
}

#[test]
fn a_breaker_whose_row_went_begins_anew_and_permits_of_before_do_not_count() {
    let engine = replica();
    engine.take_answer(&key("x"), &StoreAnswer::Row(&row(1, 2, HOUR)), None, at(0));
    let before = [(); 2].map(|()| engine.allow("db", "x", at(1)).unwrap().permit);
    assert_eq!(epoch(&engine, "x", at(1)), Some(2), "as far as it is known");
    engine.take_other_row(&key("x"), &row(9, 0, 0), None, at(2));
    assert_eq!(epoch(&engine, "x", at(2)), Some(0));
    let failure = Report::plain(Outcome::Failure);
    let record = |permit, now| {
        let target = Target { permit, service: "db", name: "x", epoch: None };
        engine.record(target, &failure, now).unwrap().recorded
    };
    assert_eq!(record(before[0], at(2)), Recorded::NotCounted);
    // Nor once another replica has brought it so far again.
    let row_after = |revision| StoredRow { age: Duration::ZERO, ..row(revision, 3, 0) };
    engine.take_answer(&key("x"), &StoreAnswer::Row(&row_after(12)), None, at(3));
    assert_eq!(record(before[1], at(3)), Recorded::Late);
    // An answer that is older than what was taken says nothing.
    engine.take_other_row(&key("x"), &row(11, 0, 0), None, at(4));
    assert_eq!(epoch(&engine, "x", at(4)), Some(3));
}

/// Nothing was written since, so that the newest change is the one that wrote the row.
#[test]
fn a_row_that_went_after_the_newest_change_is_known_to_be_gone() {
    let engine = replica();
    engine.take_answer(&key("x"), &StoreAnswer::Row(&row(1, 2, HOUR)), None, at(HOUR));
    engine.allow("db", "x", at(HOUR)).unwrap();
    assert_eq!(epoch(&engine, "x", at(HOUR)), Some(2), "as far as it is known");
    engine.take_other_row(&key("x"), &row(1, 0, 0), None, at(HOUR));
    assert_eq!(epoch(&engine, "x", at(HOUR)), Some(0));
    engine.take_answer(&key("x"), &StoreAnswer::AnsweredRow(&row(1, 2, 0)), None, at(HOUR));
    assert_eq!(epoch(&engine, "x", at(HOUR)), Some(0), "the row as it was");
}

#[test]
fn an_answer_that_was_on_its_way_while_another_replica_deleted_the_breaker_does_not_bring_it_back() {
    let engine = replica();
    let open = |revision, epoch| {
        let snapshot = Snapshot { epoch, state: State::HalfOpen, ..Snapshot::pristine() };
        StoredRow { snapshot, ..row(revision, epoch, 0) }
    };
    engine.take_answer(&key("x"), &StoreAnswer::Row(&open(1, 2)), None, at(0));
    let deleted = EnteredBy { from: State::HalfOpen, reason: Reason::Deleted, stats: Stats::default() };
    engine.take_answer(&key("x"), &StoreAnswer::Row(&row(2, 3, 0)), Some(deleted), at(1));
    assert!(engine.retire_deleted("db", "x", u64::MAX, at(1)));
    let live = engine.len();
    let late = open(1, 2);
    let answer = ProposalAnswer::Lost;
    let report = ProbeReport {
        epoch: 2,
        probe: Probe { slot: 0, nonce: 9 },
        outcome: None,
        causing: CausingOutcome { error_class: String::new(), caller: String::new() },
        wait: Duration::from_secs(30),
        retry_after: None,
        config_revision: 1,
        rejected_calls: 0,
    };
    let settled =
        ProbeAnswer { settled: ProbeSettled::Recorded, counts: ProbeCounts::default(), row: late.clone() };
    for answer in [
        StoreAnswer::AnsweredRow(&late),
        StoreAnswer::Proposal { id: ProposalId { boot: 1, number: 1 }, answer, row: &late },
        StoreAnswer::Settled { report: &report, took: None, answer: &settled },
    ] {
        engine.take_answer(&key("x"), &answer, None, at(1));
        assert_eq!((engine.len(), epoch(&engine, "x", at(1))), (live, Some(3)), "{answer:?}");
    }
    engine.take_other_row(&key("x"), &late, None, at(1));
    assert_eq!((engine.len(), epoch(&engine, "x", at(1))), (live, Some(3)));
    engine.take_answer(&key("x"), &StoreAnswer::Row(&late), None, at(1));
    assert_eq!(
        (engine.len(), epoch(&engine, "x", at(1))),
        (live, Some(3)),
        "read before the deletion was answered"
    );
    // Nor once a call has used it again.
    engine.allow("db", "x", at(1)).unwrap();
    for answer in [
        StoreAnswer::AnsweredRow(&late),
        StoreAnswer::Proposal { id: ProposalId { boot: 1, number: 1 }, answer, row: &late },
        StoreAnswer::Settled { report: &report, took: None, answer: &settled },
        StoreAnswer::Row(&late),
    ] {
        engine.take_answer(&key("x"), &answer, None, at(1));
        assert_eq!(epoch(&engine, "x", at(1)), Some(3), "{answer:?}");
    }
    engine.take_other_row(&key("x"), &late, None, at(1));
    assert_eq!(epoch(&engine, "x", at(1)), Some(3));
    // Another replica has used it again, or its epochs began anew: that is newer.
    engine.take_answer(&key("x"), &StoreAnswer::Row(&open(9, 2)), None, at(2));
    assert_eq!((engine.len(), epoch(&engine, "x", at(2))), (live + 1, Some(2)));
}

/// Its revisions say nothing of those of another timeline.
#[test]
fn a_breaker_that_was_retired_in_an_earlier_timeline_takes_the_rows_of_the_present_one() {
    let engine = replica();
    let present = identity(1).timeline + 1;
    engine.take_answer(&key("x"), &StoreAnswer::Row(&row(7, 3, HOUR)), None, at(HOUR));
    engine.begin_timeline(present);
    engine.allow("db", "x", at(HOUR)).unwrap();
    let version = RowVersion { timeline: present, revision: 2 };
    let row = StoredRow { version, ..row(2, 4, 0) };
    engine.take_answer(&key("x"), &StoreAnswer::AnsweredRow(&row), None, at(HOUR));
    assert_eq!(epoch(&engine, "x", at(HOUR)), Some(4));
}

#[test]
fn a_change_that_the_store_has_not_answered_stands_though_the_row_went() {
    let engine = replica();
    engine.take_answer(&key("x"), &StoreAnswer::Row(&row(1, 2, 0)), None, at(0));
    trip(&engine, "db", "x", at(1));
    engine.take_other_row(&key("x"), &row(9, 0, 0), None, at(2));
    assert_eq!(engine.view("db", "x", at(2)).unwrap().state, State::Open);
}

#[test]
fn what_is_kept_of_retired_breakers_is_forgotten_when_it_is_old() {
    let engine = replica();
    engine.take_answer(&key("x"), &StoreAnswer::Row(&row(1, 2, HOUR)), None, at(HOUR));
    engine.take_answer(&key("y"), &StoreAnswer::Row(&row(2, 2, 9 * HOUR)), None, at(9 * HOUR));
    let hours = |hours| Duration::from_secs(hours * HOUR);
    assert_eq!(
        engine.forget_retired(hours(1), hours(1), at(9 * HOUR)),
        1,
        "the other was not used for so long"
    );
    assert_eq!(engine.forget_retired(hours(9), hours(1), at(11 * HOUR)), 1);
    assert_eq!((engine.retired(), epoch(&engine, "y", at(11 * HOUR))), (0, None));
}
