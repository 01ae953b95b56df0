//! Calls that wait for the store together.

use futures_util::poll;

use breaker::Outcome;

use super::bed::Bed;
use super::*;
use crate::engine::{Allowed, StoreAnswer};

/// Looks at calls of breakers, and answers those that were decided, in the order of their numbers.
fn look(
    calls: &mut Calls<'_>,
    waiting: Vec<WaitingCall>,
    names: &[&str],
    now: Time,
) -> Vec<(usize, Option<Allowed>)> {
    let mut looked: Vec<_> = waiting
        .into_iter()
        .map(|call| (call.number, calls.look(call, "db", names[call.number], now).unwrap()))
        .collect();
    looked.sort_by_key(|(number, _)| *number);
    looked
}

fn first_look(names: &[&str]) -> Vec<WaitingCall> {
    (0..names.len()).map(WaitingCall::new).collect()
}

#[tokio::test]
async fn calls_of_a_batch_wait_for_one_answer_of_the_store() {
    let names = ["a", "b", "c", "d"];
    let bed = Bed::half_open(&names, 1).await;
    let (stop, running) = bed.run();
    let mut calls = bed.replica.calls(Creator::Server);
    let looked = look(&mut calls, first_look(&names), &names, NOW);
    assert!(looked.iter().all(|(_, allowed)| allowed.is_none()), "{looked:?}");
    let mut decided = 0;
    loop {
        let answered = calls.answered().await;
        if answered.is_empty() {
            break;
        }
        decided += look(&mut calls, answered, &names, NOW)
            .iter()
            .filter(|(_, allowed)| allowed.is_some_and(|allowed| allowed.permit.is_some()))
            .count();
    }
    calls.told();
    assert_eq!(decided, 4);
    assert_eq!(bed.claims(0), names.map(|name| (name.to_owned(), 1)));
    assert_eq!(bed.asked.batches.lock().len(), 1);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn calls_of_a_batch_give_up_after_50_ms_all_together() {
    let names = ["a", "b", "c", "d"];
    let bed = Bed::half_open(&names, 1).await;
    // Nobody asks the store.
    let mut calls = bed.replica.calls(Creator::Server);
    look(&mut calls, first_look(&names), &names, NOW);
    let answered = {
        let mut answered = std::pin::pin!(calls.answered());
        bed.clock.advance(Duration::from_millis(49));
        assert!(poll!(answered.as_mut()).is_pending());
        bed.clock.advance(Duration::from_millis(1));
        answered.await
    };
    let looked = look(&mut calls, answered, &names, bed.clock.now());
    assert_eq!(looked.len(), 4);
    assert!(looked.iter().all(|(_, allowed)| allowed.is_some_and(|allowed| allowed.permit.is_none())));
    assert!(calls.answered().await.is_empty());
}

#[tokio::test]
async fn probes_of_a_batch_whose_caller_goes_away_are_the_next_calls() {
    let names = ["a", "b"];
    let bed = Bed::half_open(&names, 1).await;
    let (_stop, running) = bed.run();
    let mut calls = bed.replica.calls(Creator::Server);
    look(&mut calls, first_look(&["a"]), &names, NOW);
    let answered = calls.answered().await;
    let looked = look(&mut calls, answered, &names, NOW);
    assert!(looked[0].1.unwrap().permit.is_some(), "{looked:?}");
    bed.hold_answers();
    assert!(calls.look(WaitingCall::new(1), "db", "b", NOW).unwrap().is_none(), "it waits for the other one");
    let asked = bed.asked.batches.lock().len();
    drop(calls);
    let next =
        tokio::time::timeout(Duration::from_secs(20), bed.allow("a")).await.expect("it waits for nobody");
    assert!(next.permit.is_some(), "{next:?}");
    assert!((asked..=asked + 1).contains(&bed.asked.batches.lock().len()), "it is asked for b alone");
    running.abort();
}

/// Calls are woken in groups, so that one is woken by what is not for it.
#[tokio::test]
async fn the_outcome_of_a_probe_of_a_breaker_that_was_never_used_here_is_the_stores() {
    let bed = Bed::half_open(&["a"], 1).await;
    let (_stop, _running) = bed.run();
    let permit = bed.allow("a").await.permit;
    let elsewhere = Bed::half_open(&[], 1).await;
    let report = |service, name| {
        let target = Target { permit, service, name, epoch: None };
        elsewhere.engine.probe_report(&target, &Report::plain(Outcome::Success), NOW).unwrap()
    };
    assert!(report("", "").is_none(), "nobody can say which breaker it is of");
    assert_eq!(report("db", "a").unwrap().key, key("a"));
}

#[tokio::test]
async fn a_call_that_is_woken_in_vain_claims_one_probe() {
    let names = ["a"];
    let bed = Bed::half_open(&names, 5).await;
    let mut calls = bed.replica.calls(Creator::Server);
    let mut waiting = first_look(&names);
    for _ in 0..4 {
        assert!(look(&mut calls, waiting, &names, NOW)[0].1.is_none());
        bed.engine.take_answer(&key("a"), &StoreAnswer::Row(&row(State::HalfOpen, 1)), None, NOW);
        waiting = calls.answered().await;
    }
    let (stop, running) = bed.run();
    bed.until_asked(1).await;
    assert_eq!(bed.claims(0), [("a".to_owned(), 1)]);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_breaker_whose_requests_the_store_refuses_keeps_no_other_from_its_probe() {
    let names = ["a", "b", "c", "d", "e"];
    let bed = Bed::half_open(&names, 1).await;
    *bed.asked.refused.lock() = Some("c");
    for name in &names {
        bed.want(name);
    }
    let (_stop, _running) = bed.run();
    for name in ["a", "b", "d", "e"] {
        let allowed = tokio::time::timeout(Duration::from_secs(20), bed.allow(name)).await.expect("in time");
        assert!(allowed.permit.is_some(), "{name}: {allowed:?}");
    }
}
