//! The keys that permits are sealed with.

use std::time::Duration;

use breaker::Attribution;
use breakerd::store::{ChangeKind, ChangeQuery, LiveReplica, PermitKeyAdded, Target, open_shared};

use super::bed::StoreBed;
use super::on_every_store;
use crate::support::{Bed, new_database, sql};

on_every_store!(a_key_is_added_then_seals_and_is_in_the_audit);

fn ann() -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: "it leaked".to_owned() }
}

/// Numbers, and whether each seals or has sealed.
async fn keys(store: &dyn breakerd::store::Store) -> Vec<(u32, bool)> {
    let keys = store.permit_keys().await.unwrap();
    keys.iter().map(|key| (key.number, key.sealing_for.is_some())).collect()
}

async fn a_key_is_added_then_seals_and_is_in_the_audit(bed: &mut StoreBed) {
    let first = bed.store.permit_keys().await.unwrap();
    assert_eq!(keys(&*bed.store).await, [(1, true)]);
    assert_eq!(first[0].secret, bed.store.meta().await.unwrap().id_key, "as the release before sealed");
    assert_eq!(bed.store.add_permit_key(&ann()).await.unwrap(), PermitKeyAdded::Added { number: 2 });
    assert_eq!(bed.store.add_permit_key(&ann()).await.unwrap(), PermitKeyAdded::Pending { number: 2 });
    assert_eq!(keys(&*bed.store).await, [(1, true), (2, false)]);
    // Who does not have it cannot know that all do.
    bed.store.advance_permit_keys(1).await.unwrap();
    assert_eq!(keys(&*bed.store).await, [(1, true), (2, false)]);
    bed.store.advance_permit_keys(2).await.unwrap();
    bed.reopen().await;
    assert_eq!(keys(&*bed.store).await, [(1, true), (2, true)]);
    let both = bed.store.permit_keys().await.unwrap();
    assert_ne!(both[0].secret, both[1].secret);
    assert_eq!(bed.store.meta().await.unwrap().id_key, first[0].secret, "it never changes");
    assert!(both[1].age < Duration::from_mins(1), "{both:?}");
    assert!(!format!("{both:?}").contains("secret"));

    let audit = bed.store.changes(&ChangeQuery { limit: 10, ..ChangeQuery::default() }).await.unwrap();
    assert_eq!(audit.len(), 1);
    assert_eq!((audit[0].kind, audit[0].attribution.clone()), (ChangeKind::PermitKeyRotated, ann()));
    let number = |text: &Option<String>| text.as_ref().unwrap().replace(' ', "");
    assert_eq!(
        (number(&audit[0].before), number(&audit[0].after)),
        ("{\"number\":1}".into(), "{\"number\":2}".into())
    );
    assert_eq!(
        audit[0].cursor.revision,
        bed.store.revision().await.unwrap(),
        "who follows the store hears of it"
    );
    bed.store.check_writable().await.unwrap();
}

#[tokio::test]
async fn a_database_deletes_a_key_a_day_after_its_successor_began_to_seal() {
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        bed.store.add_permit_key(&ann()).await.unwrap();
        bed.store.advance_permit_keys(2).await.unwrap();
        for (minutes, left) in [(25 * 60 - 1, 2), (25 * 60 + 1, 1)] {
            let began = match bed.target {
                Target::Sqlite(_) => {
                    format!(
                        "seals_since_us = CAST(unixepoch('subsec') * 1000000 AS INTEGER) - {minutes} * 60000000"
                    )
                }
                Target::Postgres(_) => {
                    format!("seals_since = clock_timestamp() - interval '{minutes} minutes'")
                }
            };
            bed.sql(&format!("UPDATE permit_key SET {began} WHERE number = 2")).await;
            bed.store.advance_permit_keys(2).await.unwrap();
            assert_eq!(bed.store.permit_keys().await.unwrap().len(), left, "{minutes}");
        }
        // The identity stays, and no first key is made anew.
        bed.end().await;
    }
}

/// Not one that has stopped, nor one of the release before, which writes no number.
#[tokio::test]
async fn a_key_waits_for_every_live_replica_to_have_it() {
    let url = new_database().await;
    let breakerd::store::Shared { store, replicas, .. } = open_shared(&url).await.unwrap();
    let replica = |name: &str, permit_key| LiveReplica {
        name: name.to_owned(),
        boot: 1,
        version: "0".to_owned(),
        uptime: Duration::ZERO,
        revision: 0,
        waiting: 0,
        permit_key,
    };
    store.add_permit_key(&ann()).await.unwrap();
    replicas.note_replica(&replica("one", 2)).await.unwrap();
    replicas.note_replica(&replica("two", 1)).await.unwrap();
    store.advance_permit_keys(2).await.unwrap();
    assert_eq!(keys(&*store).await, [(1, true), (2, false)]);
    replicas.note_replica(&replica("two", 2)).await.unwrap();
    let target = Target::Postgres(url.clone());
    let row = "INSERT INTO replica (name, boot, version, started_at, revision, waiting, seen_at)
               VALUES ('before', '0123456789abcdef', '0', now(), 0, 0, now())";
    sql(&target, row).await;
    store.advance_permit_keys(2).await.unwrap();
    assert_eq!(keys(&*store).await, [(1, true), (2, false)]);
    sql(&target, "UPDATE replica SET seen_at = now() - interval '4 seconds' WHERE name = 'before'").await;
    store.advance_permit_keys(2).await.unwrap();
    assert_eq!(keys(&*store).await, [(1, true), (2, true)]);
    let listed = replicas.replicas().await.unwrap().replicas;
    assert_eq!(listed.iter().map(|row| row.replica.permit_key).collect::<Vec<_>>(), [0, 2, 2]);
    store.close().await;
}
