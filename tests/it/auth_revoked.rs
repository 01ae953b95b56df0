//! Streams that stand when their token is removed, or when its rights change.

use std::time::Duration;

use breakerd::auth::{Identity, Pattern, Principals, Role};
use breakerd::grpc::Limits;
use breakerd_api::envoy_api::envoy::data::accesslog::v3::HttpAccessLogEntry;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, LogEntries,
};
use breakerd_api::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::auth::{Holder, add, security};
use crate::grpc_world::World;
use crate::process::eventually;

#[tokio::test]
async fn a_stream_ends_when_its_token_is_taken_off_the_roll_and_when_the_roll_says_other_things_of_it() {
    let mut principals = Principals::default();
    let [gone, other, stays] =
        ["gone", "other", "stays"].map(|name| add(&mut principals, name, &[Role::Reader], &[]));
    let security = security(principals);
    let limits = Limits { heartbeat_every: Duration::from_millis(10), ..Limits::default() };
    let world = World::with_security(security.clone(), limits).await;
    let channel = world.channel().await;
    let mut streams = Vec::new();
    for holder in [&gone, &other, &stays] {
        let header = String::from_utf8(holder.header()).unwrap().parse().unwrap();
        let mut request = tonic::Request::new(v1::WatchTransitionsRequest::default());
        request.metadata_mut().insert("authorization", header);
        let mut client = v1::operations_service_client::OperationsServiceClient::new(channel.clone());
        let mut stream = client.watch_transitions(request).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        streams.push(stream);
    }
    let mut principals = Principals::default();
    let add_again = |principals: &mut Principals, name: &str, holder: &Holder, service: &str| {
        let patterns = vec![Pattern::new(service).unwrap()];
        principals.add_token(holder.token.digest(), Identity::new(name, &[Role::Reader], patterns)).unwrap();
    };
    add_again(&mut principals, "other", &other, "payments");
    add_again(&mut principals, "stays", &stays, "*");
    security.authenticator.replace_principals(principals);
    let mut ends = Vec::new();
    for stream in &mut streams[..2] {
        let end = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                ended => break ended.unwrap_err(),
            }
        };
        ends.push((end.code(), end.get_details_error_info().unwrap().reason));
    }
    let expected = [(Code::Unauthenticated, "UNAUTHENTICATED"), (Code::Unavailable, "RIGHTS_CHANGED")];
    assert_eq!(ends, expected.map(|(code, reason)| (code, reason.to_owned())));
    for _ in 0..3 {
        assert!(streams[2].message().await.unwrap().is_some());
    }
    drop((streams, channel));
    tokio::time::timeout(Duration::from_secs(20), world.end()).await.unwrap();
}

/// A proxy whose requests all pass without a decision has no entries to send.
#[tokio::test]
async fn a_log_of_a_proxy_ends_when_its_token_is_taken_off_the_roll_also_without_entries() {
    let mut principals = Principals::default();
    let proxy = add(&mut principals, "proxy", &[Role::Caller], &[]);
    let security = security(principals);
    let limits = Limits { heartbeat_every: Duration::from_millis(10), ..Limits::default() };
    let world = World::with_security(security.clone(), limits).await;
    let (entries, sent) = tokio::sync::mpsc::channel(1);
    let entry = HttpAccessLogEntries { log_entry: vec![HttpAccessLogEntry::default()] };
    let message = StreamAccessLogsMessage { log_entries: Some(LogEntries::HttpLogs(entry)) };
    entries.send(message).await.unwrap();
    let mut request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(sent));
    let header = String::from_utf8(proxy.header()).unwrap().parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    let mut client = AccessLogServiceClient::new(world.channel().await);
    let log = tokio::spawn(async move { client.stream_access_logs(request).await.map(drop) });
    let read = world.app.metrics.envoy.log_entries_total.with_label_values(&["no_permit"]);
    eventually("its entry is read", async || read.get() == 1).await;
    security.authenticator.replace_principals(Principals::default());
    let ended = tokio::time::timeout(Duration::from_secs(20), log).await.expect("it ends").unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
    drop(entries);
    tokio::time::timeout(Duration::from_secs(20), world.end()).await.unwrap();
}
