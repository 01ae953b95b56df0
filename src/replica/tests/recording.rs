//! Outcomes of probes that come together.

use super::bed::Bed;
use super::*;
use crate::engine::Permit;
use crate::replica::{Submitted, WaitingOutcome};

fn success(permit: Permit) -> (Target<'static>, Report<'static>) {
    (Target { permit: Some(permit), service: "", name: "", epoch: None }, Report::plain(Outcome::Success))
}

async fn submit(bed: &Bed, names: &[&str], wait_until: Time) -> Vec<WaitingOutcome> {
    let mut waiting = Vec::new();
    let mut permits = Vec::new();
    for name in names {
        permits.push(bed.allow(name).await.permit.unwrap());
    }
    bed.hold_answers();
    for permit in permits {
        let (target, report) = success(permit);
        let submitted = bed.replica.submit(Creator::Server, target, &report, wait_until).await.unwrap();
        let Submitted::Waiting(outcome) = submitted else { panic!("the store decides") };
        waiting.push(outcome);
    }
    waiting
}

#[tokio::test]
async fn outcomes_of_one_batch_wait_for_the_store_at_the_same_time() {
    let names = ["a", "b", "c"];
    let bed = Bed::half_open(&names, 2).await;
    let (_stop, _running) = bed.run();
    let wait_until = bed.replica.outcomes_wait_until(None);
    assert_eq!(wait_until, NOW + Duration::from_secs(1));
    let waiting = submit(&bed, &names, wait_until).await;
    // All are on their way before one is answered, and one batch may take the time of all.
    bed.asked.answers.add_permits(100);
    for outcome in waiting {
        let recorded = bed.replica.answered(outcome, wait_until).await;
        assert_eq!((recorded.recorded, recorded.state), (Recorded::Recorded, State::HalfOpen));
    }
}

#[tokio::test]
async fn a_batch_waits_once_however_many_probes_are_in_it() {
    let names = ["a", "b", "c"];
    let bed = Bed::half_open(&names, 2).await;
    let (_stop, _running) = bed.run();
    let wait_until = bed.replica.outcomes_wait_until(Some(Duration::from_millis(600)));
    assert_eq!(wait_until, NOW + Duration::from_millis(300), "half of what its caller waits");
    let waiting = submit(&bed, &names, wait_until).await;
    let (replica, clock) = (bed.replica.clone(), bed.clock.clone());
    let answers = tokio::spawn(async move {
        let mut answers: Vec<RecordResult> = Vec::new();
        for outcome in waiting {
            answers.push(replica.answered(outcome, wait_until).await);
        }
        answers
    });
    clock.advance(Duration::from_millis(300));
    let answers = tokio::time::timeout(Duration::from_secs(20), answers).await.expect("one wait").unwrap();
    assert!(answers.iter().all(|answer| answer.recorded == Recorded::Recorded), "{answers:?}");
}
