//! What becomes of proposals.

use std::time::Duration;

use breaker::{Attribution, Reason, Snapshot, State, Time};
use breakerd::store::{Answer, Change, Gap, GapCause, HistoryCursor, Proposal, StoreError, TransitionId};

use super::bed::StoreBed;
use super::change::{NOON, id, key, own, proposed, snapshot, transition, trip};
use super::{history, on_every_store};

on_every_store!(
    every_state_comes_back_as_it_was_written,
    a_row_of_the_history_says_all_there_is_to_say,
    a_replay_writes_nothing_twice,
    a_replay_gets_the_first_answer_again,
    a_replay_cut_into_other_batches_gets_the_first_answers_again,
    a_number_that_is_not_higher_loses_and_is_kept_as_superseded,
    a_number_may_leave_a_gap,
    the_store_numbers_what_saw_the_state_that_stands,
    the_second_of_two_that_want_the_same_is_told_and_forgotten,
    what_was_decided_alone_is_kept_though_it_lost,
    the_stores_clock_decides_whether_a_wait_is_over,
    an_operator_takes_the_row_whatever_it_holds,
    changes_of_one_breaker_in_a_batch_follow_each_other,
    a_gap_brings_the_state_behind_it_and_says_why,
    gaps_and_shadows_change_no_state,
    a_batch_that_says_nothing_new_bumps_no_revision,
    a_batch_is_written_whole_or_not_at_all,
    batches_of_any_size_are_written_whole,
    words_that_one_store_could_not_keep_do_not_stop_a_batch,
    times_past_the_calendar_are_kept,
    breakers_come_in_pages_by_key,
);

async fn propose(bed: &StoreBed, proposals: &[Proposal]) -> Vec<Answer> {
    bed.store.propose(proposals).await.unwrap()
}

async fn standing(bed: &StoreBed, service: &str) -> Option<Snapshot> {
    let breakers = bed.store.breakers(None, 1_000).await.unwrap();
    breakers.into_iter().find(|breaker| &**breaker.key.service() == service).map(|breaker| breaker.snapshot)
}

async fn every_state_comes_back_as_it_was_written(bed: &mut StoreBed) {
    let keys: Vec<_> = State::ALL.iter().map(|state| key("states", state.as_str())).collect();
    let proposals: Vec<_> = (1..)
        .zip(State::ALL)
        .zip(&keys)
        .map(|((seq, state), key)| own(seq, key, State::Closed, *state, 0))
        .collect();
    propose(bed, &proposals).await;
    bed.reopen().await;
    let breakers = bed.store.breakers(None, 100).await.unwrap();
    assert_eq!(breakers.len(), State::ALL.len());
    for breaker in breakers {
        let state = State::parse(breaker.key.name()).unwrap();
        assert_eq!(breaker.snapshot, snapshot(state, 1));
        let written = proposals.iter().find(|proposal| proposal.key == breaker.key).map(|it| &it.change);
        let Some(Change::Transition(written)) = written else { panic!("{written:?}") };
        assert_eq!(breaker.entered_by, Some(written.entered_by()));
        assert_eq!(breaker.revision, 1);
    }
}

async fn a_row_of_the_history_says_all_there_is_to_say(bed: &mut StoreBed) {
    let a = key("payments", "eu/west");
    propose(bed, &[own(1, &a, State::HalfOpen, State::Open, 4)]).await;
    let rows = history(&*bed.store).await;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    let written = transition(State::HalfOpen, State::Open, 4);
    assert_eq!(row.id, id(1));
    assert_eq!(row.cursor, HistoryCursor { revision: 1, number: 0 });
    assert_eq!((&row.key, row.from, row.to), (&a, State::HalfOpen, State::Open));
    assert_eq!((row.reason, row.epoch, row.base_epoch), (Reason::FailureRate, Some(5), 4));
    assert_eq!(row.stats, written.stats);
    assert_eq!((row.open_count, row.wait, row.config_revision), (3, written.after.wait, 7));
    assert_eq!(
        (row.shadow, row.store_unavailable, row.superseded, row.lost_transitions),
        (false, false, false, 0)
    );
    assert_eq!(row.occurred_at, NOON);
    assert!(row.recorded_at > NOON);
    // What people read in SQL is there as well: rates in percent, rounded down, and the same words in both stores.
    let Some(database) = bed.database() else { return };
    let rates = "SELECT failure_rate || ' ' || slow_call_rate FROM history";
    assert_eq!(database.text(rates).await.as_deref(), Some("58.333 8.333"));
    let line =
        "SELECT service || ' ' || name || ' ' || from_state || ' ' || to_state || ' ' || kind FROM history";
    assert_eq!(database.text(line).await.as_deref(), Some("payments eu/west HALF_OPEN OPEN change"));
    let since = "SELECT substr(CAST(since AS TEXT), 1, 23) FROM current_state";
    assert_eq!(database.text(since).await.as_deref(), Some("2025-01-01 00:00:00.123"));
}

async fn a_replay_writes_nothing_twice(bed: &mut StoreBed) {
    let a = key("a", "");
    let batch = [trip(1, &a), own(2, &a, State::Open, State::HalfOpen, 1)];
    propose(bed, &batch).await;
    propose(bed, &batch).await;
    bed.reopen().await;
    propose(bed, &batch[1..]).await;
    assert_eq!(history(&*bed.store).await.len(), 2);
    assert_eq!(bed.store.revision().await.unwrap(), 1);
}

async fn a_replay_gets_the_first_answer_again(bed: &mut StoreBed) {
    let a = key("a", "");
    let first = propose(bed, &[trip(1, &a)]).await;
    let lost = proposed(2, &a, State::Closed, State::HalfOpen, 3);
    assert!(matches!(propose(bed, std::slice::from_ref(&lost)).await[..], [Answer::Lost { .. }]));
    propose(bed, &[own(3, &a, State::Open, State::HalfOpen, 1)]).await;
    // Known and unknown in one batch, and one id twice.
    let b = trip(4, &key("b", ""));
    let again = propose(bed, &[trip(1, &a), lost, b.clone(), b]).await;
    assert_eq!(again[0], first[0]);
    assert_eq!(again[1], Answer::Lost { present: snapshot(State::HalfOpen, 2) });
    assert_eq!(again[2], Answer::Won { epoch: 1, revision: 4 });
    assert_eq!(again[3], again[2]);
    assert_eq!(history(&*bed.store).await.len(), 4);
}

async fn a_replay_cut_into_other_batches_gets_the_first_answers_again(bed: &mut StoreBed) {
    let breakers: Vec<_> = (0..2_600).map(|n| key("a", &n.to_string())).collect();
    let mut changes: Vec<_> = (0..).zip(&breakers).map(|(seq, breaker)| trip(seq, breaker)).collect();
    // Every seventh lost, and in an order that is not that of the ids.
    for (seq, breaker) in (0..).zip(&breakers).filter(|(seq, _)| seq % 7 == 0) {
        changes[usize::try_from(seq).unwrap()] = proposed(seq, breaker, State::HalfOpen, State::Open, 5);
    }
    let tail = changes.split_off(2_550);
    changes[300..400].reverse();
    // Larger than a range of ids, then one by one, then with holes.
    let mut first = propose(bed, &changes[..2_300]).await;
    for change in &changes[2_300..2_320] {
        first.extend(propose(bed, std::slice::from_ref(change)).await);
    }
    let (odd, even): (Vec<_>, Vec<_>) =
        changes[2_320..].iter().cloned().partition(|change| change.id.seq % 2 == 1);
    for part in [&odd, &even] {
        propose(bed, part).await;
    }
    let (rows, revision) = (history(&*bed.store).await.len(), bed.store.revision().await.unwrap());
    for size in [1_000, 999, 3] {
        let mut again = Vec::new();
        for part in changes[..2_320].chunks(size) {
            again.extend(propose(bed, part).await);
        }
        assert!(again == first, "in batches of {size}");
    }
    let known = propose(bed, &changes[2_320..]).await;
    for (change, answer) in changes[2_320..].iter().zip(known) {
        assert_eq!(
            matches!(answer, Answer::Won { epoch: 1, .. }),
            change.id.seq % 7 != 0,
            "{}",
            change.id.seq
        );
    }
    assert_eq!((history(&*bed.store).await.len(), bed.store.revision().await.unwrap()), (rows, revision));
    // Known ones and new ones, of this life and of another that counts as it did.
    let other =
        |change: &Proposal| Proposal { id: TransitionId { boot: 1, ..change.id.clone() }, ..change.clone() };
    let mixed: Vec<_> = changes[2_540..].iter().chain(&tail).cloned().collect();
    propose(bed, &mixed).await;
    propose(bed, &tail.iter().map(other).collect::<Vec<_>>()).await;
    let new = history(&*bed.store).await.split_off(rows);
    assert_eq!(new.len(), 2 * tail.len());
    assert!(new[..tail.len()].iter().all(|row| row.id.seq >= 2_550 && row.id.boot != 1));
    assert!(new[tail.len()..].iter().all(|row| row.id.boot == 1));
}

async fn a_number_that_is_not_higher_loses_and_is_kept_as_superseded(bed: &mut StoreBed) {
    let a = key("a", "");
    propose(bed, &[own(1, &a, State::Closed, State::Open, 4)]).await;
    for (seq, base_epoch) in [(2, 4), (3, 1)] {
        let answers = propose(bed, &[own(seq, &a, State::Closed, State::Disabled, base_epoch)]).await;
        assert_eq!(answers, [Answer::Lost { present: snapshot(State::Open, 5) }]);
    }
    assert_eq!(standing(bed, "a").await, Some(snapshot(State::Open, 5)));
    let rows = history(&*bed.store).await;
    let superseded: Vec<_> = rows.iter().map(|row| (row.epoch, row.superseded)).collect();
    assert_eq!(superseded, [(Some(5), false), (None, true), (None, true)]);
    let Some(database) = bed.database() else { return };
    let kind = database.text("SELECT kind FROM history ORDER BY revision DESC, number DESC LIMIT 1").await;
    assert_eq!(kind.as_deref(), Some("superseded"));
}

async fn a_number_may_leave_a_gap(bed: &mut StoreBed) {
    let a = key("a", "");
    let answers = propose(bed, &[trip(1, &a), own(2, &a, State::Closed, State::Open, 20)]).await;
    assert_eq!(answers[1], Answer::Won { epoch: 21, revision: 1 });
}

async fn the_store_numbers_what_saw_the_state_that_stands(bed: &mut StoreBed) {
    let a = key("a", "");
    let answers = propose(bed, &[proposed(1, &a, State::Closed, State::Open, 0)]).await;
    assert_eq!(answers, [Answer::Won { epoch: 1, revision: 1 }]);
    let stands = standing(bed, "a").await.unwrap();
    assert!(stands.entered_at > NOON, "the store's clock, not the proposer's: {stands:?}");
    assert_eq!(stands, Snapshot { entered_at: stands.entered_at, ..snapshot(State::Open, 1) });
    // Another epoch, and the right epoch with another state.
    for (seq, from, base_epoch) in [(2, State::Open, 0), (3, State::Closed, 1), (4, State::Open, 2)] {
        let answers = propose(bed, &[proposed(seq, &a, from, State::HalfOpen, base_epoch)]).await;
        assert_eq!(answers, [Answer::Lost { present: stands.clone() }], "{from} at {base_epoch}");
    }
    let answers = propose(bed, &[proposed(5, &a, State::Open, State::HalfOpen, 1)]).await;
    assert_eq!(answers, [Answer::Won { epoch: 2, revision: 5 }]);
    let rows = history(&*bed.store).await;
    assert_eq!(rows[0].occurred_at, stands.entered_at);
    assert_eq!(rows.iter().filter(|row| row.superseded).count(), 3);
}

async fn the_second_of_two_that_want_the_same_is_told_and_forgotten(bed: &mut StoreBed) {
    let a = key("a", "");
    propose(bed, &[proposed(1, &a, State::Closed, State::Open, 0)]).await;
    let second = proposed(2, &a, State::Closed, State::Open, 0);
    for _ in 0..2 {
        let answers = propose(bed, std::slice::from_ref(&second)).await;
        assert!(matches!(&answers[..], [Answer::Lost { present }] if present.epoch == 1));
    }
    assert_eq!(history(&*bed.store).await.len(), 1);
    assert_eq!(bed.store.revision().await.unwrap(), 1);
}

async fn what_was_decided_alone_is_kept_though_it_lost(bed: &mut StoreBed) {
    let a = key("a", "");
    propose(bed, &[proposed(1, &a, State::Closed, State::Open, 0)]).await;
    let alone = Proposal { store_unavailable: true, ..proposed(2, &a, State::Closed, State::Open, 0) };
    propose(bed, &[alone]).await;
    let rows = history(&*bed.store).await;
    assert_eq!((rows[1].store_unavailable, rows[1].superseded, rows[1].occurred_at), (true, true, NOON));
}

async fn the_stores_clock_decides_whether_a_wait_is_over(bed: &mut StoreBed) {
    let (a, b) = (key("a", ""), key("b", ""));
    let mut opened = transition(State::Closed, State::Open, 0);
    opened.after.wait = Some(Duration::ZERO);
    let waits_no_time = Proposal {
        change: Change::Transition(Box::new(opened)),
        ..proposed(4, &b, State::Closed, State::Open, 0)
    };
    propose(bed, &[proposed(1, &a, State::Closed, State::Open, 0)]).await;
    let elapsed = |seq, key| {
        let change = Change::Transition(Box::new(breaker::Transition {
            reason: Reason::WaitElapsed,
            ..transition(State::Open, State::HalfOpen, 1)
        }));
        Proposal { change, ..proposed(seq, key, State::Open, State::HalfOpen, 1) }
    };
    let answers = propose(bed, &[elapsed(2, &a)]).await;
    assert!(matches!(&answers[..], [Answer::Lost { present }] if present.state == State::Open));
    assert_eq!(history(&*bed.store).await.len(), 1, "too early is not superseded");
    propose(bed, &[waits_no_time]).await;
    let answers = propose(bed, &[elapsed(3, &b)]).await;
    assert_eq!(answers, [Answer::Won { epoch: 2, revision: 3 }]);
}

async fn an_operator_takes_the_row_whatever_it_holds(bed: &mut StoreBed) {
    let a = key("a", "");
    propose(bed, &[own(1, &a, State::Closed, State::Open, 4)]).await;
    let answers = propose(bed, &[proposed(2, &a, State::Closed, State::ForcedOpen, 0)]).await;
    assert_eq!(answers, [Answer::Won { epoch: 6, revision: 2 }]);
    let rows = history(&*bed.store).await;
    assert_eq!((rows[1].from, rows[1].base_epoch, rows[1].epoch), (State::Open, 5, Some(6)));
    assert_eq!(rows[1].attribution.as_ref().map(|attribution| &*attribution.actor), Some("ann@example.org"));
    let Some(database) = bed.database() else { return };
    let why = database.text("SELECT why FROM history WHERE to_state = 'FORCED_OPEN'").await;
    assert_eq!(why.as_deref(), Some("maintenance, see #12"));
}

async fn changes_of_one_breaker_in_a_batch_follow_each_other(bed: &mut StoreBed) {
    let (a, b) = (key("a", ""), key("b", ""));
    let answers = propose(
        bed,
        &[
            trip(1, &b),
            trip(2, &a),
            own(3, &a, State::Open, State::HalfOpen, 1),
            own(4, &b, State::Open, State::HalfOpen, 1),
            own(5, &a, State::HalfOpen, State::Closed, 2),
        ],
    )
    .await;
    let epochs: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Won { epoch, revision: 1 } => *epoch,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(epochs, [1, 1, 2, 2, 3]);
    assert_eq!(standing(bed, "a").await, Some(snapshot(State::Closed, 3)));
    assert_eq!(standing(bed, "b").await, Some(snapshot(State::HalfOpen, 2)));
    let places: Vec<_> =
        history(&*bed.store).await.iter().map(|row| (row.id.seq, row.cursor.number)).collect();
    assert_eq!(places, [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]);
}

fn history_gap(missing: u64, base_epoch: u64, after: Option<Snapshot>) -> Change {
    Change::Gap(Box::new(Gap {
        lost_transitions: missing,
        at: NOON,
        base_epoch,
        after,
        cause: GapCause::JournalFull,
    }))
}

async fn a_gap_brings_the_state_behind_it_and_says_why(bed: &mut StoreBed) {
    let a = key("a", "");
    propose(bed, &[trip(1, &a)]).await;
    let open = snapshot(State::Open, 1);
    // Nothing that the row does not have: it stays, and the history says that rows are missing.
    let older = Proposal { change: history_gap(1, 0, Some(snapshot(State::Closed, 1))), ..trip(2, &a) };
    let answers = propose(bed, &[older]).await;
    assert_eq!(answers, [Answer::Won { epoch: 0, revision: 2 }]);
    assert_eq!(standing(bed, "a").await, Some(open));

    let newer = Proposal { change: history_gap(4, 1, Some(snapshot(State::HalfOpen, 5))), ..trip(3, &a) };
    for _ in 0..2 {
        let answers = propose(bed, std::slice::from_ref(&newer)).await;
        assert_eq!(answers, [Answer::Won { epoch: 5, revision: 3 }], "however often it comes");
    }
    assert_eq!(standing(bed, "a").await, Some(snapshot(State::HalfOpen, 5)));
    assert_eq!(bed.store.breakers(None, 1).await.unwrap()[0].entered_by, None, "nobody knows");
    let rows = history(&*bed.store).await;
    assert_eq!(rows.len(), 3);
    let row = &rows[2];
    assert_eq!((row.lost_transitions, row.base_epoch, row.epoch), (4, 1, Some(5)));
    assert_eq!((row.from, row.to), (State::Open, State::HalfOpen));
    assert!(row.attribution.as_ref().unwrap().reason.contains("journal.bytes_max"), "{row:?}");
    // What comes behind it goes on from there.
    propose(bed, &[own(4, &a, State::HalfOpen, State::Closed, 5)]).await;
    assert_eq!(standing(bed, "a").await, Some(snapshot(State::Closed, 6)));
}

async fn gaps_and_shadows_change_no_state(bed: &mut StoreBed) {
    let a = key("a", "");
    let gap = Proposal { change: history_gap(12, 3, None), ..trip(1, &a) };
    let shadow = breaker::Transition {
        shadow: true,
        after: snapshot(State::MetricsOnly, 3),
        ..transition(State::MetricsOnly, State::Open, 3)
    };
    let shadow = Proposal { change: Change::Transition(Box::new(shadow)), ..trip(2, &a) };
    let answers = propose(bed, &[gap.clone(), shadow]).await;
    assert_eq!(answers, vec![Answer::Won { epoch: 3, revision: 1 }; 2]);
    assert_eq!(standing(bed, "a").await, None);
    let rows = history(&*bed.store).await;
    assert_eq!((rows[0].reason, rows[0].lost_transitions, rows[0].epoch), (Reason::HistoryGap, 12, None));
    assert_eq!((rows[1].shadow, rows[1].epoch, rows[1].to), (true, None, State::Open));
    assert_eq!((rows[0].base_epoch, rows[1].base_epoch), (3, 3));
    // Beside a change of the same breaker they are written as well, and it stands.
    let batch = [own(3, &a, State::Closed, State::Open, 8), Proposal { id: id(4), ..gap }];
    propose(bed, &batch).await;
    assert_eq!(standing(bed, "a").await, Some(snapshot(State::Open, 9)));
    let Some(database) = bed.database() else { return };
    let kinds = "SELECT min(kind) || ' ' || max(kind) FROM history WHERE epoch IS NULL";
    assert_eq!(database.text(kinds).await.as_deref(), Some("gap shadow"));
}

async fn a_batch_that_says_nothing_new_bumps_no_revision(bed: &mut StoreBed) {
    assert_eq!(propose(bed, &[]).await, []);
    assert_eq!(bed.store.revision().await.unwrap(), 0);
    propose(bed, &[trip(1, &key("a", ""))]).await;
    propose(bed, &[trip(1, &key("a", ""))]).await;
    assert_eq!(bed.store.revision().await.unwrap(), 1);
    assert_eq!(bed.store.position(2).await.unwrap().nonce, None);
}

async fn a_batch_is_written_whole_or_not_at_all(bed: &mut StoreBed) {
    let too_large = own(2, &key("b", ""), State::Closed, State::Open, u64::MAX - 1);
    let error = bed.store.propose(&[trip(1, &key("a", "")), too_large]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { problem, .. } if problem.contains("epoch")), "{error}");
    assert_eq!(standing(bed, "a").await, None);
    assert_eq!(bed.store.revision().await.unwrap(), 0);
    assert_eq!(propose(bed, &[trip(1, &key("a", ""))]).await, [Answer::Won { epoch: 1, revision: 1 }]);
}

async fn batches_of_any_size_are_written_whole(bed: &mut StoreBed) {
    let (mut seq, mut total) = (0, 0);
    for size in [1, 2, 3, 64, 127, 128, 129, 255, 300] {
        let keys: Vec<_> = (0..size).map(|n| key(&format!("batch-{size}"), &n.to_string())).collect();
        for (from, to, base_epoch) in [(State::Closed, State::Open, 0), (State::Open, State::Closed, 1)] {
            let proposals: Vec<_> = keys
                .iter()
                .map(|key| {
                    seq += 1;
                    own(seq, key, from, to, base_epoch)
                })
                .collect();
            let answers = propose(bed, &proposals).await;
            assert!(answers.iter().all(|answer| matches!(answer, Answer::Won { .. })), "{size}");
            // Each id is known afterwards: a replay writes nothing.
            assert_eq!(propose(bed, &proposals).await, answers, "{size}");
            total += size;
            let rows = history(&*bed.store).await;
            assert_eq!(rows.len(), total, "{size}");
            let written = rows[total - size..].iter().zip(&proposals);
            assert!(written.clone().all(|(row, proposal)| row.id == proposal.id && row.key == proposal.key));
            assert!(written.zip(0..).all(|((row, _), number)| row.cursor.number == number), "{size}");
        }
        let breakers = bed.store.breakers(None, 10_000).await.unwrap();
        let closed = breakers.iter().filter(|breaker| **breaker.key.service() == format!("batch-{size}"));
        assert_eq!(closed.filter(|breaker| breaker.snapshot == snapshot(State::Closed, 2)).count(), size);
    }
    let Some(database) = bed.database() else { return };
    let outages = database.text("SELECT CAST(count(*) AS text) FROM episode").await;
    assert_eq!(outages, Some((total / 2).to_string()));
}

async fn words_that_one_store_could_not_keep_do_not_stop_a_batch(bed: &mut StoreBed) {
    let a = key("a", "");
    let mut by_hand = transition(State::Closed, State::Disabled, 0);
    by_hand.attribution = Some(Attribution { actor: "a\0b".to_owned(), reason: String::new() });
    if let Some(set_by) = &mut by_hand.after.set_by {
        set_by.reason.replace_range(.., "it's \"é\" \u{1f525}\0");
    }
    propose(bed, &[Proposal { change: Change::Transition(Box::new(by_hand)), ..trip(1, &a) }]).await;
    assert_eq!(
        history(&*bed.store).await[0].attribution.as_ref().map(|attribution| &*attribution.actor),
        Some("a\u{fffd}b")
    );
    let set_by = standing(bed, "a").await.unwrap().set_by.unwrap();
    assert_eq!(set_by.reason, "it's \"é\" \u{1f525}\u{fffd}");
}

async fn times_past_the_calendar_are_kept(bed: &mut StoreBed) {
    let a = key("a", "");
    let far = Time::from_micros(i64::MAX.cast_unsigned() - 1);
    for (seq, expires_at) in [(1, Some(Time::MAX)), (2, Some(far)), (3, Some(Time::ZERO)), (4, None)] {
        let mut by_hand = transition(State::Closed, State::Disabled, seq);
        if let Some(set_by) = &mut by_hand.after.set_by {
            set_by.expires_at = expires_at;
        }
        propose(bed, &[Proposal { change: Change::Transition(Box::new(by_hand)), ..trip(seq, &a) }]).await;
        let set_by = standing(bed, "a").await.unwrap().set_by.unwrap();
        assert_eq!(set_by.expires_at, expires_at);
    }
}

async fn breakers_come_in_pages_by_key(bed: &mut StoreBed) {
    // Upper case before lower, punctuation by its byte: not as a locale would have it.
    let keys = [
        key("B", ""),
        key("a", ""),
        key("a", "a/b"),
        key("a-b", ""),
        key("a.b", "x"),
        key("b", "_"),
        key("b", "a"),
    ];
    let mut sorted = keys.to_vec();
    sorted.sort();
    let proposals: Vec<_> = (1..).zip(&keys).map(|(seq, key)| trip(seq, key)).collect();
    propose(bed, &proposals).await;
    for limit in 1..=8 {
        let mut seen: Vec<breaker::Key> = Vec::new();
        loop {
            let page = bed.store.breakers(seen.last(), limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            seen.extend(page.into_iter().map(|breaker| breaker.key));
        }
        assert_eq!(seen, sorted, "pages of {limit}");
    }
}
