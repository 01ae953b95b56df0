//! Rows stay as long as a replica says that it uses them, and what becomes of a breaker whose row was let go of.

use std::time::Duration;

use breaker::{Key, Snapshot, State, Time};
use breakerd::store::{Answer, ChangedRow, Retention, UNUSED_ROWS_KEPT};

use super::bed::SharedBed;
use super::on_every_shared_store;
use crate::store_contract::change::{key, proposed};

on_every_shared_store!(
    rows_that_no_replica_uses_go,
    a_row_that_is_used_after_it_was_listed_stays,
    a_replica_hears_which_rows_are_other_than_it_knows,
    a_breaker_whose_row_went_goes_on_from_what_its_replica_knows,
    nobody_goes_on_from_an_epoch_that_no_row_had,
    a_row_that_a_store_lost_is_not_said_to_have_been_let_go_of,
);

const SECOND: Duration = Duration::from_secs(1);

/// Two breakers that tripped and were closed: at epoch 2, and without history.
async fn closed(bed: &SharedBed) -> [Key; 2] {
    let keys = [key("a", ""), key("b", "")];
    for (seq, key) in (0..).step_by(2).zip(&keys) {
        bed.propose(proposed(seq, key, State::Closed, State::Open, 0)).await;
        bed.propose(proposed(seq + 1, key, State::Open, State::Closed, 1)).await;
    }
    if let Some(database) = bed.database() {
        database.sql("DELETE FROM transition").await;
    } else {
        let before = Time::from_micros(u64::MAX >> 2);
        bed.store.prune(Retention { before, requests_before: Time::ZERO }).await.map(drop).unwrap();
    }
    keys
}

async fn listed(bed: &SharedBed) -> Vec<(Key, u64)> {
    let before = Time::from_micros(u64::MAX >> 12);
    bed.store.breakers_without_history(before, None, 10).await.unwrap()
}

async fn stored(bed: &SharedBed) -> Vec<Key> {
    bed.store.breakers(None, 10).await.unwrap().into_iter().map(|stored| stored.key).collect()
}

async fn rows_that_no_replica_uses_go(bed: &mut SharedBed) {
    let [a, b] = closed(bed).await;
    let used = [(a.clone(), 2), (b.clone(), 2)];
    assert_eq!(bed.store.use_rows(&used).await.unwrap(), []);
    bed.pass(UNUSED_ROWS_KEPT.saturating_sub(60 * SECOND)).await;
    assert_eq!(listed(bed).await, []);
    assert_eq!(bed.store.use_rows(&used[..1]).await.unwrap(), []);
    bed.pass(120 * SECOND).await;
    assert_eq!(listed(bed).await, [(b.clone(), 2)]);
    assert_eq!(bed.store.delete_breakers(&[(b.clone(), 1)]).await.unwrap(), [], "it has another epoch");
    assert_eq!(bed.store.delete_breakers(&used).await.unwrap(), [b]);
    assert_eq!(stored(bed).await, [a]);
}

async fn a_row_that_is_used_after_it_was_listed_stays(bed: &mut SharedBed) {
    let [a, b] = closed(bed).await;
    bed.store.use_rows(&[(a.clone(), 2), (b.clone(), 2)]).await.unwrap();
    bed.pass(UNUSED_ROWS_KEPT + SECOND).await;
    let listed = listed(bed).await;
    assert_eq!(listed.len(), 2);
    bed.store.use_rows(&[(a.clone(), 2)]).await.unwrap();
    assert_eq!(bed.store.delete_breakers(&listed).await.unwrap(), [b]);
    assert_eq!(stored(bed).await, [a]);
}

async fn let_go(bed: &SharedBed, keys: &[Key; 2]) {
    bed.store.use_rows(&keys.clone().map(|key| (key, 2))).await.unwrap();
    bed.pass(UNUSED_ROWS_KEPT + SECOND).await;
    assert_eq!(bed.store.delete_breakers(&listed(bed).await).await.unwrap().len(), 2);
}

async fn a_replica_hears_which_rows_are_other_than_it_knows(bed: &mut SharedBed) {
    let keys = closed(bed).await;
    let [a, b] = keys.clone();
    let new = key("new", "");
    let known = [(a.clone(), 2), (b.clone(), 0), (new.clone(), 0)];
    let others = bed.store.use_rows(&known).await.unwrap();
    let [ChangedRow { key, row, .. }] = &others[..] else { panic!("{others:?}") };
    assert_eq!((key, row.snapshot.epoch, row.snapshot.state), (&b, 2, State::Closed));
    let_go(bed, &keys).await;
    let others = bed.store.use_rows(&known).await.unwrap();
    let [ChangedRow { key, row, .. }] = &others[..] else { panic!("{others:?}") };
    assert_eq!((key, &row.snapshot), (&a, &Snapshot::pristine()));
    // Newer than all that was read of it.
    assert_eq!(row.version.revision, bed.store.revision().await.unwrap());
}

async fn a_breaker_whose_row_went_goes_on_from_what_its_replica_knows(bed: &mut SharedBed) {
    let keys = closed(bed).await;
    let [a, b] = keys.clone();
    let_go(bed, &keys).await;
    // One that was cut off meanwhile, and had another state then.
    let lost = bed.propose(proposed(10, &a, State::Open, State::HalfOpen, 1)).await;
    assert!(matches!(lost.answer, Answer::Lost { .. }), "{lost:?}");
    assert_eq!(lost.row.row.snapshot, Snapshot::pristine());
    assert_eq!(lost.row.row.version.revision, lost.newest.revision);
    // One that knows the last epoch: permits of before are late in the next one.
    let won = bed.propose(proposed(11, &a, State::Closed, State::Open, 2)).await;
    assert!(matches!(won.answer, Answer::Won { epoch: 3, .. }), "{won:?}");
    let late = bed.propose(proposed(12, &a, State::Closed, State::Open, 0)).await;
    assert!(matches!(&late.answer, Answer::Lost { present } if present.epoch == 3), "{late:?}");
    // One that knows nothing of it.
    let won = bed.propose(proposed(13, &b, State::Closed, State::Open, 0)).await;
    assert!(matches!(won.answer, Answer::Won { epoch: 1, .. }), "{won:?}");
    let late = bed.propose(proposed(14, &b, State::Closed, State::Open, 2)).await;
    assert!(matches!(&late.answer, Answer::Lost { present } if present.epoch == 1), "{late:?}");
}

async fn nobody_goes_on_from_an_epoch_that_no_row_had(bed: &mut SharedBed) {
    let never = bed.propose(proposed(30, &key("a", ""), State::Closed, State::Open, 2)).await;
    assert!(matches!(&never.answer, Answer::Lost { present } if present.epoch == 0), "{never:?}");
    let keys = closed(bed).await;
    let_go(bed, &keys).await;
    let beyond = bed.propose(proposed(20, &keys[0], State::Closed, State::Open, 3)).await;
    assert!(matches!(&beyond.answer, Answer::Lost { present } if present.epoch == 0), "{beyond:?}");
}

/// As a store has it that went back: whoever begins its timeline takes up what was lost.
async fn a_row_that_a_store_lost_is_not_said_to_have_been_let_go_of(bed: &mut SharedBed) {
    let lost = [(key("lost", ""), 3)];
    assert_eq!(bed.store.use_rows(&lost).await.unwrap(), []);
    let keys = closed(bed).await;
    let_go(bed, &keys).await;
    assert_eq!(bed.store.use_rows(&lost).await.unwrap(), [], "what was let go of had a smaller epoch");
    assert_eq!(bed.store.use_rows(&[(keys[0].clone(), 2)]).await.unwrap().len(), 1);
}
