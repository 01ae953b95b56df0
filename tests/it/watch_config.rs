//! `WatchConfig`, over a real channel.

use std::time::Duration;

use breakerd::grpc::Limits;
use breakerd_api::v1;
use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::watch_config_response::Event;
use breakerd_api::v1::{UpdateConfigRequest, WatchConfigRequest, WatchConfigResponse};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};
use tonic_types::StatusExt as _;

use crate::grpc_world::World;
use crate::process::{PATIENCE, Process, eventually};

type Client = ConfigServiceClient<Channel>;
type Stream = Streaming<WatchConfigResponse>;

/// The next message; a hang fails the test.
async fn next(stream: &mut Stream) -> (Event, String) {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("the stream hangs");
    let message = message.unwrap().expect("the stream ended");
    (message.event.unwrap(), message.resume_token)
}

/// The next message that is no heartbeat; without one the test fails.
pub(crate) async fn news(stream: &mut Stream) -> (Event, String) {
    let news = async {
        loop {
            let (event, token) = next(stream).await;
            if !matches!(event, Event::Heartbeat(_)) {
                return (event, token);
            }
        }
    };
    tokio::time::timeout(PATIENCE, news).await.expect("the stream tells nothing but that it is alive")
}

pub(crate) async fn watch(client: &mut Client, request: WatchConfigRequest) -> Stream {
    client.watch_config(request).await.unwrap().into_inner()
}

pub(crate) async fn set(client: &mut Client, service: &str, threshold: u32) -> u64 {
    let thresholds = v1::Thresholds { failure_threshold: Some(threshold), ..v1::Thresholds::default() };
    let request = UpdateConfigRequest {
        service: service.into(),
        thresholds: Some(thresholds),
        ..UpdateConfigRequest::default()
    };
    client.update_config(request).await.unwrap().into_inner().config.unwrap().revision
}

pub(crate) fn told(event: &Event) -> String {
    match event {
        Event::Config(config) => {
            let threshold = config.thresholds.as_ref().unwrap().failure_threshold.unwrap_or_default();
            let name = if config.service.is_empty() { "defaults" } else { &config.service };
            format!("{name}={threshold}")
        }
        Event::Bookmark(bookmark) => format!("bookmark {}", bookmark.revision),
        Event::Heartbeat(mark) => format!("heartbeat {}", mark.revision),
        Event::Resync(_) => "resync".to_owned(),
    }
}

/// All up to the mark.
pub(crate) async fn snapshot(stream: &mut Stream) -> (Vec<String>, String) {
    let mut all = Vec::new();
    loop {
        let (event, token) = next(stream).await;
        all.push(told(&event));
        if matches!(event, Event::Bookmark(_)) {
            return (all, token);
        }
        assert_eq!(token, "", "within a snapshot there is nothing to resume at");
    }
}

pub(crate) fn resume(token: &str) -> WatchConfigRequest {
    WatchConfigRequest { resume_token: token.to_owned(), ..WatchConfigRequest::default() }
}

#[tokio::test]
async fn a_watch_tells_what_is_in_force_and_then_each_change() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let mut stream = watch(&mut client, WatchConfigRequest::default()).await;
    let (all, token) = snapshot(&mut stream).await;
    assert_eq!(all, ["defaults=5", "sentinel=3", "bookmark 1"]);
    assert_ne!(token, "");
    assert_eq!(set(&mut client, "orders", 7).await, 2);
    assert_eq!(told(&news(&mut stream).await.0), "orders=7");
    client
        .delete_config(v1::DeleteConfigRequest { service: "orders".into(), ..Default::default() })
        .await
        .unwrap();
    let (event, _) = news(&mut stream).await;
    let Event::Config(config) = event else { panic!("{event:?}") };
    assert!(config.deleted && config.service == "orders" && config.revision == 3);
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_selection_tells_of_its_services_only() {
    let world = World::new().await;
    let mut client = world.configs().await;
    for service in ["pay.a", "pay.b", "orders", "payments"] {
        set(&mut client, service, 9).await;
    }
    let request = WatchConfigRequest {
        services: vec!["orders".into(), "nobody".into()],
        service_prefix: "pay.".into(),
        resume_token: String::new(),
    };
    let mut stream = watch(&mut client, request).await;
    assert_eq!(snapshot(&mut stream).await.0, ["orders=9", "pay.a=9", "pay.b=9", "bookmark 5"]);
    set(&mut client, "payments", 1).await;
    set(&mut client, "nobody", 2).await;
    assert_eq!(told(&news(&mut stream).await.0), "nobody=2");
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_token_goes_on_behind_its_message() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let mut stream = watch(&mut client, WatchConfigRequest::default()).await;
    let (_, mut token) = snapshot(&mut stream).await;
    for round in 1..6 {
        drop(stream);
        // Twice: what is overtaken is left out.
        set(&mut client, "orders", round + 10).await;
        set(&mut client, "orders", round).await;
        set(&mut client, "pay", round).await;
        stream = watch(&mut client, resume(&token)).await;
        let (event, first) = news(&mut stream).await;
        assert_eq!(told(&event), format!("orders={round}"));
        let mut again = watch(&mut client, resume(&first)).await;
        assert_eq!(told(&news(&mut again).await.0), format!("pay={round}"));
        let (event, last) = news(&mut stream).await;
        assert_eq!(told(&event), format!("pay={round}"));
        token = last;
    }
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_stream_that_has_nothing_to_say_is_alive() {
    let limits = Limits { heartbeat_every: Duration::from_millis(10), ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = world.configs().await;
    let mut stream = watch(&mut client, WatchConfigRequest::default()).await;
    snapshot(&mut stream).await;
    let (event, token) = next(&mut stream).await;
    assert_eq!(told(&event), "heartbeat 1");
    set(&mut client, "orders", 4).await;
    let mut stream = watch(&mut client, resume(&token)).await;
    assert_eq!(told(&news(&mut stream).await.0), "orders=4");
    assert_eq!(told(&next(&mut stream).await.0), "heartbeat 2");
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn whoever_reads_nothing_is_told_the_newest_and_costs_nothing() {
    // However long that takes here, it is not given up meanwhile.
    let limits = breakerd::grpc::Limits {
        write_timeout: std::time::Duration::from_hours(1),
        ..breakerd::grpc::Limits::default()
    };
    let world = World::with(limits, None).await;
    let mut client = world.configs().await;
    let channel = Endpoint::from_shared(format!("http://{}", world.address))
        .unwrap()
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .connect()
        .await
        .unwrap();
    let mut stream = watch(&mut ConfigServiceClient::new(channel), WatchConfigRequest::default()).await;
    snapshot(&mut stream).await;
    let changes = 600;
    for threshold in 1..=changes {
        set(&mut client, "orders", threshold).await;
    }
    let (mut messages, mut seen) = (0, 0);
    while seen < changes {
        let (event, _) = news(&mut stream).await;
        let Event::Config(config) = event else { panic!("{event:?}") };
        let threshold = config.thresholds.unwrap().failure_threshold.unwrap();
        assert!(threshold > seen, "in order");
        seen = threshold;
        messages += 1;
    }
    // What is on the way and in the buffers of both ends, and then the newest.
    assert!(messages < changes / 2, "{messages} messages of {changes} changes");
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_token_that_leads_nowhere_begins_anew_and_a_malformed_one_is_refused() {
    let (world, other) = (World::new().await, World::new().await);
    let mut client = world.configs().await;
    let mut others = other.configs().await;
    let mut stream = watch(&mut others, WatchConfigRequest::default()).await;
    let (_, foreign) = snapshot(&mut stream).await;
    drop(stream);
    let mut stream = watch(&mut client, resume(&foreign)).await;
    assert_eq!(snapshot(&mut stream).await.0, ["resync", "defaults=5", "sentinel=3", "bookmark 1"]);
    let page = world.app.metrics.render(breakerd::metrics::Format::Text).unwrap();
    assert!(page.contains("breakerd_watch_resyncs_total{method=\"WatchConfig\"} 1\n"), "{page}");
    assert!(page.contains("breakerd_watch_streams{method=\"WatchConfig\"} 1\n"), "{page}");
    drop(stream);

    let wrong = WatchConfigRequest {
        services: vec!["fine".into(), "no good".into()],
        service_prefix: "\u{e9}".into(),
        resume_token: "A".repeat(40),
    };
    let status = client.watch_config(wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations.into_iter().map(|violation| violation.field).collect();
    assert_eq!(fields, ["services[1]", "service_prefix", "resume_token"]);
    other.end().await;
    world.end().await;
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_and_with_the_process() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let mut request = Request::new(WatchConfigRequest::default());
    // Told to the server only, so that it is the server that ends it.
    request.metadata_mut().insert("grpc-timeout", "50m".parse().unwrap());
    let mut stream = client.watch_config(request).await.unwrap().into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);

    let mut stream = watch(&mut client, WatchConfigRequest::default()).await;
    snapshot(&mut stream).await;
    let ended = tokio::spawn(world.end());
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    ended.await.unwrap();
}

#[tokio::test]
async fn there_are_only_so_many_watches() {
    let limits = Limits { watches_max: 1, ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = world.configs().await;
    let mut stream = watch(&mut client, WatchConfigRequest::default()).await;
    snapshot(&mut stream).await;
    let status = client.watch_config(WatchConfigRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    drop(stream);
    eventually("the place is free again", || {
        let mut client = client.clone();
        async move { client.watch_config(WatchConfigRequest::default()).await.is_ok() }
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_token_outlives_the_process_that_gave_it() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut client = ConfigServiceClient::new(process.channel().await);
    let mut stream = watch(&mut client, WatchConfigRequest::default()).await;
    snapshot(&mut stream).await;
    set(&mut client, "a", 1).await;
    let (_, token) = news(&mut stream).await;
    set(&mut client, "b", 2).await;
    process.kill();
    let process = Process::ready(folder.path(), None).await;
    let mut client = ConfigServiceClient::new(process.channel().await);
    let mut stream = watch(&mut client, resume(&token)).await;
    assert_eq!(told(&news(&mut stream).await.0), "b=2");
    set(&mut client, "c", 3).await;
    assert_eq!(told(&news(&mut stream).await.0), "c=3");
}
