//! Connections do not last for ever, where that is set: clients spread over new replicas.

use std::time::Duration;

use breakerd::grpc::Limits;
use tonic::Code;

use crate::grpc_world::{World, ask};
use crate::process::eventually;
use crate::raw::Raw;
use crate::watch_transitions::{next, snapshot, watch};

#[tokio::test]
async fn a_connection_that_is_too_old_ends_after_its_calls_and_a_watch_goes_on_elsewhere() {
    let age = Duration::from_mins(10);
    let limits = Limits { connection_age_max: Some(age), ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut idle = Raw::to(world.address).await;
    let path = "/breakerd.v1.BreakerService/AllowRequest";
    assert_eq!(idle.call(path, &[], &ask("db", "")).await.code(), Code::Ok);
    let mut operations = world.operations().await;
    let mut watched = watch(&mut operations, "").await;
    let (_, _, token) = snapshot(&mut watched).await;

    world.clock.advance(age.mul_f64(0.85));
    assert_eq!(idle.call(path, &[], &ask("db", "")).await.code(), Code::Ok);
    assert!(!idle.is_closed(), "it is not old enough");
    world.clock.advance(age.mul_f64(0.3));
    eventually("the connection is closed", async || idle.is_closed()).await;
    // A watch goes on for a while, and then from where it was, on another connection.
    world.clock.advance(limits.heartbeat_every);
    assert!(next(&mut watched).await.is_some(), "the old connection still tells");
    world.clock.advance(limits.connection_age_grace);
    while next(&mut watched).await.is_some() {}
    let mut resumed = watch(&mut operations, &token).await;
    assert!(next(&mut resumed).await.is_some());
}
