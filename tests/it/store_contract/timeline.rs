//! What a store is, and where in its history.

use breakerd::store::ChangeId;

use super::bed::StoreBed;
use super::change::{key, trip};
use super::on_every_store;

on_every_store!(
    a_store_is_the_same_after_a_restart,
    no_two_stores_are_the_same,
    every_revision_has_a_nonce_that_stays,
    a_timeline_is_renewed_once_and_to_a_larger_one,
);

async fn a_store_is_the_same_after_a_restart(bed: &mut StoreBed) {
    let meta = bed.store.meta().await.unwrap();
    assert_eq!(meta, bed.store.meta().await.unwrap());
    bed.reopen().await;
    assert_eq!(meta, bed.store.meta().await.unwrap());
    assert_eq!(meta.timeline, 0);
    assert_ne!(meta.id_key, [0; 16]);
    bed.store.ping().await.unwrap();
}

async fn no_two_stores_are_the_same(bed: &mut StoreBed) {
    let other = bed.another().await;
    let (one, two) = (bed.store.meta().await.unwrap(), other.store.meta().await.unwrap());
    assert_ne!(one.store_id, two.store_id);
    assert_ne!(one.id_key, two.id_key);
    other.end().await;
}

async fn every_revision_has_a_nonce_that_stays(bed: &mut StoreBed) {
    let position = bed.store.position(0).await.unwrap();
    assert_eq!((position.timeline, position.newest, position.nonce), (0, ChangeId::default(), None));
    let mut seen = Vec::new();
    for seq in 1..=3 {
        bed.store.propose(&[trip(seq, &key("a", &seq.to_string()))]).await.unwrap();
        let position = bed.store.position(seq).await.unwrap();
        assert_eq!((position.newest.revision, position.nonce), (seq, Some(position.newest.nonce)));
        seen.push(position.newest);
    }
    let nonces: std::collections::BTreeSet<_> = seen.iter().map(|change| change.nonce).collect();
    assert_eq!(nonces.len(), 3);
    bed.reopen().await;
    for change in seen {
        let position = bed.store.position(change.revision).await.unwrap();
        assert_eq!(position.nonce, Some(change.nonce));
        assert!(!position.went_back_behind(change));
    }
    let ahead = bed.store.position(4).await.unwrap();
    assert_eq!(ahead.nonce, None, "there is no such revision yet");
    assert!(ahead.went_back_behind(ChangeId { revision: 4, nonce: 1 }));
}

async fn a_timeline_is_renewed_once_and_to_a_larger_one(bed: &mut StoreBed) {
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    bed.store.renew_timeline(0, 70_000).await.unwrap();
    let renewed = bed.store.position(1).await.unwrap();
    assert!(renewed.timeline > 70_000, "{renewed:?}");
    assert_eq!(renewed.newest.revision, 2, "who follows the store hears of it");
    assert_eq!(bed.store.meta().await.unwrap().timeline, renewed.timeline);
    // Of two that found that the store went back, the second was late.
    bed.store.renew_timeline(0, 90_000).await.unwrap();
    assert_eq!(bed.store.position(1).await.unwrap(), renewed);
    bed.reopen().await;
    assert_eq!(bed.store.position(1).await.unwrap(), renewed);
}
