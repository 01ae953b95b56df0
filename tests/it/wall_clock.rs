//! The wall clock is set while breakerd runs: what people read follows, and what is counted does not.

use std::sync::Arc;
use std::time::Duration;

use breaker::Time;
use breakerd::lifecycle::{run_retention, run_wall_clock};
use breakerd::store::{Target, TransitionQuery, open};
use breakerd_api::v1::{
    Breaker, GetBreakerRequest, ListTransitionsRequest, SetOverrideRequest, State, Transition,
};
use breakerd_common::clock::{Clock, ManualClock};
use tokio_util::sync::CancellationToken;

use crate::grpc_world::{START, World, ask, trip};
use crate::store_contract::change::trip as stored_trip;

const TWO_HOURS: Duration = Duration::from_hours(2);

/// Sets the wall clock, and ends when breakerd has noticed.
async fn set_wall(world: &World, wall: Time) {
    let engine = Arc::clone(&world.app.loaded().unwrap().engine);
    let stop = CancellationToken::new();
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let follows = tokio::spawn(run_wall_clock(Arc::clone(&engine), Arc::clone(&clock), stop.clone()));
    world.clock.set_wall(wall);
    world.clock.advance(Duration::from_secs(1));
    while engine.wall(clock.now()) != clock.wall() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    follows.await.unwrap().unwrap();
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
fn stamp(time: Time) -> Option<prost_types::Timestamp> {
    let micros = i64::try_from(time.as_micros()).unwrap();
    let nanos = i32::try_from(micros % 1_000_000 * 1_000).unwrap();
    Some(prost_types::Timestamp { seconds: micros / 1_000_000, nanos })
}

async fn get(world: &World, service: &str) -> Breaker {
    let request = GetBreakerRequest { service: service.into(), name: String::new() };
    world.operations().await.get_breaker(request).await.unwrap().into_inner().breaker.unwrap()
}

async fn newest(world: &World, service: &str) -> Transition {
    world.write_behind().await;
    let request = ListTransitionsRequest { service: service.into(), ..ListTransitionsRequest::default() };
    let mut operations = world.operations().await;
    operations.list_transitions(request).await.unwrap().into_inner().transitions.remove(0)
}

fn set(service: &str) -> SetOverrideRequest {
    SetOverrideRequest {
        service: service.into(),
        state: State::ForcedOpen as i32,
        reason: "a drill".into(),
        create: true,
        ..SetOverrideRequest::default()
    }
}

#[tokio::test]
async fn what_people_read_follows_a_wall_clock_that_is_set() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    trip(&mut breakers, "before", "").await;
    set_wall(&world, START + TWO_HOURS).await;
    trip(&mut breakers, "after", "").await;

    let before = get(&world, "before").await;
    assert_eq!(before.opened_at, stamp(START + TWO_HOURS));
    assert_eq!(before.open_until, stamp(START + TWO_HOURS + Duration::from_mins(1)));
    assert_eq!(before.remaining_wait.unwrap().seconds, 59, "a second has passed, not two hours");
    assert_eq!(before.created_at, stamp(START + TWO_HOURS));
    assert_eq!(before.last_transition.unwrap().occurred_at, stamp(START + TWO_HOURS));
    let now = START + TWO_HOURS + Duration::from_secs(1);
    assert_eq!(get(&world, "after").await.opened_at, stamp(now));
    assert_eq!(newest(&world, "after").await.occurred_at, stamp(now));
    assert_eq!(newest(&world, "before").await.occurred_at, stamp(START), "as it was when it was written");

    let is_until = |line: &&str| {
        line.contains("circuit_breaker_open_until_timestamp_seconds{") && line.contains("service=\"after\"")
    };
    let metrics = world.app.metrics.render(breakerd::metrics::Format::Text).unwrap();
    let line = metrics.lines().find(is_until).unwrap();
    let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    let until = Duration::from_micros((now + Duration::from_mins(1)).as_micros());
    assert_eq!(Duration::from_secs_f64(value).as_secs(), until.as_secs());
    world.end().await;
}

#[tokio::test]
async fn an_override_with_an_end_follows_the_wall_clock_and_one_with_a_duration_does_not() {
    let world = World::new().await;
    let (mut breakers, mut operations) = (world.breakers().await, world.operations().await);
    world.keep_writing();
    let ten_minutes = prost_types::Duration { seconds: 600, nanos: 0 };
    for service_wide in [false, true] {
        let name = |kind: &str| format!("{kind}-{service_wide}");
        let until = stamp(world.clock.wall() + Duration::from_mins(10));
        let request = SetOverrideRequest { service_wide, expires_at: until, ..set(&name("until")) };
        operations.set_override(request).await.unwrap();
        let request = SetOverrideRequest { service_wide, ttl: Some(ten_minutes), ..set(&name("for")) };
        operations.set_override(request).await.unwrap();
        set_wall(&world, world.clock.wall() + TWO_HOURS).await;
        let allowed = breakers.allow_request(ask(&name("until"), "")).await.unwrap().into_inner();
        assert!(allowed.allowed, "{service_wide}");
        let denied = breakers.allow_request(ask(&name("for"), "")).await.unwrap().into_inner();
        assert_eq!((denied.allowed, denied.retry_after.unwrap().seconds), (false, 599));
        let shown = get(&world, &name("for")).await.r#override.unwrap();
        assert_eq!(shown.expires_at, stamp(world.clock.wall() + Duration::from_secs(599)));
    }
    world.end().await;
}

#[tokio::test]
async fn an_end_is_judged_by_the_wall_clock_that_was_set() {
    let world = World::new().await;
    let mut operations = world.operations().await;
    set_wall(&world, START + TWO_HOURS).await;
    let past = SetOverrideRequest { expires_at: stamp(START + Duration::from_hours(1)), ..set("db") };
    assert_eq!(operations.set_override(past).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    world.end().await;
}

#[tokio::test]
async fn history_is_pruned_by_the_wall_clock() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn breakerd::store::Store> =
        open(&Target::Sqlite(folder.path().join("breakerd.db"))).await.unwrap();
    // The history is stamped by the clock of the store, the present: the process was started with one that was years
    // behind, and that was set since.
    store.propose(&[stored_trip(1, &breaker::Key::new("a", "").unwrap())]).await.unwrap();
    let clock = ManualClock::new(Time::from_micros(1_000_000));
    clock.set_wall(Time::from_micros(4_000_000_000_000_000));
    let stop = CancellationToken::new();
    let (kept, shared) = (Duration::from_hours(24), Arc::new(clock.clone()));
    // It knows no breaker of that store, so that none of its rows is in use.
    let world = World::new().await;
    let engine = Arc::clone(&world.app.loaded().unwrap().engine);
    let pruning = tokio::spawn(run_retention(store.clone(), engine, shared, kept, stop.clone()));
    let query = TransitionQuery { limit: 9, ..TransitionQuery::default() };
    while !store.transitions(&query).await.unwrap().is_empty() {
        clock.advance(Duration::from_mins(1));
        tokio::task::yield_now().await;
    }
    stop.cancel();
    pruning.await.unwrap().unwrap();
    store.close().await;
}
