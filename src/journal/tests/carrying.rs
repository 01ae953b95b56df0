//! The writer: from the journal to a store, through its failures.

use tokio_util::sync::CancellationToken;

use super::faulty_store::FaultyStore;
use super::*;
use crate::journal::writer::{Step, Writer};

/// A journal with these entries, of breakers of their own.
fn filled(bench: &Bench, names: &[&str]) -> Arc<Journal> {
    let (journal, _) = bench.open(1);
    for name in names {
        append(&journal, name, 1);
    }
    Arc::new(journal)
}

/// Runs the writer until the store has everything.
async fn carry(journal: &Arc<Journal>, store: &Arc<FaultyStore>) {
    let stop = CancellationToken::new();
    let running = tokio::spawn(Writer::new(Arc::clone(journal), store.clone()).run(stop.clone()));
    journal.emptied().await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn everything_comes_to_the_store_in_batches_of_the_bound() {
    let bench = Bench::new();
    let journal = filled(&bench, &["a", "b", "c", "d", "e", "f", "g"]);
    let store = Arc::new(FaultyStore::new().await);
    carry(&journal, &store).await;
    assert_eq!(store.batches(), [3, 3, 1]);
    assert_eq!(store.epochs().await.len(), 7);
}

/// Whole batches until one is rejected, then one entry, and from there on twice as many each time.
#[tokio::test]
async fn an_entry_that_the_store_rejects_for_good_is_left_out_and_no_other() {
    let bench = Bench::sized(|sizes| sizes.batch_entries = 8);
    let names = ["a", "b", "wrong", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];
    let journal = filled(&bench, &names);
    let store = Arc::new(FaultyStore::with_wrong_row("wrong").await);
    let logged = Logged::start();
    carry(&journal, &store).await;
    assert_eq!(store.batches(), [8, 1, 2, 1, 2, 1, 2, 4, 4]);
    let expected: Vec<_> = names.iter().filter(|name| **name != "wrong").map(|name| (*name, 1)).collect();
    assert_eq!(store.epochs().await, named(&expected));
    assert_eq!(logged.count("dropped from the history"), 1);
}

#[tokio::test]
async fn what_a_store_that_is_away_did_not_take_is_given_to_it_again() {
    let bench = Bench::new();
    let journal = filled(&bench, &["a"]);
    let store = Arc::new(FaultyStore::new().await);
    let mut writer = Writer::new(Arc::clone(&journal), store.clone());
    let logged = Logged::start();
    for outage in 1..=2 {
        for _ in 0..2 {
            store.fails(FaultyStore::is_away());
            assert_eq!(writer.step(9).await, Step::Failed);
            assert!(journal.stats(START).store_failing);
            assert_eq!(logged.count("store write failed"), outage, "at the beginning of each outage");
        }
        assert_eq!(writer.step(9).await, Step::Wrote);
        assert_eq!(logged.count("store available again"), outage);
        assert!(!journal.stats(START).store_failing && journal.is_empty());
        assert_eq!(writer.step(9).await, Step::Idle);
        append(&journal, "b", outage as u64);
        assert_eq!(writer.step(9).await, Step::Wrote);
        assert_eq!(logged.count("store available again"), outage, "it was not away");
        append(&journal, "a", 1 + outage as u64);
    }
    assert_eq!(store.epochs().await, named(&[("a", 2), ("b", 2)]));
}

#[tokio::test]
async fn the_writer_goes_on_by_itself_after_an_outage() {
    let bench = Bench::new();
    let journal = filled(&bench, &["a"]);
    let store = Arc::new(FaultyStore::new().await);
    store.fails(FaultyStore::is_away());
    carry(&journal, &store).await;
    assert_eq!(store.batches(), [1, 1]);
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_tried_again() {
    let bench = Bench::new();
    let journal = filled(&bench, &["a"]);
    let store = Arc::new(FaultyStore::new().await);
    let mut writer = Writer::new(Arc::clone(&journal), store.clone());
    let logged = Logged::start();
    let (file, away) = (bench.files().remove(0), bench.folder.path().join("away"));
    for outage in 1..=2 {
        fs::rename(&file, &away).unwrap();
        for _ in 0..2 {
            assert_eq!(writer.step(9).await, Step::Failed);
            assert_eq!(logged.count("journal cannot be read"), outage, "at the first time");
        }
        fs::rename(&away, &file).unwrap();
        assert_eq!(writer.step(9).await, Step::Wrote);
        append(&journal, "b", outage as u64);
    }
    assert_eq!(store.epochs().await, named(&[("a", 1), ("b", 1)]));
}

#[tokio::test]
async fn a_transition_that_the_store_has_a_newer_state_than_is_said_in_the_log() {
    let bench = Bench::new();
    let journal = filled(&bench, &[]);
    append(&journal, "a", 5);
    append(&journal, "a", 4);
    let store = Arc::new(FaultyStore::new().await);
    let logged = Logged::start();
    carry(&journal, &store).await;
    assert_eq!(logged.count("store has a newer state"), 1);
    assert_eq!(store.epochs().await, named(&[("a", 5)]));
}
