//! What the store is told before a replica ends, and how much it is asked at one time.

use std::sync::atomic::Ordering::Relaxed;

use breaker::{Outcome, Override, OverrideKind, ProbeSlot};

use super::bed::{Bed, by_another};
use super::*;

/// How many slots are out, and how many are completed.
fn slots(bed: &Bed, name: &str) -> (usize, usize) {
    let slots = bed.asked.store.probe_slots(&key(name), 1);
    let of = |is: fn(&ProbeSlot) -> bool| slots.iter().filter(|slot| is(slot)).count();
    (of(|slot| matches!(slot, ProbeSlot::Out { .. })), of(|slot| matches!(slot, ProbeSlot::Completed { .. })))
}

/// A caller reports that its probe of this breaker went well, while the store is away.
async fn report_while_the_store_is_away(bed: &Bed, name: &str) -> tokio::task::JoinHandle<RecordResult> {
    let permit = bed.allow(name).await.permit;
    bed.asked.is_away.store(true, Relaxed);
    let asked = bed.asked.batches.lock().len();
    let replica = bed.replica.clone();
    let wait_until = replica.outcomes_wait_until(None);
    let reported = tokio::spawn(async move {
        let target = Target { permit, service: "", name: "", epoch: None };
        replica.record(Creator::Server, target, &Report::plain(Outcome::Success), wait_until).await.unwrap()
    });
    bed.until_asked(asked + 1).await;
    reported
}

#[tokio::test]
async fn a_graceful_stop_tells_the_outcomes_that_wait_and_gives_back_what_no_call_took() {
    let bed = Bed::half_open(&["a", "b"], 2).await;
    let (stop, running) = bed.run();
    let permit = bed.allow("b").await.permit.unwrap();
    bed.engine.release(&permit, NOW);
    let reported = report_while_the_store_is_away(&bed, "a").await;
    assert_eq!((slots(&bed, "a"), slots(&bed, "b")), ((1, 0), (1, 0)));
    stop.cancel();
    bed.asked.is_away.store(false, Relaxed);
    bed.clock.advance(Duration::from_millis(100));
    tokio::time::timeout(Duration::from_secs(20), running).await.expect("it ends").unwrap();
    assert_eq!((slots(&bed, "a"), slots(&bed, "b")), ((0, 1), (0, 0)));
    assert_eq!(reported.await.unwrap().recorded, Recorded::Recorded);
    let late = bed.allow("a").await;
    assert!(late.permit.is_none(), "nothing is claimed any more, and no call waits for it: {late:?}");
}

/// A call that is dropped while the end is under way, as its caller has gone.
#[tokio::test]
async fn a_graceful_stop_gives_back_what_comes_back_while_the_store_is_told() {
    let bed = Bed::half_open(&["a", "b"], 2).await;
    let (stop, running) = bed.run();
    let (a, b) = (bed.allow("a").await.permit.unwrap(), bed.allow("b").await.permit.unwrap());
    bed.engine.release(&b, NOW);
    bed.asked.is_away.store(true, Relaxed);
    let asked = bed.asked.batches.lock().len();
    stop.cancel();
    bed.until_asked(asked + 1).await;
    bed.engine.release(&a, NOW);
    bed.asked.is_away.store(false, Relaxed);
    bed.clock.advance(Duration::from_millis(100));
    tokio::time::timeout(Duration::from_secs(20), running).await.expect("it ends").unwrap();
    assert_eq!((slots(&bed, "a"), slots(&bed, "b")), ((0, 0), (0, 0)));
}

/// An emergency stop that the store has not answered may yet lose, and the half-open goes on then.
#[tokio::test]
async fn a_graceful_stop_gives_back_the_probes_of_a_half_open_that_is_being_left() {
    let bed = Bed::half_open(&["a"], 3).await;
    let (stop, running) = bed.run();
    let taken = bed.allow("a").await.permit.unwrap();
    bed.want("a");
    bed.until_asked(2).await;
    while slots(&bed, "a").0 < 2 {
        tokio::task::yield_now().await;
    }
    let set_by = Override { kind: OverrideKind::ForcedOpen, ..by_another() };
    let set = bed.engine.set_override(Creator::Server, Unknown::Create, "db", "a", set_by, NOW);
    assert!(set.is_ok(), "{set:?}");
    // Its call went away.
    bed.engine.release(&taken, NOW);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), running).await.expect("it ends").unwrap();
    assert_eq!(slots(&bed, "a"), (0, 0));
}

#[tokio::test]
async fn a_graceful_stop_ends_with_its_grace_time_though_the_store_is_away() {
    let bed = Bed::half_open(&["a"], 2).await;
    let (stop, running) = bed.run();
    let reported = report_while_the_store_is_away(&bed, "a").await;
    stop.cancel();
    let ended = async {
        while !running.is_finished() {
            bed.clock.advance(Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends");
    let took = bed.clock.now().since(NOW);
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(6), "{took:?}");
    // Taken in, as far as its caller is concerned.
    assert_eq!(reported.await.unwrap().recorded, Recorded::Recorded);
}

/// The store reads every slot of the half-opens that a batch is about, under their locks.
#[tokio::test]
async fn a_batch_is_about_four_thousand_slots_at_the_most() {
    let names: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let bed = Bed::half_open(&names, 1_000).await;
    for name in &names {
        bed.want(name);
    }
    let (stop, running) = bed.run();
    bed.until_asked(3).await;
    let claims: Vec<_> = (0..3).map(|batch| bed.claims(batch).len()).collect();
    assert_eq!(claims, [4, 4, 2], "all of them, in as few batches as there can be");
    stop.cancel();
    running.await.unwrap();
}
