//! Envoy's services, as a proxy uses them: a real breakerd, and messages as Envoy 1.40 sends them. Envoy itself is in `make e2e`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use breakerd_api::envoy_api::envoy::config::core::v3::{
    Address, Metadata, SocketAddress, address, socket_address,
};
use breakerd_api::envoy_api::envoy::data::accesslog::v3::{
    AccessLogCommon, AccessLogType, HttpAccessLogEntry, HttpResponseProperties, ResponseFlags,
};
use breakerd_api::envoy_api::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, LogEntries,
};
use breakerd_api::envoy_api::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request as Attributes,
};
use breakerd_api::envoy_api::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use breakerd_api::envoy_api::envoy::service::auth::v3::check_response::HttpResponse;
use breakerd_api::envoy_api::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse,
};
use breakerd_api::v1::ListTransitionsRequest;
use prost::Message as _;
use prost_types::Struct;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::body_client::{Client, Sent, read};
use crate::process::{Process, eventually, log_of, program};
use crate::raw::framed;

const SPIFFE: &str = "spiffe://mesh/ns/shop/sa/front";

/// A breaker that opens with the second failure in a row, and stays so.
async fn breakerd(folder: &Path, more: &str) -> Process {
    let config = format!(
        "[envoy]\nenabled = true\n{more}\n[circuit_breaker]\ndefault_failure_threshold = 2\ndefault_timeout_seconds = 60\n"
    );
    fs::write(folder.join("breakerd.toml"), config).unwrap();
    let mut command = program(folder, None);
    command.args(["--config", "breakerd.toml"]);
    let process = Process::run(command, folder);
    eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;
    process
}

/// A proxy: what it asks with, and its log.
struct Proxy {
    checks: AuthorizationClient<Channel>,
    entries: mpsc::Sender<StreamAccessLogsMessage>,
    log: tokio::task::JoinHandle<Result<(), Status>>,
}

impl Proxy {
    async fn of(process: &Process) -> Self {
        let checks = AuthorizationClient::new(process.channel().await);
        let mut logs = AccessLogServiceClient::new(process.channel().await);
        let (entries, sent) = mpsc::channel(16);
        let log = async move { logs.stream_access_logs(ReceiverStream::new(sent)).await.map(drop) };
        Self { checks, entries, log: tokio::spawn(log) }
    }

    async fn check(&mut self, attributes: AttributeContext) -> Result<CheckResponse, Status> {
        let request = CheckRequest { attributes: Some(attributes) };
        self.checks.check(request).await.map(tonic::Response::into_inner)
    }

    /// Says how a request ended that was allowed so.
    async fn tell(&self, allowed: &CheckResponse, code: u32, flags: ResponseFlags) {
        let kept = allowed.dynamic_metadata.clone().unwrap();
        self.entries.send(logged(vec![entry(kept, code, flags)])).await.unwrap();
    }
}

fn logged(log_entry: Vec<HttpAccessLogEntry>) -> StreamAccessLogsMessage {
    StreamAccessLogsMessage { log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry })) }
}

fn entry(kept: Struct, code: u32, flags: ResponseFlags) -> HttpAccessLogEntry {
    let filter_metadata = BTreeMap::from([("envoy.filters.http.ext_authz".to_owned(), kept)]);
    let common = AccessLogCommon {
        response_flags: Some(flags),
        metadata: Some(Metadata { filter_metadata }),
        access_log_type: AccessLogType::DownstreamEnd as i32,
        ..AccessLogCommon::default()
    };
    let response = HttpResponseProperties { response_code: Some(code), ..HttpResponseProperties::default() };
    HttpAccessLogEntry { common_properties: Some(common), response: Some(response) }
}

const LOG: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// A message of a log with these entries.
fn written(entries: &[Vec<u8>]) -> Vec<u8> {
    let entries = entries.iter().map(|entry| field(1, entry));
    framed(&field(2, &entries.collect::<Vec<_>>().concat()))
}

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::bytes::encode(number, &content.to_vec(), &mut field);
    field
}

/// A client that writes its messages by hand.
async fn by_hand(process: &Process) -> Client {
    Client::connect(process.grpc.strip_prefix("http://").unwrap().parse().unwrap(), 1 << 20).await
}

/// A request to `host`, on a route that says this.
fn request(host: &str, route: &[(&str, &str)]) -> AttributeContext {
    let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    let http = HttpRequest { headers, path: "/v1/charge?x=1".to_owned(), host: host.to_owned() };
    let source = Peer { principal: SPIFFE.to_owned(), ..Peer::default() };
    AttributeContext {
        source: Some(source),
        request: Some(Attributes { http: Some(http) }),
        context_extensions: route
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..AttributeContext::default()
    }
}

fn denied(response: &CheckResponse) -> &DeniedHttpResponse {
    assert_ne!(response.status.as_ref().unwrap().code, 0);
    assert_eq!(response.dynamic_metadata, None);
    match response.http_response.as_ref().unwrap() {
        HttpResponse::DeniedResponse(denied) => denied,
        HttpResponse::OkResponse(_) => panic!("it is allowed"),
    }
}

fn header<'a>(denied: &'a DeniedHttpResponse, name: &str) -> Option<&'a str> {
    let headers = denied.headers.iter().filter_map(|option| option.header.as_ref());
    headers.filter(|header| header.key == name).map(|header| &*header.value).next()
}

async fn counted(process: &Process, result: &str, entries: u32) {
    let series = format!("breakerd_envoy_log_entries_total{{result=\"{result}\"}} {entries}\n");
    eventually(&series, async || process.page("/metrics").await.contains(&series)).await;
}

#[tokio::test]
async fn a_circuit_opens_for_every_proxy_by_what_one_of_them_logs() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(folder.path(), "permit_header = \"X-Breakerd-Permit\"").await;
    let (mut first, mut second) = (Proxy::of(&process).await, Proxy::of(&process).await);
    let route = [("breakerd_service", "payments"), ("breakerd_name", "charge")];
    for _ in 0..2 {
        let allowed = first.check(request("shop", &route)).await.unwrap();
        assert_eq!(allowed.status.as_ref().unwrap().code, 0);
        let Some(HttpResponse::OkResponse(ok)) = &allowed.http_response else { panic!("{allowed:?}") };
        assert_eq!(ok.headers[0].header.as_ref().unwrap().key, "x-breakerd-permit");
        first.tell(&allowed, 503, ResponseFlags::default()).await;
    }
    counted(&process, "recorded", 2).await;
    for proxy in [&mut first, &mut second] {
        let response = proxy.check(request("shop", &route)).await.unwrap();
        let denied = denied(&response);
        assert_eq!(denied.status.as_ref().unwrap().code, 503);
        assert_eq!(header(denied, "x-breakerd-state"), Some("OPEN"));
        let seconds: u64 = header(denied, "retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
        assert_eq!(body["error"], "circuit breaker payments/charge is OPEN");
        assert_eq!((&body["state"], &body["retry_after_seconds"]), (&"OPEN".into(), &seconds.into()));
    }
    // Who saw it, by what it looked like.
    let list = ListTransitionsRequest { service: "payments".to_owned(), ..ListTransitionsRequest::default() };
    let operations = process.operations().await;
    let listed =
        async || operations.clone().list_transitions(list.clone()).await.unwrap().into_inner().transitions;
    eventually("it is in the history", async || !listed().await.is_empty()).await;
    let opened = &listed().await[0];
    assert_eq!((&*opened.error_class, &*opened.caller), ("http_503", SPIFFE));
}

#[tokio::test]
async fn a_client_of_grpc_gets_the_details_of_its_own_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(folder.path(), "").await;
    let mut proxy = Proxy::of(&process).await;
    let mut call = request("rates", &[]);
    let http = call.request.as_mut().unwrap().http.as_mut().unwrap();
    http.headers.insert("content-type".to_owned(), "application/grpc+proto".to_owned());
    for _ in 0..2 {
        let allowed = proxy.check(call.clone()).await.unwrap();
        let broke_off = ResponseFlags { upstream_remote_reset: true, ..ResponseFlags::default() };
        proxy.tell(&allowed, 200, broke_off).await;
    }
    counted(&process, "recorded", 2).await;
    let response = proxy.check(call).await.unwrap();
    let denied = denied(&response);
    assert_eq!(denied.body, "circuit breaker rates/rates is OPEN");
    let details = base64::engine::general_purpose::STANDARD_NO_PAD;
    let details = details.decode(header(denied, "grpc-status-details-bin").unwrap()).unwrap();
    let status = tonic_types::pb::Status::decode(&*details).unwrap();
    assert_eq!(status.code, Code::Unavailable as i32);
    assert!(status.details[0].type_url.ends_with("google.rpc.RetryInfo"));
}

/// At a public edge, names of services are nobody's business.
#[tokio::test]
async fn without_a_body_no_client_is_told_the_name_of_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(folder.path(), "denied_body = false\ndenied_status = 429").await;
    let mut proxy = Proxy::of(&process).await;
    let route = [("breakerd_service", "secret")];
    for _ in 0..2 {
        let allowed = proxy.check(request("shop", &route)).await.unwrap();
        proxy.tell(&allowed, 500, ResponseFlags::default()).await;
    }
    counted(&process, "recorded", 2).await;
    // Envoy makes UNAVAILABLE of 503 only; gRPC-Web is HTTP to it.
    let of_grpc = "circuit breaker is OPEN";
    for (content_type, code, body) in [
        ("text/html", 429, ""),
        ("application/grpc", 503, of_grpc),
        ("application/grpc+proto", 503, of_grpc),
        ("application/grpc-web+proto", 429, ""),
    ] {
        let mut call = request("shop", &route);
        let http = call.request.as_mut().unwrap().http.as_mut().unwrap();
        http.headers.insert("content-type".to_owned(), content_type.to_owned());
        let response = proxy.check(call).await.unwrap();
        let denied = denied(&response);
        assert_eq!((denied.status.as_ref().unwrap().code, &*denied.body), (code, body), "{content_type}");
        assert!(!format!("{response:?}").contains("secret"), "{response:?}");
    }
}

#[tokio::test]
async fn a_request_is_named_by_its_route_or_by_the_templates_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let process =
        breakerd(folder.path(), "service = \"edge:{host}\"\nname = \"{path_1}\"\ndenied_status = 429").await;
    let mut proxy = Proxy::of(&process).await;
    let tcp = AttributeContext {
        destination: Some(Peer {
            address: Some(Address {
                address: Some(address::Address::SocketAddress(SocketAddress {
                    address: "10.0.0.7".to_owned(),
                    port_specifier: Some(socket_address::PortSpecifier::PortValue(5432)),
                })),
            }),
            ..Peer::default()
        }),
        ..AttributeContext::default()
    };
    let mut labelled = tcp.clone();
    let label = ("breakerd_service".to_owned(), "db".to_owned());
    labelled.destination.as_mut().unwrap().labels.extend([label]);
    for (attributes, service, name) in [
        (request("Shop.example:8443", &[]), "edge:shop.example", "v1"),
        (request("shop", &[("breakerd_service", "orders")]), "orders", ""),
        (request("shop", &[("breakerd_name", "a/b")]), "edge:shop", "a/b"),
        (tcp, "edge:10.0.0.7:5432", ""),
        (labelled, "db", ""),
    ] {
        let kept = proxy.check(attributes).await.unwrap().dynamic_metadata.unwrap();
        let field = |field: &str| match kept.fields.get(field).and_then(|value| value.kind.as_ref()) {
            Some(prost_types::value::Kind::StringValue(text)) => text.clone(),
            _ => String::new(),
        };
        assert_eq!((&*field("service"), &*field("name")), (service, name));
    }
    for (route, field) in [
        (
            [("breakerd_service", "a b"), ("breakerd_name", "x")],
            "attributes.context_extensions.breakerd_service",
        ),
        (
            [("breakerd_service", "a"), ("breakerd_name", "x y")],
            "attributes.context_extensions.breakerd_name",
        ),
    ] {
        let refused = proxy.check(request("shop", &route)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(field), "{}", refused.message());
    }
}

/// A proxy lets the requests of such a route pass, and tells nobody why.
#[tokio::test]
async fn an_invalid_name_of_a_route_is_logged_with_its_value_and_its_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(folder.path(), "").await;
    let mut proxy = Proxy::of(&process).await;
    let too_long = "n".repeat(300);
    let route = [("breakerd_service", "pay\nments"), ("breakerd_name", &too_long)];
    for _ in 0..50 {
        let refused = proxy.check(request("shop", &route)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let logged = log_of(folder.path());
    let lines: Vec<_> = logged.lines().filter(|line| line.contains("check rejected: invalid name")).collect();
    let [line] = *lines else { panic!("{} lines of 50 checks: {logged}", lines.len()) };
    let value = format!("{}...", "n".repeat(64));
    for part in [
        "WARN",
        "proxy=\"anonymous@127.0.0.1\"",
        "attributes.context_extensions.breakerd_service: invalid value \"pay\\nments\": invalid character",
        "at byte 3: allowed are letters, digits and . _ : -",
        &format!(
            "attributes.context_extensions.breakerd_name: invalid value \"{value}\": too long: 300 bytes"
        ),
    ] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
}

#[tokio::test]
async fn entries_that_cannot_count_are_counted_as_such_and_end_no_stream() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(folder.path(), "").await;
    let mut proxy = Proxy::of(&process).await;
    let allowed = proxy.check(request("shop", &[])).await.unwrap();
    let kept = allowed.dynamic_metadata.clone().unwrap();
    let mut forged = kept.clone();
    forged.fields.insert("permit".to_owned(), prost_types::Value::from("AAAA"));
    let none = ResponseFlags::default();
    let left = ResponseFlags { downstream_connection_termination: true, ..none };
    let entries = vec![
        entry(forged, 500, none),
        entry(Struct::default(), 500, none),
        HttpAccessLogEntry::default(),
        entry(kept.clone(), 0, left),
        // Once more, as a proxy that sends its log again might.
        entry(kept, 500, none),
    ];
    proxy.entries.send(StreamAccessLogsMessage::default()).await.unwrap();
    proxy.entries.send(logged(entries)).await.unwrap();
    for (result, entries) in [("rejected", 1), ("no_permit", 2), ("recorded", 1), ("duplicate", 1)] {
        counted(&process, result, entries).await;
    }
    // Still: the breaker has seen no failure.
    for _ in 0..2 {
        let allowed = proxy.check(request("shop", &[])).await.unwrap();
        assert_eq!(allowed.status.unwrap().code, 0);
    }
    // More entries than a message may have cost their stream, and nobody's memory.
    let many = logged(vec![HttpAccessLogEntry::default(); 2_001]);
    proxy.entries.send(many).await.unwrap();
    let Proxy { log, entries, .. } = proxy;
    let ended = log.await.unwrap().unwrap_err();
    drop(entries);
    assert_eq!(ended.code(), Code::InvalidArgument);
    assert!(ended.message().contains("2001 entries"), "{}", ended.message());
}

/// The filter `header_to_metadata` keeps what a client sent as it came, and Envoy logs it as it is.
#[tokio::test]
async fn an_entry_costs_none_beside_it_whatever_bytes_a_client_has_put_there() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(folder.path(), "").await;
    let mut proxy = Proxy::of(&process).await;
    let mut entries = Vec::new();
    for _ in 0..2 {
        let kept = proxy.check(request("shop", &[])).await.unwrap().dynamic_metadata.unwrap();
        let mut written = entry(kept.clone(), 503, ResponseFlags::default()).encode_to_vec();
        let value = field(2, &field(3, b"\xff\xfe"));
        let tags = field(1, &[field(1, b"tag"), value].concat());
        let tags = field(1, &[field(1, b"my.tags"), field(2, &tags)].concat());
        let metadata =
            Metadata { filter_metadata: [("envoy.filters.http.ext_authz".to_owned(), kept)].into() };
        written.extend(field(1, &field(17, &[tags, metadata.encode_to_vec()].concat())));
        entries.push(written);
    }
    entries.insert(1, vec![0x0a, 0x7f]);
    let begins = AccessLogCommon { access_log_type: 4, ..AccessLogCommon::default() };
    entries.push(HttpAccessLogEntry { common_properties: Some(begins), response: None }.encode_to_vec());
    let ended = by_hand(&process).await.call(LOG, &[], written(&entries)).await.0;
    assert_eq!(ended.code(), Code::Ok);
    for (result, entries) in [("recorded", 2), ("undecodable", 1), ("in_progress", 1)] {
        counted(&process, result, entries).await;
    }
    let response = proxy.check(request("shop", &[])).await.unwrap();
    assert_eq!(header(denied(&response), "x-breakerd-state"), Some("OPEN"));
}

/// A proxy begins its stream with a large message, and may then have nothing to say for days.
#[tokio::test]
async fn a_stream_that_stays_open_keeps_nothing_of_its_messages() {
    const STREAMS: u32 = 100;
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(folder.path(), "").await;
    let mut client = by_hand(&process).await;
    // An entry, and what is skipped.
    let message = framed(&[field(2, &field(1, &[])), field(1, &vec![0; 250_000])].concat());
    let (mut held, mut resident) = (Vec::new(), Vec::new());
    for stream in 1..=2 * STREAMS {
        held.push(tokio::spawn(client.begin(LOG, &[], Sent::Begun(message.clone()))));
        counted(&process, "no_permit", stream).await;
        if stream % STREAMS == 0 {
            resident.push(process.resident_bytes());
        }
    }
    // The first ones have brought the allocator to its size.
    let grown = resident[1].saturating_sub(resident[0]);
    assert!(grown < 16 << 20, "{} MiB for {STREAMS} streams", grown >> 20);
    drop((held, client));
}

#[tokio::test]
async fn a_stream_ends_well_when_its_proxy_or_breakerd_does() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(folder.path(), "").await;
    let Proxy { entries, log, .. } = Proxy::of(&process).await;
    drop(entries);
    log.await.unwrap().unwrap();
    let Proxy { entries, log, .. } = Proxy::of(&process).await;
    entries.send(StreamAccessLogsMessage::default()).await.unwrap();
    process.terminate();
    log.await.unwrap().unwrap();
    assert!(process.ended().await.success(), "{}", log_of(folder.path()));
}

/// Entries are in breakerd, read or not, when it is told to stop: its proxy sends them to nobody else.
#[tokio::test]
async fn entries_that_have_come_when_breakerd_stops_are_recorded_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(folder.path(), "").await;
    let mut proxy = Proxy::of(&process).await;
    let mut failures = Vec::new();
    for _ in 0..2 {
        let kept = proxy.check(request("shop", &[])).await.unwrap().dynamic_metadata.unwrap();
        failures.push(entry(kept, 503, ResponseFlags::default()).encode_to_vec());
    }
    // Less than the window of a stream, so that all of it has been sent; the failures come last.
    let mut log = written(&vec![Vec::new(); 2_000]).repeat(8);
    log.extend(written(&failures));
    let mut client = by_hand(&process).await;
    let answer = tokio::spawn(client.begin(LOG, &[], Sent::Begun(log)));
    let is_reading = async || {
        let page = process.page("/metrics").await;
        let count = page.lines().find_map(|line| line.split_once("log_entries_total{result=\"no_permit\"} "));
        count.is_some_and(|(_, entries)| entries != "0")
    };
    eventually("it reads the log", is_reading).await;
    process.terminate();
    let (ended, ..) = read(answer.await.unwrap().unwrap()).await;
    assert_eq!(ended.code(), Code::Ok);
    assert!(process.ended().await.success(), "{}", log_of(folder.path()));

    let mut command = program(folder.path(), None);
    command.args(["--config", "breakerd.toml"]);
    let process = Process::run(command, folder.path());
    eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;
    let mut proxy = Proxy::of(&process).await;
    let response = proxy.check(request("shop", &[])).await.unwrap();
    assert_eq!(header(denied(&response), "x-breakerd-state"), Some("OPEN"));
}

#[tokio::test]
async fn envoy_is_not_served_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut proxy = Proxy::of(&process).await;
    let refused = proxy.check(request("shop", &[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(proxy.log.await.unwrap().unwrap_err().code(), Code::Unimplemented);
    let names = [("envoy.service.auth.v3.Authorization", false), ("breakerd.v1.BreakerService", true)];
    let other = tempfile::tempdir().unwrap();
    for (is_enabled, process) in [(false, process), (true, breakerd(other.path(), "").await)] {
        let mut health = tonic_health::pb::health_client::HealthClient::new(process.channel().await);
        for (service, is_always) in names {
            let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
            assert_eq!(health.check(request).await.is_ok(), is_enabled || is_always, "{service}");
        }
        assert!(process.stop().await.success());
    }
}
