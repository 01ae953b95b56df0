//! Permits over the lives of a process.

use breakerd_api::v1::{
    ListPermitKeysRequest, Outcome, RecordOutcomeRequest, RecordResult, RotatePermitKeyRequest,
};

use crate::grpc_world::{ask, report};
use crate::process::Process;

#[tokio::test]
async fn a_permit_from_before_a_restart_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut breakers = process.breakers().await;
    let permit = breakers.allow_request(ask("orders", "slow")).await.unwrap().into_inner();
    process.kill();

    let process = Process::ready(folder.path(), None).await;
    let mut breakers = process.breakers().await;
    let named = RecordOutcomeRequest {
        service: "orders".into(),
        name: "slow".into(),
        ..report(&permit, Outcome::Failure)
    };
    let mut results = Vec::new();
    for _ in 0..5 {
        results.push(breakers.record_outcome(named.clone()).await.unwrap().into_inner().result());
    }
    let duplicate = RecordResult::Duplicate;
    assert_eq!(results, [RecordResult::Recorded, duplicate, duplicate, duplicate, duplicate]);
    // Five failures would have opened it.
    assert!(breakers.allow_request(ask("orders", "slow")).await.unwrap().into_inner().allowed);
    assert!(process.stop().await.success());
}

/// A lone process, on SQLite.
#[tokio::test]
async fn permits_under_every_key_count_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut breakers = process.breakers().await;
    let before = breakers.allow_request(ask("orders", "slow")).await.unwrap().into_inner();
    let rotate = RotatePermitKeyRequest { reason: "it leaked".into() };
    let rotated = process.operations().await.rotate_permit_key(rotate).await.unwrap().into_inner();
    assert_eq!(
        (rotated.number, rotated.changed, rotated.sealing),
        (2, true, true),
        "nobody else has to have it"
    );
    let after = breakers.allow_request(ask("orders", "slow")).await.unwrap().into_inner();
    assert_eq!((before.permit.len(), after.permit.len()), (92, 96));
    process.kill();

    let process = Process::ready(folder.path(), None).await;
    let mut breakers = process.breakers().await;
    for permit in [before, after] {
        let named = RecordOutcomeRequest {
            service: "orders".into(),
            name: "slow".into(),
            ..report(&permit, Outcome::Failure)
        };
        let recorded = breakers.record_outcome(named).await.unwrap().into_inner();
        assert_eq!(recorded.result(), RecordResult::Recorded);
    }
    let keys =
        process.operations().await.list_permit_keys(ListPermitKeysRequest {}).await.unwrap().into_inner();
    let keys: Vec<_> =
        keys.keys.iter().map(|key| (key.number, key.sealing, key.seals_since.is_some())).collect();
    assert_eq!(keys, [(1, false, true), (2, true, true)]);
    assert!(process.stop().await.success());
}
