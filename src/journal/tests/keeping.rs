//! The task that looks after the journal, and what it asks the store before it removes anything.

use tokio_util::sync::CancellationToken;

use super::faulty_store::FaultyStore;
use super::*;
use crate::journal::keeper;
use crate::store::StoreError;

/// A journal with a segment that the store has had for eleven minutes, and which upkeep would remove.
fn with_old_segment(bench: &Bench) -> Arc<Journal> {
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    drain(&journal);
    for _ in 0..2 {
        bench.clock.advance(Duration::from_mins(11));
        if bench.bytes("acked") == 0 {
            journal.keep_up(bench.clock.now(), Removal::NotAsked);
        }
    }
    assert!(bench.bytes("acked") > 0);
    Arc::new(journal)
}

/// Runs the keeper until it has asked the store, and has done what follows from the answer.
async fn one_round(bench: &Bench, journal: &Arc<Journal>, store: FaultyStore) {
    let (store, stop) = (Arc::new(store), CancellationToken::new());
    let clock = Arc::new(bench.clock.clone());
    let running = tokio::spawn(keeper::run(Arc::clone(journal), store.clone(), clock, stop.clone()));
    store.pinged.notified().await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn what_the_store_has_had_for_long_is_removed_if_it_still_is_that_store() {
    let bench = Bench::new();
    let journal = with_old_segment(&bench);
    one_round(&bench, &journal, FaultyStore::new().await).await;
    assert_eq!(bench.bytes("acked"), 0);
}

#[tokio::test]
async fn a_store_that_is_away_keeps_nothing_from_being_removed() {
    let bench = Bench::new();
    let journal = with_old_segment(&bench);
    let store = FaultyStore::new().await;
    store.fails(FaultyStore::is_away());
    one_round(&bench, &journal, store).await;
    assert_eq!(bench.bytes("acked"), 0);
}

#[tokio::test]
async fn nothing_is_removed_once_another_store_stands_in_the_place_of_the_one_that_had_it() {
    let bench = Bench::new();
    let journal = with_old_segment(&bench);
    let store = FaultyStore::new().await;
    store.fails(StoreError::Replaced("another file".to_owned()));
    one_round(&bench, &journal, store).await;
    assert!(bench.bytes("acked") > 0);
}
