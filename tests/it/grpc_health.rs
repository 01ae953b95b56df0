//! grpc.health.v1 as a prober and a load balancer use it.

use std::time::Duration;

use breakerd::grpc::{Limits, Part, Serving};
use breakerd::listener::Drained;
use breakerd_api::v1::config_service_client::ConfigServiceClient;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt as _;

use crate::grpc_config::{failures, set};
use crate::grpc_world::{World, ask};
use crate::process::{PATIENCE, Process};
use crate::severable_proxy::Road;
use crate::support::new_database;

const BREAKERS: &str = "breakerd.v1.BreakerService";
const CONFIGS: &str = "breakerd.v1.ConfigService";
const OPERATIONS: &str = "breakerd.v1.OperationsService";

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let message = tokio::time::timeout(PATIENCE, watch.message()).await.expect("the watch hangs");
    message.unwrap().expect("a status").status()
}

#[tokio::test]
async fn each_service_is_healthy_once_it_serves() {
    let world = World::unloaded(Limits::default()).await;
    let mut health = HealthClient::new(world.channel().await);
    for service in ["", BREAKERS, CONFIGS, OPERATIONS, "readiness"] {
        let status = health.check(of(service)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::NotServing, "{service}: nothing is loaded");
    }
    // A process that waits for its store runs: a restart would not mend it.
    let status = health.check(of("liveness")).await.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::Serving);
    world.load(None).await;
    for service in ["", BREAKERS, CONFIGS, OPERATIONS, "grpc.health.v1.Health", "liveness", "readiness"] {
        let status = health.check(of(service)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    // The store is away: decisions go on.
    for part in [Part::Configs, Part::Operations] {
        world.grpc.health().set(part, Serving::No);
    }
    for (service, expected) in [
        ("", ServingStatus::Serving),
        (BREAKERS, ServingStatus::Serving),
        ("readiness", ServingStatus::Serving),
        (CONFIGS, ServingStatus::NotServing),
        (OPERATIONS, ServingStatus::NotServing),
    ] {
        assert_eq!(health.check(of(service)).await.unwrap().into_inner().status(), expected, "{service}");
    }
    let status = health.check(of("breakerd.v1.Nothing")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.get_details_resource_info().unwrap().resource_name, "breakerd.v1.Nothing");
    world.end().await;
}

#[tokio::test]
async fn a_watch_tells_every_change_and_ends_with_the_server() {
    let world = World::unloaded(Limits::default()).await;
    let mut health = HealthClient::new(world.channel().await);
    let mut server = health.watch(of("")).await.unwrap().into_inner();
    let mut operations = health.watch(of(OPERATIONS)).await.unwrap().into_inner();
    let mut unknown = health.watch(of("nothing")).await.unwrap().into_inner();
    let mut alive = health.watch(of("liveness")).await.unwrap().into_inner();
    assert_eq!(next(&mut alive).await, ServingStatus::Serving);
    assert_eq!(next(&mut server).await, ServingStatus::NotServing);
    assert_eq!(next(&mut operations).await, ServingStatus::NotServing);
    assert_eq!(next(&mut unknown).await, ServingStatus::ServiceUnknown);

    world.load(None).await;
    assert_eq!(next(&mut server).await, ServingStatus::Serving);
    assert_eq!(next(&mut operations).await, ServingStatus::Serving);
    world.grpc.health().set(Part::Operations, Serving::No);
    assert_eq!(next(&mut operations).await, ServingStatus::NotServing);
    world.grpc.health().set(Part::Operations, Serving::Yes);
    assert_eq!(next(&mut operations).await, ServingStatus::Serving);

    world.shutdown.cancel();
    assert_eq!(next(&mut server).await, ServingStatus::NotServing, "and nothing of the others' changes");
    assert_eq!(next(&mut operations).await, ServingStatus::NotServing);
    for watch in [&mut server, &mut operations, &mut unknown, &mut alive] {
        let status = watch.message().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_details_error_info().unwrap().reason, "SHUTTING_DOWN");
    }
    assert_eq!(world.served.await.unwrap(), Drained::Whole, "open watches do not hold the process");
    assert_eq!(world.grpc.health().serving(Part::Server), Serving::No);
}

/// A real process, a real Postgres, and a road between them that is cut.
#[tokio::test]
async fn while_the_database_is_away_what_writes_to_it_does_not_serve_and_afterwards_it_does_again() {
    let folder = tempfile::tempdir().unwrap();
    let road = Road::to(&new_database().await).await;
    let process = Process::ready(folder.path(), Some(&road.url)).await;
    let mut breakers = process.breakers().await;
    let mut configs = ConfigServiceClient::new(process.channel().await);
    let mut health = HealthClient::new(process.channel().await);
    let mut watches = Vec::new();
    for service in [CONFIGS, OPERATIONS] {
        let mut watch = health.watch(of(service)).await.unwrap().into_inner();
        assert_eq!(next(&mut watch).await, ServingStatus::Serving);
        watches.push(watch);
    }
    for threshold in 1..3 {
        road.cut();
        for watch in &mut watches {
            assert_eq!(next(watch).await, ServingStatus::NotServing);
        }
        for (service, expected) in [
            ("", ServingStatus::Serving),
            (BREAKERS, ServingStatus::Serving),
            (CONFIGS, ServingStatus::NotServing),
        ] {
            let status = health.check(of(service)).await.unwrap().into_inner().status();
            assert_eq!(status, expected, "{service}");
        }
        assert!(breakers.allow_request(ask("db", "")).await.unwrap().into_inner().allowed);
        let status = configs.update_config(set("db", failures(threshold))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        road.mend();
        for watch in &mut watches {
            assert_eq!(next(watch).await, ServingStatus::Serving);
        }
        let done = configs.update_config(set("db", failures(threshold))).await.unwrap().into_inner();
        assert!(done.changed);
    }
    drop(watches);
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn watches_are_bounded_and_give_their_place_back() {
    let world = World::with(Limits { watches_max: 2, ..Limits::default() }, None).await;
    let mut health = HealthClient::new(world.channel().await);
    let first = health.watch(of("")).await.unwrap();
    let _second = health.watch(of("unknown")).await.unwrap();
    let status = health.watch(of("")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "WATCH_LIMIT_REACHED");
    assert!(health.check(of("")).await.is_ok());
    drop(first);
    // The cancellation is on its way; the server has it when the place is free.
    tokio::time::timeout(Duration::from_secs(5), async {
        while health.watch(of("")).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the place comes free");
    world.end().await;
}
