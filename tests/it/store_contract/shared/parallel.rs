//! Several connections at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use breaker::{Key, Probe, ProbeSettled, State};
use breakerd::store::Answer;
use tokio::task::JoinSet;

use super::bed::{SharedBed, brief, claim, claimed, failed, settled, succeeded, to_half_open};
use super::on_every_shared_store;
use crate::store_contract::change::{key, proposed};
use crate::store_contract::configuration::{thresholds, try_write};
use crate::store_contract::history;

on_every_shared_store!(
    two_last_successes_at_once_close_it_once,
    claims_at_once_get_no_more_slots_than_there_are,
    the_same_claim_at_once_gets_one_slot,
    claims_outcomes_and_proposals_do_not_wait_for_each_other_in_a_circle,
);

async fn two_last_successes_at_once_close_it_once(bed: &mut SharedBed) {
    let keys: Vec<_> = (0..20).map(|n| key("service", &format!("{n}"))).collect();
    bed.half_open(&keys, 2, 1).await;
    for (n, key) in (0..).zip(&keys) {
        let probes = bed.probes(key, &[2 * n + 1, 2 * n + 2]).await;
        let mut tasks = JoinSet::new();
        for probe in probes {
            let (store, key) = (Arc::clone(&bed.store), key.clone());
            tasks.spawn(async move { store.ask_probes(&[succeeded(&key, probe)]).await.unwrap().remove(0) });
        }
        let mut answers: Vec<_> =
            tasks.join_all().await.into_iter().map(|response| brief(&settled(response))).collect();
        answers.sort_unstable_by_key(|(_, completed, _)| *completed);
        let recorded = ProbeSettled::Recorded;
        assert_eq!(answers, [(recorded, 1, State::HalfOpen), (recorded, 2, State::Closed)]);
    }
    assert_eq!(history(&*bed.store).await.len(), 40, "into half-open, and out of it, each once");
    assert_eq!(bed.store.revision().await.unwrap(), 21);
}

async fn claims_at_once_get_no_more_slots_than_there_are(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 5, 5).await;
    let mut tasks = JoinSet::new();
    for replica in 0..12_u64 {
        let (store, a) = (Arc::clone(&bed.store), a.clone());
        tasks.spawn(async move {
            let mut probes = Vec::new();
            for round in 0..5 {
                let nonce = replica * 100 + round;
                let response = store.ask_probes(&[claim(&a, 1, &[nonce])]).await.unwrap().remove(0);
                probes.extend(claimed(response).0.unwrap().probes);
            }
            probes
        });
    }
    let probes: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let slots: BTreeSet<_> = probes.iter().map(|probe| probe.slot).collect();
    assert_eq!(slots, (0..5).collect(), "{probes:?}");
    assert_eq!(probes.len(), 5, "{probes:?}");
}

async fn the_same_claim_at_once_gets_one_slot(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 5, 5).await;
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (store, a) = (Arc::clone(&bed.store), a.clone());
        tasks.spawn(async move { claimed(store.ask_probes(&[claim(&a, 1, &[7])]).await.unwrap().remove(0)) });
    }
    for (grant, _) in tasks.join_all().await {
        assert_eq!(grant.unwrap().probes, [Probe { slot: 0, nonce: 7 }]);
    }
}

/// Keys of the same breakers in an order of one's own.
fn shuffled(keys: &[Key], writer: usize) -> Vec<Key> {
    let mut keys = keys.to_vec();
    keys.rotate_left(writer * 137);
    if writer % 2 == 1 {
        keys.reverse();
    }
    keys
}

async fn claims_outcomes_and_proposals_do_not_wait_for_each_other_in_a_circle(bed: &mut SharedBed) {
    let rounds = 4;
    let keys: Vec<_> = (0..1_000).map(|n| key("service", &format!("{n}"))).collect();
    bed.half_open(&keys, 3, 2).await;
    let mut tasks = JoinSet::new();
    for writer in 0..2_usize {
        let (store, keys) = (Arc::clone(&bed.store), shuffled(&keys, writer));
        tasks.spawn(async move {
            for round in 0..rounds {
                // Each its own: a verdict is known by its nonce.
                let nonces = (writer * 1_000_000 + round * 10_000 + 100_000) as u64..;
                let claims: Vec<_> = nonces.zip(&keys).map(|(nonce, key)| claim(key, 1, &[nonce])).collect();
                let responses = store.ask_probes(&claims).await.unwrap();
                // Of every tenth it fails, which opens some of them.
                let outcomes: Vec<_> = responses
                    .into_iter()
                    .enumerate()
                    .filter_map(|(n, response)| {
                        let (grant, row) = claimed(response);
                        let probe = *grant?.probes.first()?;
                        Some(if n % 10 == 0 { failed(&row.key, probe) } else { succeeded(&row.key, probe) })
                    })
                    .collect();
                for part in outcomes.chunks(100) {
                    store.ask_probes(part).await.unwrap();
                }
            }
        });
    }
    let (store, mine) = (Arc::clone(&bed.store), shuffled(&keys, 3));
    tasks.spawn(async move {
        for round in 0..rounds as u64 {
            // Some win, and some lose against outcomes.
            let proposals: Vec<_> = (round * 10_000 + 10_000..)
                .zip(&mine)
                .enumerate()
                .map(|(n, (seq, key))| match n % 3 {
                    0 => proposed(seq, key, State::HalfOpen, State::Open, 2 * round + 1),
                    _ => to_half_open(seq, key, State::Open, 2 * round + 2, (3, 2)),
                })
                .collect();
            store.propose_shared(&proposals).await.unwrap();
        }
    });
    let store = Arc::clone(&bed.store);
    tasks.spawn(async move {
        for failures in (3..).take(rounds) {
            let based_on = store.configuration().await.unwrap().revision;
            try_write(&*store, based_on, thresholds("service", failures), &["service"], None).await.unwrap();
        }
    });
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // Epochs without a gap, and each once.
    let rows = history(&*bed.store).await;
    let epochs: BTreeSet<_> = rows.iter().filter_map(|row| Some((&row.key, row.epoch?))).collect();
    let written = rows.iter().filter(|row| row.epoch.is_some()).count();
    assert_eq!(epochs.len(), written);
    let stored = bed.store.breakers(None, 2_000).await.unwrap();
    assert_eq!(stored.iter().map(|stored| stored.snapshot.epoch).sum::<u64>(), written as u64);
    assert!(written > 1_000, "there were verdicts or proposals that won");
    let answer = bed.propose(proposed(1, &keys[0], State::Closed, State::Open, 99)).await.answer;
    assert!(matches!(answer, Answer::Lost { .. }));
}
