//! The key of permits is changed while calls are under way: no outcome is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use breakerd_api::v1::{
    AllowRequestRequest, ListPermitKeysRequest, Outcome, RecordOutcomeRequest, RecordOutcomeResponse,
    RecordResult, RotatePermitKeyRequest, RotatePermitKeyResponse,
};
use bytes::Bytes;
use tonic::{Code, Status};

use super::Replica;
use crate::process::eventually;
use crate::severable_proxy::Road;
use crate::support::new_database;

/// A permit under a later key than the first is longer: it has the number of the key.
const UNDER_FIRST_KEY: usize = 92;

async fn rotate(replica: &Replica) -> RotatePermitKeyResponse {
    let request = RotatePermitKeyRequest { reason: "it leaked".into() };
    replica.process.operations().await.rotate_permit_key(request).await.unwrap().into_inner()
}

/// The number of the key that seals, as the store has it, and how many there are.
async fn sealing(replica: &Replica) -> (u32, usize) {
    let listed = replica.process.operations().await.list_permit_keys(ListPermitKeysRequest {}).await;
    let keys = listed.unwrap().into_inner().keys;
    (keys.iter().find(|key| key.sealing).unwrap().number, keys.len())
}

async fn permit(replica: &Replica) -> Bytes {
    replica.allow("healthy").await.permit
}

async fn report(replica: &Replica, permit: Bytes) -> Result<RecordOutcomeResponse, Status> {
    let outcome = Outcome::Success.into();
    // A replica that never used the breaker knows it by its name.
    let request = RecordOutcomeRequest { service: "healthy".into(), permit, outcome, ..Default::default() };
    replica.process.breakers().await.record_outcome(request).await.map(tonic::Response::into_inner)
}

/// Every permit is taken at one replica, and reported at the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_changed_under_load_and_no_outcome_is_refused() {
    let url = new_database().await;
    let replicas = Replica::three(&url).await;
    let early = permit(&replicas[0]).await;
    let late = permit(&replicas[0]).await;
    let mut clients = Vec::new();
    for replica in &replicas {
        clients.push(replica.process.breakers().await);
    }
    let (stop, reported, longer) =
        (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..6 {
        let (mut clients, stop) = (clients.clone(), Arc::clone(&stop));
        let (reported, longer) = (Arc::clone(&reported), Arc::clone(&longer));
        callers.spawn(async move {
            for turn in caller.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let allow = AllowRequestRequest { service: "healthy".into(), ..Default::default() };
                let permit = clients[turn % 3].allow_request(allow).await.unwrap().into_inner().permit;
                longer.fetch_add(u64::from(permit.len() > UNDER_FIRST_KEY), Ordering::Relaxed);
                let outcome = Outcome::Success.into();
                let record =
                    RecordOutcomeRequest { service: "healthy".into(), permit, outcome, ..Default::default() };
                let recorded = clients[(turn + 1) % 3].record_outcome(record).await.unwrap().into_inner();
                assert_eq!(recorded.result(), RecordResult::Recorded);
                reported.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for key in 2..=4 {
        let rotated = rotate(&replicas[(key % 3) as usize]).await;
        assert_eq!((rotated.number, rotated.changed), (key, true));
        eventually("it seals", async || sealing(&replicas[0]).await == (key, key as usize)).await;
        let (before, now) = (reported.load(Ordering::Relaxed), longer.load(Ordering::Relaxed));
        eventually("calls go on", async || reported.load(Ordering::Relaxed) > before + 50).await;
        eventually("under it", async || longer.load(Ordering::Relaxed) > now + 50).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    // Permits under the first key, from before.
    for (replica, permit) in [(&replicas[0], early), (&replicas[2], late)] {
        assert_eq!(permit.len(), UNDER_FIRST_KEY);
        assert_eq!(report(replica, permit).await.unwrap().result(), RecordResult::Recorded);
    }
}

/// It is not waited for: a replica that is stopped is not live. Continued, it reads the key before it answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_takes_a_permit_under_a_key_that_it_has_not_heard_of() {
    let url = new_database().await;
    let [one, two, three] = Replica::three(&url).await;
    let listed = async || one.process.page("/health/replicas").await.matches("\"name\"").count();
    eventually("they know each other", async || listed().await == 3).await;
    three.process.signal("STOP");
    let rotated = rotate(&one).await;
    assert_eq!((rotated.number, rotated.changed, rotated.sealing), (2, true, false), "it may still live");
    let again = rotate(&two).await;
    assert_eq!((again.number, again.changed), (2, false));
    eventually("it seals", async || permit(&two).await.len() > UNDER_FIRST_KEY).await;
    let permit = permit(&two).await;
    three.process.signal("CONT");
    assert_eq!(report(&three, permit).await.unwrap().result(), RecordResult::Recorded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_cannot_read_the_key_is_unavailable_for_its_permits_and_takes_all_others() {
    let url = new_database().await;
    let road = Road::to(&url).await;
    let (cut_off, other) = (Replica::start(&road.url, "one").await, Replica::start(&url, "two").await);
    let before = permit(&other).await;
    road.cut();
    rotate(&other).await;
    eventually("it seals", async || permit(&other).await.len() > UNDER_FIRST_KEY).await;
    let permit = permit(&other).await;
    let refused = report(&cut_off, permit.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("key"), "{refused}");
    let mut forged = permit.to_vec();
    forged[95] ^= 1;
    assert_eq!(report(&other, forged.into()).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(report(&cut_off, before).await.unwrap().result(), RecordResult::Recorded);
    road.mend();
    eventually("it reads the key", async || report(&cut_off, permit.clone()).await.is_ok()).await;
}
