//! Several writers at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use breaker::{Key, State};
use breakerd::store::{Answer, HistoryCursor, Proposal, Store, TransitionQuery};
use tokio::task::JoinSet;

use super::bed::StoreBed;
use super::change::{key, own, proposed, trip};
use super::{history, on_every_store};

on_every_store!(
    two_batches_in_opposite_orders_do_not_wait_for_each_other,
    one_of_many_that_want_the_same_epoch_wins,
    the_same_batch_at_once_is_written_once,
    who_follows_the_revisions_misses_nothing,
);

fn keys(count: u64) -> Vec<Key> {
    (0..count).map(|n| key("service", &format!("{n}"))).collect()
}

fn is_won(answer: &Answer) -> bool {
    matches!(answer, Answer::Won { .. })
}

async fn two_batches_in_opposite_orders_do_not_wait_for_each_other(bed: &mut StoreBed) {
    let keys = keys(1_000);
    let batch = |task: u64, round: u64| -> Vec<Proposal> {
        let first = (task * 10 + round) * 1_000;
        let forward = (first..).zip(&keys);
        let mut batch: Vec<_> =
            forward.map(|(seq, key)| proposed(seq, key, State::Closed, State::Closed, round)).collect();
        if task == 1 {
            batch.reverse();
        }
        batch
    };
    let mut tasks = JoinSet::new();
    for task in 0..2 {
        let batches: Vec<_> = (0..3).map(|round| batch(task, round)).collect();
        let store = Arc::clone(&bed.store);
        tasks.spawn(async move {
            let mut won = 0;
            for batch in batches {
                won += store.propose(&batch).await.unwrap().iter().filter(|answer| is_won(answer)).count();
            }
            won
        });
    }
    let won: usize = tasks.join_all().await.into_iter().sum();
    // Every epoch of every breaker went to one of the two.
    assert_eq!(won, 3_000);
    let rows = history(&*bed.store).await;
    let epochs: BTreeSet<_> = rows.iter().filter_map(|row| Some((row.key.clone(), row.epoch?))).collect();
    assert_eq!(epochs.len(), 3_000);
}

async fn one_of_many_that_want_the_same_epoch_wins(bed: &mut StoreBed) {
    let a = key("a", "");
    let mut tasks = JoinSet::new();
    for seq in 0..8 {
        let store = Arc::clone(&bed.store);
        let to = if seq % 2 == 0 { State::Open } else { State::Closed };
        let proposal = proposed(seq, &a, State::Closed, to, 0);
        tasks.spawn(async move { store.propose(&[proposal]).await.unwrap() });
    }
    let answers: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(answers.iter().filter(|answer| is_won(answer)).count(), 1);
    let stands = bed.store.breakers(None, 10).await.unwrap();
    for answer in answers {
        match answer {
            Answer::Won { epoch, .. } => assert_eq!(epoch, 1),
            Answer::Lost { present } => assert_eq!(present, stands[0].snapshot),
        }
    }
}

async fn the_same_batch_at_once_is_written_once(bed: &mut StoreBed) {
    let batch: Vec<_> = (0..).zip(&keys(50)).map(|(seq, key)| trip(seq, key)).collect();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (store, batch) = (Arc::clone(&bed.store), batch.clone());
        tasks.spawn(async move { store.propose(&batch).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(history(&*bed.store).await.len(), 50);
    assert_eq!(bed.store.revision().await.unwrap(), 1);
}

/// Reads the history behind `after` to its end.
async fn follow(store: &dyn Store, after: &mut Option<HistoryCursor>, seen: &mut Vec<(HistoryCursor, u64)>) {
    loop {
        let query =
            TransitionQuery { oldest_first: true, after: *after, limit: 16, ..TransitionQuery::default() };
        let page = store.transitions(&query).await.unwrap();
        let Some(last) = page.last() else { return };
        *after = Some(last.cursor);
        seen.extend(page.iter().map(|row| (row.cursor, row.id.seq)));
    }
}

async fn who_follows_the_revisions_misses_nothing(bed: &mut StoreBed) {
    let writers = 6;
    let rounds = 15;
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let store = Arc::clone(&bed.store);
        tasks.spawn(async move {
            let key = key("service", &format!("{writer}"));
            for round in 0..rounds {
                let seq = writer * rounds + round;
                store.propose(&[own(seq, &key, State::Closed, State::Open, round)]).await.unwrap();
            }
        });
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let is_over = tasks.is_empty();
        follow(&*bed.store, &mut after, &mut seen).await;
        if is_over {
            break;
        }
        while let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
    }
    let seqs: BTreeSet<_> = seen.iter().map(|(_, seq)| *seq).collect();
    assert_eq!(seqs.len(), seen.len(), "nothing twice");
    assert_eq!(seqs, (0..writers * rounds).collect(), "nothing missed");
    let revisions: Vec<_> = seen.iter().map(|(place, _)| place.revision).collect();
    assert_eq!(revisions, (1..=writers * rounds).collect::<Vec<_>>(), "no gap, and in order");
}
