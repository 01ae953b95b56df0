//! Permits over the lives of a process.

use breakerd_api::v1::{Outcome, RecordOutcomeRequest, RecordResult};

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
