//! `WatchBreakers`, over a real channel.

use breakerd::catalog::Declaration;
use breakerd::grpc::Limits;
use breakerd_api::v1;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::watch_breakers_response::Event;
use breakerd_api::v1::{State, WatchBreakersRequest, WatchBreakersResponse};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use crate::grpc_world::{World, ask, report, trip};
use crate::process::PATIENCE;
use crate::{watch_config, watch_transitions};

type Client = BreakerServiceClient<Channel>;
type Stream = Streaming<WatchBreakersResponse>;

async fn watch(client: &mut Client, request: WatchBreakersRequest) -> Stream {
    client.watch_breakers(request).await.unwrap().into_inner()
}

/// The next event that is no heartbeat; a hang fails the test.
pub(crate) async fn event(stream: &mut Stream) -> Event {
    let next = async {
        loop {
            let message = stream.message().await;
            let event = message.unwrap().expect("the stream ended").event.unwrap();
            if !matches!(event, Event::Heartbeat(_)) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("the stream hangs, or sends heartbeats only")
}

/// The next event of breakers.
pub(crate) async fn news(stream: &mut Stream) -> Event {
    loop {
        let event = event(stream).await;
        if !matches!(event, Event::Hello(_) | Event::Service(_)) {
            return event;
        }
    }
}

pub(crate) async fn breaker(stream: &mut Stream) -> v1::BreakerState {
    match news(stream).await {
        Event::Breaker(state) => state,
        other => panic!("{other:?}"),
    }
}

/// The names of the snapshot.
pub(crate) async fn snapshot(stream: &mut Stream) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match news(stream).await {
            Event::Breaker(state) => names.push(state.name),
            Event::Bookmark(_) => return names,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_watch_tells_what_is_not_closed_and_then_each_change() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    trip(&mut client, "sentinel", "a").await;
    client.allow_request(ask("sentinel", "closed")).await.unwrap();
    let mut stream = watch(&mut client, WatchBreakersRequest::default()).await;
    assert_eq!(snapshot(&mut stream).await, ["a"]);
    trip(&mut client, "sentinel", "b").await;
    let state = breaker(&mut stream).await;
    assert_eq!((&*state.name, state.state(), state.epoch), ("b", State::Open, 1));
    assert_eq!(state.remaining_wait.unwrap().seconds, 120);
    world.clock.advance(Duration::from_mins(2));
    client.allow_request(ask("sentinel", "b")).await.unwrap();
    let state = breaker(&mut stream).await;
    assert_eq!((&*state.name, state.state(), state.epoch), ("b", State::HalfOpen, 2));
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_wait_that_is_changed_is_told_though_the_state_is_not() {
    let world = World::new().await;
    let (mut client, mut configs) = (world.breakers().await, world.configs().await);
    trip(&mut client, "sentinel", "a").await;
    let mut stream = watch(&mut client, WatchBreakersRequest::default()).await;
    assert_eq!(snapshot(&mut stream).await, ["a"]);
    let wait = prost_types::Duration { seconds: 30, nanos: 0 };
    let request = v1::UpdateConfigRequest {
        service: "sentinel".into(),
        thresholds: Some(v1::Thresholds {
            wait_duration_in_open_state: Some(wait),
            ..v1::Thresholds::default()
        }),
        ..v1::UpdateConfigRequest::default()
    };
    configs.update_config(request).await.unwrap();
    let state = breaker(&mut stream).await;
    assert_eq!((state.state(), state.epoch, state.config_revision), (State::Open, 1, 2));
    assert_eq!(state.remaining_wait, Some(wait));
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_heartbeat_carries_the_revision_of_now() {
    let limits = Limits { heartbeat_every: Duration::from_millis(10), ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = world.breakers().await;
    watch_transitions::look(&world).await;
    let mut stream = watch(&mut client, WatchBreakersRequest::default()).await;
    snapshot(&mut stream).await;
    // Changes of the store that no breaker here takes part in.
    watch_config::set(&mut world.configs().await, "orders", 7).await;
    watch_config::set(&mut world.configs().await, "orders", 8).await;
    watch_transitions::look(&world).await;
    let heard = async {
        loop {
            if let Event::Heartbeat(mark) = stream.message().await.unwrap().unwrap().event.unwrap()
                && mark.revision == 3
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the heartbeats say an old revision");
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_switch_of_everything_begins_anew() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    trip(&mut client, "sentinel", "a").await;
    let mut stream = watch(&mut client, WatchBreakersRequest::default()).await;
    assert_eq!(snapshot(&mut stream).await, ["a"]);
    let control = &world.app.loaded().unwrap().control;
    let off = Declaration { enabled: false, ..Declaration::default() };
    control.declare(&off).await.unwrap();
    // The thresholds of the service go with it, and so the end of the wait moves; then the switch is told.
    while !matches!(news(&mut stream).await, Event::Resync(_)) {}
    assert_eq!(snapshot(&mut stream).await, Vec::<String>::new());
    control.declare(&Declaration::default()).await.unwrap();
    assert!(matches!(news(&mut stream).await, Event::Resync(_)));
    assert_eq!(snapshot(&mut stream).await, ["a"]);
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn whoever_reads_nothing_is_told_the_newest_state_only() {
    // However long that takes here, it is not given up meanwhile.
    let limits = Limits { write_timeout: Duration::from_hours(1), ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = world.breakers().await;
    let channel = Endpoint::from_shared(format!("http://{}", world.address))
        .unwrap()
        .initial_stream_window_size(1_024)
        .connect()
        .await
        .unwrap();
    let mut stream = watch(&mut BreakerServiceClient::new(channel), WatchBreakersRequest::default()).await;
    snapshot(&mut stream).await;
    trip(&mut client, "sentinel", "a").await;
    let mut epoch = 1;
    let rounds = 1_500;
    for _ in 0..rounds {
        world.clock.advance(Duration::from_mins(2));
        let probe = client.allow_request(ask("sentinel", "a")).await.unwrap().into_inner();
        let done = client.record_outcome(report(&probe, v1::Outcome::Failure)).await.unwrap().into_inner();
        assert_eq!(done.state(), State::Open);
        epoch += 2;
    }
    let (mut seen, mut messages) = (0, 0);
    while seen < epoch {
        let state = breaker(&mut stream).await;
        assert!(state.epoch >= seen, "an older state behind a newer one");
        seen = state.epoch;
        messages += 1;
    }
    assert!(messages < rounds, "{messages} messages of {} changes", 2 * rounds);
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_selection_that_is_malformed_is_refused() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let many = WatchBreakersRequest { services: vec!["a".into(); 1_001], service_prefix: String::new() };
    assert_eq!(client.watch_breakers(many).await.unwrap_err().code(), Code::InvalidArgument);
    trip(&mut client, "sentinel", "a").await;
    let none = WatchBreakersRequest { services: vec!["other".into()], service_prefix: String::new() };
    let mut stream = watch(&mut client, none).await;
    assert_eq!(snapshot(&mut stream).await, Vec::<String>::new());
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_breaker_that_is_born_into_its_services_override_is_told_though_it_made_no_transition() {
    let world = World::new().await;
    let (mut client, mut operations) = (world.breakers().await, world.operations().await);
    let mut stream = watch(&mut client, WatchBreakersRequest::default()).await;
    assert_eq!(snapshot(&mut stream).await, Vec::<String>::new());
    let request = v1::SetOverrideRequest {
        service: "mail".into(),
        state: State::ForcedOpen as i32,
        reason: "the provider is down".into(),
        service_wide: true,
        create: true,
        ..v1::SetOverrideRequest::default()
    };
    operations.set_override(request).await.unwrap();
    client.allow_request(ask("mail", "born-later")).await.unwrap();
    let state = breaker(&mut stream).await;
    assert_eq!((&*state.name, state.state(), state.epoch), ("born-later", State::ForcedOpen, 0));
    drop(stream);
    world.end().await;
}
