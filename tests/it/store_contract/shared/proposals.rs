//! Proposals that the store numbers, each answered with the row.

use std::time::Duration;

use breaker::{
    Attribution, CausingOutcome, EnteredBy, Key, OverrideKind, Reason, RowVersion, Scope, Snapshot, State,
    Time,
};
use breakerd::store::{
    Answer, Change, ConfigEdit, ConfigWrite, ConfigWritten, ProbeResponse, Proposal, ServiceOverride,
    TransitionQuery,
};

use super::bed::{SharedBed, claim, timeless, to_half_open};
use super::on_every_shared_store;
use crate::store_contract::change::{key, proposed, snapshot, transition};

on_every_shared_store!(
    what_won_is_answered_with_the_row_that_it_wrote,
    what_lost_is_answered_with_the_row_that_stands,
    a_known_id_is_answered_as_before_with_the_row_of_now,
    what_lost_on_a_breaker_without_a_row_is_answered_as_pristine,
    all_of_a_batch_are_answered_with_the_row_after_it,
    the_age_of_a_row_is_by_the_clock_of_the_store,
    a_wait_is_over_by_the_clock_of_the_store,
    a_row_is_of_the_timeline_that_the_store_has,
    an_act_loses_if_another_came_between_and_is_kept,
    an_act_wins_over_what_happened_by_itself,
    open_waits_from_when_it_was_decided,
    an_override_ends_by_the_clock_of_the_store,
    an_override_of_the_service_is_brought_while_the_service_has_it,
    a_half_open_times_out_by_the_clock_of_the_store,
    words_are_kept_as_they_are,
    a_large_batch_is_written_as_many_small_ones_are,
);

async fn what_won_is_answered_with_the_row_that_it_wrote(bed: &mut SharedBed) {
    let a = key("a", "x");
    bed.propose(proposed(1, &key("b", ""), State::Closed, State::Open, 0)).await;
    let answered = bed.propose(proposed(2, &a, State::Closed, State::Open, 0)).await;
    assert_eq!(answered.answer, Answer::Won { epoch: 1, revision: 2 });
    let row = &answered.row;
    assert_eq!(row.key, a);
    assert_eq!(row.row.version, RowVersion { timeline: 0, revision: 2 });
    assert_eq!(timeless(&row.row.snapshot), timeless(&snapshot(State::Open, 1)));
    let stats = transition(State::Closed, State::Open, 0).stats;
    assert_eq!(row.entered_by, Some(EnteredBy { from: State::Closed, reason: Reason::FailureRate, stats }));
    assert!(row.row.age < Duration::from_mins(1), "entered by the clock of the store: {:?}", row.row.age);
    let stored = bed.store.breakers(None, 1).await.unwrap();
    assert_eq!((&stored[0].key, &stored[0].snapshot), (&a, &row.row.snapshot));
}

async fn what_lost_is_answered_with_the_row_that_stands(bed: &mut SharedBed) {
    let a = key("a", "");
    let first = bed.propose(proposed(1, &a, State::Closed, State::Open, 0)).await;
    let second = bed.propose(proposed(2, &a, State::Closed, State::HalfOpen, 0)).await;
    assert_eq!(second.answer, Answer::Lost { present: first.row.row.snapshot.clone() });
    assert_eq!(second.row.row.snapshot, first.row.row.snapshot);
    assert_eq!(second.row.row.version, first.row.row.version);
    assert_eq!(second.row.entered_by, first.row.entered_by);
}

async fn a_known_id_is_answered_as_before_with_the_row_of_now(bed: &mut SharedBed) {
    let a = key("a", "");
    let trip = proposed(1, &a, State::Closed, State::Open, 0);
    bed.propose(trip.clone()).await;
    bed.propose(proposed(2, &a, State::Open, State::Closed, 1)).await;
    let again = bed.propose(trip).await;
    assert_eq!(again.answer, Answer::Won { epoch: 1, revision: 1 });
    assert_eq!(again.row.row.version.revision, 2);
    assert_eq!((again.row.row.snapshot.state, again.row.row.snapshot.epoch), (State::Closed, 2));
    assert_eq!(bed.store.revision().await.unwrap(), 2, "nothing was written");
}

async fn what_lost_on_a_breaker_without_a_row_is_answered_as_pristine(bed: &mut SharedBed) {
    let a = key("a", "");
    let answered = bed.propose(proposed(1, &a, State::Open, State::HalfOpen, 5)).await;
    assert_eq!(answered.answer, Answer::Lost { present: Snapshot::pristine() });
    assert_eq!(answered.row.key, a);
    // No row of such an epoch was let go of: the store has lost it, and no replica takes this over what it knows.
    assert_eq!(answered.row.row.version, RowVersion { timeline: 0, revision: 0 });
    assert_eq!(answered.row.row.snapshot, Snapshot::pristine());
    assert_eq!(answered.row.entered_by, None);
    assert_eq!(bed.store.breakers(None, 1).await.unwrap(), [], "no row came of it");
}

async fn all_of_a_batch_are_answered_with_the_row_after_it(bed: &mut SharedBed) {
    let (a, b) = (key("a", ""), key("b", ""));
    let batch = [
        proposed(1, &b, State::Closed, State::Open, 0),
        proposed(2, &a, State::Closed, State::Open, 0),
        proposed(3, &b, State::Open, State::Closed, 1),
    ];
    let answered = bed.store.propose_shared(&batch).await.unwrap();
    let brief: Vec<_> = answered
        .iter()
        .map(|answered| {
            let Answer::Won { epoch, revision } = answered.answer else { panic!("{answered:?}") };
            let row = &answered.row.row;
            (answered.row.key == b, epoch, revision, row.snapshot.epoch, row.version.revision)
        })
        .collect();
    assert_eq!(brief, [(true, 1, 1, 2, 1), (false, 1, 1, 1, 1), (true, 2, 1, 2, 1)]);
    assert_eq!(bed.store.propose_shared(&[]).await.unwrap(), []);
}

async fn the_age_of_a_row_is_by_the_clock_of_the_store(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.propose(proposed(1, &a, State::Closed, State::Open, 0)).await;
    bed.pass(Duration::from_hours(1)).await;
    let (_, row) = bed.claim(&a, 1, &[7]).await;
    let hour = Duration::from_hours(1)..Duration::from_hours(2);
    assert!(hour.contains(&row.row.age), "{:?}", row.row.age);
    let page = bed.rows_after(&breakerd::store::RowCursor::default(), 1).await;
    assert!(hour.contains(&page.rows[0].row.age), "{page:?}");
}

/// OPEN to HALF_OPEN, because the wait is over.
fn waited(seq: u64, key: &Key) -> Proposal {
    let mut change = transition(State::Open, State::HalfOpen, 1);
    change.reason = Reason::WaitElapsed;
    let change = Change::Transition(Box::new(change));
    Proposal { change, ..proposed(seq, key, State::Open, State::HalfOpen, 1) }
}

async fn a_wait_is_over_by_the_clock_of_the_store(bed: &mut SharedBed) {
    let a = key("a", "");
    let open = bed.propose(proposed(1, &a, State::Closed, State::Open, 0)).await.row.row.snapshot;
    let early = bed.propose(waited(2, &a)).await;
    assert_eq!(early.answer, Answer::Lost { present: open.clone() });
    assert!(early.row.row.age < open.wait.unwrap(), "how long is left follows from it");
    bed.pass(open.wait.unwrap()).await;
    assert_eq!(bed.propose(waited(3, &a)).await.answer, Answer::Won { epoch: 2, revision: 2 });
}

async fn a_row_is_of_the_timeline_that_the_store_has(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.propose(proposed(1, &a, State::Closed, State::Open, 0)).await;
    bed.store.renew_timeline(0, 70_000).await.unwrap();
    let timeline = bed.store.meta().await.unwrap().timeline;
    let answered = bed.propose(proposed(2, &a, State::Open, State::Closed, 1)).await;
    assert_eq!(answered.row.row.version, RowVersion { timeline, revision: 3 });
    let none = bed.ask(claim(&key("none", ""), 1, &[7])).await;
    let ProbeResponse::Claimed { row, .. } = none else { panic!("{none:?}") };
    assert_eq!(row.row.version, RowVersion { timeline, revision: 0 }, "also of a breaker that has no row");
    let page = bed.rows_after(&breakerd::store::RowCursor::default(), 9).await;
    assert_eq!(page.rows[0].row.version.timeline, timeline);
    assert_eq!(page.position.timeline, timeline);
}

/// A breaker is reset, by an operator who saw the row of `base_epoch`.
fn reset(seq: u64, key: &Key, from: State, base_epoch: u64) -> Proposal {
    let mut change = transition(from, State::Closed, base_epoch);
    change.reason = Reason::Reset;
    let change = Change::Transition(Box::new(change));
    Proposal { change, ..proposed(seq, key, from, State::Closed, base_epoch) }
}

async fn an_act_loses_if_another_came_between_and_is_kept(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.propose(proposed(1, &a, State::Closed, State::Open, 0)).await;
    let forced = bed.propose(proposed(2, &a, State::Open, State::ForcedOpen, 1)).await;
    assert_eq!(forced.answer, Answer::Won { epoch: 2, revision: 2 });
    // By one who was cut off meanwhile.
    let late = bed.propose(reset(3, &a, State::Open, 1)).await;
    assert_eq!(late.answer, Answer::Lost { present: forced.row.row.snapshot.clone() });
    assert_eq!(late.row.row.snapshot, forced.row.row.snapshot, "the emergency stop stands");
    let query = TransitionQuery { limit: 1, ..TransitionQuery::default() };
    let history = bed.store.transitions(&query).await.unwrap();
    assert_eq!((history[0].reason, history[0].superseded), (Reason::Reset, true));
    // The emergency stop itself asks for nothing.
    let forced = bed.propose(proposed(4, &a, State::Closed, State::ForcedOpen, 0)).await;
    assert!(matches!(forced.answer, Answer::Won { epoch: 3, .. }), "{forced:?}");
    let seen = bed.propose(reset(5, &a, State::ForcedOpen, 3)).await;
    assert!(matches!(seen.answer, Answer::Won { epoch: 4, .. }), "{seen:?}");
}

async fn an_act_wins_over_what_happened_by_itself(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.propose(reset(1, &a, State::Closed, 0)).await;
    bed.propose(proposed(2, &a, State::Closed, State::Open, 1)).await;
    let reset_again = bed.propose(reset(3, &a, State::Closed, 1)).await;
    assert_eq!(reset_again.answer, Answer::Won { epoch: 3, revision: 3 });
    // Probes by hand are no such act.
    bed.propose(proposed(4, &a, State::Closed, State::Open, 3)).await;
    let late = bed.propose(to_half_open(5, &a, State::Open, 3, (1, 1))).await;
    assert!(matches!(late.answer, Answer::Lost { .. }), "{late:?}");
    let seen = bed.propose(to_half_open(6, &a, State::Open, 4, (1, 1))).await;
    assert!(matches!(seen.answer, Answer::Won { epoch: 5, .. }), "{seen:?}");
}

async fn open_waits_from_when_it_was_decided(bed: &mut SharedBed) {
    let (a, b) = (key("a", ""), key("b", ""));
    // So that there is a state that lasted.
    bed.propose(reset(1, &a, State::Closed, 0)).await;
    bed.propose(reset(2, &b, State::Closed, 0)).await;
    bed.pass(Duration::from_hours(1)).await;
    let trip = |seq, key, age| Proposal { age, ..proposed(seq, key, State::Closed, State::Open, 1) };
    let waited = Duration::from_secs(45);
    let opened = bed.propose(trip(3, &a, waited)).await;
    assert!(matches!(opened.answer, Answer::Won { epoch: 2, .. }), "{opened:?}");
    assert!((waited..waited + Duration::from_secs(30)).contains(&opened.row.row.age), "{opened:?}");
    let wait = opened.row.row.snapshot.wait.unwrap();
    let over = bed.propose(trip(4, &b, wait)).await;
    assert!(matches!(over.answer, Answer::Lost { .. }), "{over:?}");
    let query = TransitionQuery { limit: 1, ..TransitionQuery::default() };
    let history = bed.store.transitions(&query).await.unwrap();
    assert_eq!((&history[0].key, history[0].to, history[0].superseded), (&b, State::Open, true));
}

/// What time brings about.
fn timed(seq: u64, key: &Key, from: State, to: State, base_epoch: u64, reason: Reason) -> Proposal {
    let mut change = transition(from, to, base_epoch);
    change.reason = reason;
    let change = Change::Transition(Box::new(change));
    Proposal { change, ..proposed(seq, key, from, to, base_epoch) }
}

async fn an_override_ends_by_the_clock_of_the_store(bed: &mut SharedBed) {
    let a = key("a", "");
    let set = bed.propose(proposed(1, &a, State::Closed, State::Disabled, 0)).await.row.row.snapshot;
    let expired = |seq| timed(seq, &a, State::Disabled, State::Closed, 1, Reason::OverrideExpired);
    let early = bed.propose(expired(2)).await;
    assert_eq!(early.answer, Answer::Lost { present: set.clone() });
    assert_eq!(bed.store.revision().await.unwrap(), 1, "there is nothing to say of it");
    bed.pass(set.set_by.unwrap().ttl.unwrap()).await;
    assert_eq!(bed.propose(expired(3)).await.answer, Answer::Won { epoch: 2, revision: 2 });
}

async fn an_override_of_the_service_is_brought_while_the_service_has_it(bed: &mut SharedBed) {
    let lasts = Duration::from_hours(1);
    let write = async |based_on, set, not_before| {
        let write = ConfigWrite {
            based_on,
            edit: ConfigEdit::Override { service: "a".to_owned(), set, not_before },
            touched: ["a".to_owned()].into(),
            attribution: Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() },
            request: None,
            waits: &|_, _| None,
        };
        bed.store.write_config(&write).await.unwrap()
    };
    let set = ServiceOverride {
        kind: OverrideKind::Disabled,
        expires_at: None,
        ttl: Some(lasts),
        attribution: Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() },
        set_at: Time::ZERO,
        revision: 0,
    };
    let part = |seq, name, revision| {
        let mut part = transition(State::Closed, State::Disabled, 0);
        part.after.set_by.as_mut().unwrap().scope = Scope::Service;
        let change = Change::Transition(Box::new(part));
        let key = key("a", name);
        let proposed = proposed(seq, &key, State::Closed, State::Disabled, 0);
        Proposal { change, service_override: Some(revision), ..proposed }
    };
    let has_won = async |proposal| matches!(bed.propose(proposal).await.answer, Answer::Won { .. });
    let ConfigWritten::Written(changed) = write(0, Some(set.clone()), None).await else {
        panic!("it is new")
    };
    let stored = bed.store.configuration().await.unwrap().overrides["a"].clone();
    assert_eq!(stored, set.written(changed));
    assert_eq!((stored.revision, stored.expires_at), (1, Some(changed.at + lasts)), "by the store's clock");
    assert!(has_won(part(1, "x", 1)).await);
    assert!(!has_won(part(2, "y", 0)).await && !has_won(part(3, "z", 2)).await);
    // A replica whose clock is fast takes it for ended.
    assert_eq!(write(1, None, stored.expires_at).await, ConfigWritten::Early);
    bed.pass(lasts).await;
    assert!(!has_won(part(4, "y", 1)).await, "it has ended, and is there still");
    let end = bed.store.configuration().await.unwrap().overrides["a"].expires_at;
    assert!(matches!(write(1, None, end).await, ConfigWritten::Written(_)));
    assert!(bed.store.configuration().await.unwrap().overrides.is_empty());
}

async fn a_half_open_times_out_by_the_clock_of_the_store(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.propose(proposed(1, &a, State::Closed, State::HalfOpen, 0)).await;
    let max_wait = snapshot(State::HalfOpen, 1).half_open.unwrap().max_wait.unwrap();
    let timeout = |seq| timed(seq, &a, State::HalfOpen, State::Closed, 1, Reason::HalfOpenTimeout);
    bed.pass(2 * max_wait).await;
    let no_probe = bed.propose(timeout(2)).await;
    assert!(matches!(no_probe.answer, Answer::Lost { .. }), "{no_probe:?}");
    bed.probes(&a, &[7]).await;
    let early = bed.propose(timeout(3)).await;
    assert!(matches!(early.answer, Answer::Lost { .. }), "{early:?}");
    bed.pass(max_wait).await;
    assert_eq!(bed.propose(timeout(4)).await.answer, Answer::Won { epoch: 2, revision: 2 });
}

async fn words_are_kept_as_they_are(bed: &mut SharedBed) {
    let a = key("a", "");
    let words = "it's \\' \"so\"; -- DROP TABLE breaker; $1 %s \n\t \u{1f600} E'\\\\";
    let mut trip = transition(State::Closed, State::Open, 0);
    trip.outcome = Some(CausingOutcome { error_class: words.to_owned(), caller: words.to_owned() });
    let change = Change::Transition(Box::new(trip));
    bed.propose(Proposal { change, ..proposed(1, &a, State::Closed, State::Open, 0) }).await;
    let mut forced = transition(State::Open, State::ForcedOpen, 1);
    let set_by = forced.after.set_by.as_mut().unwrap();
    (set_by.actor, set_by.reason) = (words.to_owned(), words.to_owned());
    forced.attribution = Some(Attribution { actor: words.to_owned(), reason: words.to_owned() });
    let change = Change::Transition(Box::new(forced));
    let answered =
        bed.propose(Proposal { change, ..proposed(2, &a, State::Open, State::ForcedOpen, 1) }).await;
    assert_eq!(answered.answer, Answer::Won { epoch: 2, revision: 2 });
    let stored = bed.store.breakers(None, 1).await.unwrap().remove(0);
    let set_by = stored.snapshot.set_by.unwrap();
    assert_eq!((&*set_by.actor, &*set_by.reason), (words, words));
    let query = TransitionQuery { oldest_first: true, limit: 9, ..TransitionQuery::default() };
    let history = bed.store.transitions(&query).await.unwrap();
    let outcome = history[0].outcome.as_ref().unwrap();
    assert_eq!((&*outcome.error_class, &*outcome.caller), (words, words));
    assert_eq!(history[1].attribution.as_ref().map(|by| (&*by.actor, &*by.reason)), Some((words, words)));
}

/// What a small batch writes goes to Postgres as the statements of one message, and what a large one writes does not.
async fn a_large_batch_is_written_as_many_small_ones_are(bed: &mut SharedBed) {
    let edges =
        [(State::Closed, State::Open), (State::Open, State::HalfOpen), (State::HalfOpen, State::Closed)];
    let mut seq = 0;
    let mut batch = |service: &str, breakers: usize, step: usize| -> Vec<Proposal> {
        let (from, to) = edges[step];
        let proposal = |number: usize| {
            seq += 1;
            proposed(seq, &key(service, &format!("{number:03}")), from, to, step as u64)
        };
        (0..breakers).map(proposal).collect()
    };
    for step in 0..edges.len() {
        bed.pass(Duration::from_mins(2)).await;
        for service in ["small", "large"] {
            let batch = batch(service, 100, step);
            for part in batch.chunks(if service == "small" { 10 } else { 100 }) {
                for answered in bed.store.propose_shared(part).await.unwrap() {
                    assert!(matches!(answered.answer, Answer::Won { .. }), "{answered:?}");
                }
            }
        }
    }
    let stored = bed.store.breakers(None, 1_000).await.unwrap();
    let (large, small) = stored.split_at(100);
    assert_eq!((large.len(), small.len()), (100, 100));
    for (large, small) in large.iter().zip(small) {
        assert_eq!(large.key.name(), small.key.name());
        assert_eq!(timeless(&large.snapshot), timeless(&small.snapshot));
        assert_eq!(large.entered_by, small.entered_by);
    }
    let query = TransitionQuery { oldest_first: true, limit: 1_000, ..TransitionQuery::default() };
    let history = bed.store.transitions(&query).await.unwrap();
    let of = |service: &str| -> Vec<_> {
        let mut of: Vec<_> = history
            .iter()
            .filter(|row| **row.key.service() == *service)
            .map(|row| (row.key.name().to_string(), row.epoch, row.from, row.to, row.reason, row.wait))
            .collect();
        of.sort_by_key(|(name, epoch, ..)| (name.clone(), *epoch));
        of
    };
    assert_eq!(of("small").len(), 300);
    assert_eq!(of("small"), of("large"));
    if let Some(database) = bed.database() {
        let sum = |service: &str| {
            format!(
                "SELECT (SELECT count(*) || ' outages' FROM episode WHERE service = '{service}')
                     || (SELECT count(*) || ' days, ' || sum(openings) || ' openings' FROM open_time WHERE service = '{service}')"
            )
        };
        assert_eq!(database.text(&sum("small")).await, database.text(&sum("large")).await);
    }
}
