//! Who may do what: tokens, roles, services.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Field, Layer, Value};
use breakerd::auth::{Authenticator, Identity, Pattern, Principals, Role, Token, TransportSecurity};
use breakerd::catalog::Catalog;
use breakerd::catalog::Declaration;
use breakerd::grpc::{Limits, Method};
use breakerd_api::envoy_api::envoy::data::accesslog::v3::HttpAccessLogEntry;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, LogEntries,
};
use breakerd_api::v1;
use breakerd_common::clock::Clock as _;
use http::HeaderValue;
use prost::Message;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_types::StatusExt as _;

use crate::grpc_world::{World, ask, report};
use crate::http_world;
use crate::process::eventually;
use crate::raw::{Raw, framed};

/// Somebody with a token.
pub(crate) struct Holder {
    pub(crate) token: Token,
}

impl Holder {
    pub(crate) fn header(&self) -> Vec<u8> {
        format!("Bearer {}", self.token.expose()).into_bytes()
    }

    /// A request of theirs.
    pub(crate) fn shows<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let header = format!("Bearer {}", self.token.expose()).parse().unwrap();
        request.metadata_mut().insert("authorization", header);
        request
    }
}

/// Adds somebody to a roll; no service: all of them.
pub(crate) fn add(principals: &mut Principals, name: &str, roles: &[Role], services: &[&str]) -> Holder {
    let token = Token::draw().unwrap();
    let patterns = if services.is_empty() { &["*"] } else { services };
    let patterns = patterns.iter().map(|text| Pattern::new(text).unwrap()).collect();
    principals.add_token(token.digest(), Identity::new(name, roles, patterns)).unwrap();
    Holder { token }
}

pub(crate) fn security(principals: Principals) -> TransportSecurity {
    TransportSecurity {
        authenticator: Arc::new(Authenticator::with_principals(principals).unwrap()),
        tls: None,
    }
}

const ALLOW: &str = "/breakerd.v1.BreakerService/AllowRequest";
const RECORD: &str = "/breakerd.v1.BreakerService/RecordOutcome";
const ALLOW_MANY: &str = "/breakerd.v1.BreakerService/AllowRequests";
const RECORD_MANY: &str = "/breakerd.v1.BreakerService/RecordOutcomes";
const GET: &str = "/breakerd.v1.OperationsService/GetBreaker";
const LIST: &str = "/breakerd.v1.OperationsService/ListBreakers";
const HISTORY: &str = "/breakerd.v1.OperationsService/ListTransitions";

/// The roles that a method takes, beside the admin's; none: everybody passes.
fn takes(method: Method) -> Option<&'static [Role]> {
    const CALLER: &[Role] = &[Role::Caller];
    const READERS: &[Role] = &[Role::Reader, Role::Operator];
    match method {
        Method::AllowRequest
        | Method::RecordOutcome
        | Method::AllowRequests
        | Method::RecordOutcomes
        | Method::EnvoyCheck
        | Method::EnvoyAccessLog => Some(CALLER),
        Method::WatchBreakers => Some(&[Role::Caller, Role::Reader, Role::Operator]),
        Method::ListBreakers
        | Method::GetBreaker
        | Method::ListTransitions
        | Method::ListReplicas
        | Method::ListPermitKeys
        | Method::WatchTransitions
        | Method::GetConfig
        | Method::ListConfigs
        | Method::ListConfigChanges
        | Method::WatchConfig => Some(READERS),
        Method::SetOverride
        | Method::ClearOverride
        | Method::ResetBreaker
        | Method::DeleteBreaker
        | Method::ProbeBreaker => Some(&[Role::Operator]),
        Method::UpdateConfig | Method::DeleteConfig | Method::RotatePermitKey => Some(&[Role::Admin]),
        Method::HealthCheck
        | Method::HealthWatch
        | Method::Reflection
        | Method::ReflectionAlpha
        | Method::Other => None,
    }
}

#[tokio::test]
async fn every_method_takes_its_roles_and_no_other() {
    let mut principals = Principals::default();
    let holders = Role::ALL.map(|role| (role, add(&mut principals, role.as_str(), &[role], &[])));
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    for method in Method::ALL {
        let path = format!("/{}/{}", method.service(), method.name());
        // An empty message is one that every method can read. A watch would stay open.
        let stays = matches!(
            method,
            Method::HealthWatch | Method::WatchBreakers | Method::WatchConfig | Method::WatchTransitions
        );
        let body = if stays { Vec::new() } else { framed(&[]) };
        for (role, holder) in &holders {
            let answer = raw.send(&path, &[&holder.header()], body.clone()).await.unwrap();
            let passes = takes(*method).is_none_or(|roles| *role == Role::Admin || roles.contains(role));
            let denied = answer.code() == Code::PermissionDenied;
            assert_eq!(denied, !passes, "{path} as {role:?}: {:?}", answer.status);
            assert_ne!(answer.code(), Code::Unauthenticated, "{path} as {role:?}");
            if denied {
                assert_eq!(answer.reason(), "PERMISSION_DENIED");
                let info = answer.status.get_details_error_info().unwrap();
                let needed = takes(*method).unwrap().first().unwrap_or(&Role::Admin).as_str();
                assert_eq!(info.metadata["role"], needed, "{path}");
                assert!(answer.status.message().contains(needed), "{path}: {}", answer.status.message());
            }
        }
        let answer = raw.send(&path, &[], body).await.unwrap();
        let refused = answer.code() == Code::Unauthenticated;
        assert_eq!(refused, takes(*method).is_some(), "{path} without a token: {:?}", answer.status);
    }
    drop(raw);
    world.end().await;
}

#[test]
fn the_security_guide_says_which_roles_each_method_takes() {
    let text = std::fs::read_to_string("docs/security.md").unwrap();
    let table: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for method in Method::ALL.iter().filter(|method| method.service().starts_with("breakerd.v1.")) {
        let name = method.name();
        let row = table.iter().find(|cells| cells[0].split(", ").any(|named| named == name));
        let row = row.unwrap_or_else(|| panic!("docs/security.md has no row of {name}"));
        for (role, cell) in Role::ALL.iter().zip(&row[1..]) {
            let passes = takes(*method).is_none_or(|roles| *role == Role::Admin || roles.contains(role));
            assert_eq!(*cell == "yes", passes, "docs/security.md: {name} as {role:?}");
        }
    }
}

#[tokio::test]
async fn whoever_is_not_known_is_told_the_same_whatever_is_wrong() {
    let mut principals = Principals::default();
    let good = add(&mut principals, "good", &[Role::Caller], &[]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    let long = [b"Bearer ".as_slice(), &[b'a'; 4_000]].concat();
    let upper = good.to_ascii_uppercase();
    let mut told = None;
    for shown in [
        &[][..],
        &[b"".as_slice()],
        &[b"Bearer"],
        &[b"Bearer "],
        &[&changed],
        &[&upper],
        &[&good[..good.len() - 1]],
        &[&good[b"Bearer ".len()..]],
        &[b"Basic YTpi"],
        &[b"Bearer \xff\xfe"],
        &[&long],
        &[&good, &good],
        &[&good, &changed],
    ] {
        let answer = raw.call(ALLOW, shown, &ask("a", "")).await;
        assert_eq!((answer.code(), answer.reason().as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"));
        let said = (answer.status.message().to_owned(), answer.status.details().to_vec());
        assert_eq!(*told.get_or_insert(said.clone()), said, "{shown:?}");
    }
    let good = raw.call(ALLOW, &[&good], &ask("a", "")).await;
    assert!(good.read::<v1::AllowRequestResponse>().allowed);
    let refused = &world.app.metrics.access.refused_total;
    assert_eq!(refused.with_label_values(&["grpc", "unauthenticated"]).get(), 13);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn a_caller_has_its_services_and_no_other() {
    let mut principals = Principals::default();
    let payments = add(&mut principals, "payments-api", &[Role::Caller], &["payments", "billing.*"]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    for service in ["payments", "billing.eu"] {
        let answer = raw.call(ALLOW, &[&payments], &ask(service, "x")).await;
        assert_eq!(answer.code(), Code::Ok, "{service}");
    }
    let failure = |service: &str| v1::RecordOutcomeRequest {
        service: service.into(),
        outcome: v1::Outcome::Failure.into(),
        ..Default::default()
    };
    for service in ["billing", "sentinel", "payments2"] {
        for answer in [
            raw.call(ALLOW, &[&payments], &ask(service, "")).await,
            raw.call(RECORD, &[&payments], &failure(service)).await,
        ] {
            assert_eq!(
                (answer.code(), answer.reason().as_str()),
                (Code::PermissionDenied, "PERMISSION_DENIED")
            );
            let info = answer.status.get_details_error_info().unwrap();
            assert_eq!(info.metadata["service"], service);
            assert_eq!((&*info.metadata["right"], &*info.metadata["role"]), ("CALL", "caller"));
        }
    }
    assert!(
        world.app.loaded().unwrap().engine.view("billing", "", START_LATER).is_none(),
        "nothing was made"
    );
    // What is no service is said to be none.
    let answer = raw.call(ALLOW, &[&payments], &ask("no good", "")).await;
    assert_eq!(answer.code(), Code::InvalidArgument);
    drop(raw);
    world.end().await;
}

const START_LATER: breaker::Time = breaker::Time::from_micros(1_800_000_000_000_000);

#[tokio::test]
async fn in_a_batch_only_the_items_of_other_services_are_denied() {
    let mut principals = Principals::default();
    let caller = add(&mut principals, "payments-api", &[Role::Caller], &["payments"]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    let requests = ["payments", "sentinel", "no good", "payments"].map(|service| ask(service, "")).to_vec();
    let answer = raw.call(ALLOW_MANY, &[&caller], &v1::AllowRequestsRequest { requests }).await;
    let codes: Vec<_> = answer
        .read::<v1::AllowRequestsResponse>()
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            v1::allow_requests_result::Result::Response(response) => i32::from(!response.allowed),
            v1::allow_requests_result::Result::Error(error) => error.code,
        })
        .collect();
    assert_eq!(codes, [0, Code::PermissionDenied as i32, Code::InvalidArgument as i32, 0]);

    let failure = |service: &str| v1::RecordOutcomeRequest {
        service: service.into(),
        outcome: v1::Outcome::Failure.into(),
        ..Default::default()
    };
    let requests = vec![failure("sentinel"), failure("payments"), failure("sentinel")];
    let answer = raw
        .call(
            RECORD_MANY,
            &[&caller],
            &v1::RecordOutcomesRequest { requests, ..v1::RecordOutcomesRequest::default() },
        )
        .await;
    let errors: Vec<_> = answer
        .read::<v1::RecordOutcomesResponse>()
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            v1::record_outcomes_result::Result::Response(_) => 0,
            v1::record_outcomes_result::Result::Error(error) => error.code,
        })
        .collect();
    assert_eq!(errors, [Code::PermissionDenied as i32, 0, Code::PermissionDenied as i32]);
    let sentinel = world.app.loaded().unwrap().engine.view("sentinel", "", START_LATER).unwrap();
    assert_eq!(sentinel.view.stats.consecutive_failures, 0, "what was denied changed nothing");
    let denied = world.app.metrics.access.refused_total.with_label_values(&["grpc", "permission_denied"]);
    assert_eq!(denied.get(), 3);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn whoever_was_given_a_permit_may_report_under_it() {
    let mut principals = Principals::default();
    let asks = add(&mut principals, "front", &[Role::Caller], &["payments"]).header();
    let tells = add(&mut principals, "worker", &[Role::Caller], &["nothing"]).header();
    let reads = add(&mut principals, "reader", &[Role::Reader], &[]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    let allowed = raw.call(ALLOW, &[&asks], &ask("payments", "")).await.read::<v1::AllowRequestResponse>();
    let mut outcome = report(&allowed, v1::Outcome::Success);
    let denied = raw.call(RECORD, &[&reads], &outcome).await;
    assert_eq!(denied.code(), Code::PermissionDenied, "a reader reports nothing");
    let told = raw.call(RECORD, &[&tells], &outcome).await.read::<v1::RecordOutcomeResponse>();
    assert_eq!(told.result(), v1::RecordResult::Recorded);
    // A permit that is none is no right, and neither is one of another breaker.
    outcome.service = "sentinel".into();
    assert_eq!(raw.call(RECORD, &[&tells], &outcome).await.code(), Code::InvalidArgument);
    outcome.permit = vec![7; outcome.permit.len()].into();
    assert_eq!(raw.call(RECORD, &[&tells], &outcome).await.code(), Code::InvalidArgument);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn lists_show_what_one_may_see() {
    let mut principals = Principals::default();
    let everything = add(&mut principals, "admin", &[Role::Admin], &[]).header();
    let some = add(&mut principals, "some", &[Role::Reader], &["team-a.*"]).header();
    let none = add(&mut principals, "none", &[Role::Reader], &["elsewhere"]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    for number in 0..30 {
        for service in ["team-a.x", "team-b.x"] {
            let failure = v1::RecordOutcomeRequest {
                service: service.into(),
                name: format!("dependency-{number}"),
                outcome: v1::Outcome::Failure.into(),
                ..Default::default()
            };
            for _ in 0..5 {
                assert_eq!(raw.call(RECORD, &[&everything], &failure).await.code(), Code::Ok);
            }
        }
    }
    world.write_behind().await;

    for (who, breakers, transitions) in [(&everything, 61, 60), (&some, 30, 30), (&none, 0, 0)] {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListBreakersRequest { page_size: 7, page_token: token, ..Default::default() };
            let page = raw.call(LIST, &[who], &request).await.read::<v1::ListBreakersResponse>();
            found.extend(page.breakers.into_iter().map(|breaker| breaker.service));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found.len(), breakers);
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let request =
                v1::ListTransitionsRequest { page_size: 4, page_token: token, ..Default::default() };
            let page = raw.call(HISTORY, &[who], &request).await.read::<v1::ListTransitionsResponse>();
            assert!(page.transitions.len() <= 4);
            found
                .extend(page.transitions.into_iter().map(|transition| (transition.service, transition.name)));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found.len(), transitions);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), transitions, "each once");
    }

    let get = |service: &str| v1::GetBreakerRequest { service: service.into(), name: "dependency-1".into() };
    assert_eq!(raw.call(GET, &[&some], &get("team-a.x")).await.code(), Code::Ok);
    assert_eq!(raw.call(GET, &[&some], &get("team-b.x")).await.code(), Code::PermissionDenied);
    assert_eq!(
        raw.call(GET, &[&some], &get("team-c.x")).await.code(),
        Code::PermissionDenied,
        "there or not"
    );
    let of_b = v1::ListBreakersRequest { service: "team-b.x".into(), ..Default::default() };
    assert_eq!(raw.call(LIST, &[&some], &of_b).await.code(), Code::PermissionDenied);
    let of_b = v1::ListTransitionsRequest { service: "team-b.x".into(), ..Default::default() };
    assert_eq!(raw.call(HISTORY, &[&some], &of_b).await.code(), Code::PermissionDenied);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn no_error_suggests_a_name_that_its_caller_may_not_see() {
    let mut principals = Principals::default();
    let admin = add(&mut principals, "admin", &[Role::Admin], &[]);
    let reader = add(&mut principals, "reader", &[Role::Reader], &["orders2"]);
    let world = World::with_security(security(principals), Limits::default()).await;
    world.breakers().await.allow_request(admin.shows(ask("orders", ""))).await.unwrap();
    let mut operations = world.operations().await;
    let get = || v1::GetBreakerRequest { service: "orders2".into(), ..v1::GetBreakerRequest::default() };
    let told = operations.get_breaker(admin.shows(get())).await.unwrap_err();
    assert!(told.message().contains("did you mean orders?"), "{told:?}");
    let told = operations.get_breaker(reader.shows(get())).await.unwrap_err();
    assert_eq!(told.code(), Code::NotFound);
    assert!(!told.message().contains("did you mean"), "{told:?}");
    assert!(!told.get_details_error_info().unwrap().metadata.contains_key("nearest"), "{told:?}");
}

#[tokio::test]
async fn health_and_reflection_take_everybody_unless_told_otherwise() {
    for health_needs_token in [false, true] {
        let mut principals = Principals::default();
        let caller = add(&mut principals, "any", &[Role::Caller], &["payments"]).header();
        let world =
            World::with_security(security(principals), Limits { health_needs_token, ..Limits::default() })
                .await;
        let mut raw = Raw::to(world.address).await;
        let reflect = framed(&tonic_reflection::pb::v1::ServerReflectionRequest::default().encode_to_vec());
        for (path, body) in [
            ("/grpc.health.v1.Health/Check", framed(&HealthCheckRequest::default().encode_to_vec())),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", reflect.clone()),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", reflect),
        ] {
            let answer = raw.send(path, &[], body.clone()).await.unwrap();
            assert_eq!(answer.code() == Code::Unauthenticated, health_needs_token, "{path}");
            let answer = raw.send(path, &[&caller], body).await.unwrap();
            assert_ne!(answer.code(), Code::Unauthenticated, "{path}");
            assert_ne!(answer.code(), Code::PermissionDenied, "{path}");
        }
        drop(raw);
        world.end().await;
    }
}

#[tokio::test]
async fn pages_take_somebody_who_may_read_everything_and_probes_take_everybody() {
    let mut principals = Principals::default();
    let reader = add(&mut principals, "prometheus", &[Role::Reader], &[]).header();
    let operator = add(&mut principals, "ada", &[Role::Operator], &[]).header();
    let some = add(&mut principals, "some", &[Role::Reader], &["payments"]).header();
    let caller = add(&mut principals, "payments-api", &[Role::Caller], &[]).header();
    let world = http_world::World::with_security(security(principals)).await;
    for path in ["/metrics", "/health", "/health/circuit-breakers"] {
        for (header, status) in [
            (None, 401),
            (Some(b"Bearer bk_wrong".to_vec()), 401),
            (Some(caller.clone()), 403),
            (Some(some.clone()), 403),
            (Some(reader.clone()), 200),
            (Some(operator.clone()), 200),
        ] {
            let page = world.get_as(path, header.as_deref()).await;
            assert_eq!(page.status, status, "{path}: {}", page.text);
            assert_eq!(page.headers["cache-control"], "no-store");
            let challenged = page.headers.get("www-authenticate").is_some();
            assert_eq!(challenged, status == 401);
        }
    }
    for path in ["/", "/livez", "/readyz"] {
        assert_eq!(world.get_as(path, None).await.status, 200, "{path}");
        assert_eq!(world.get_as(path, Some(b"Bearer bk_wrong")).await.status, 200, "{path}");
    }
    assert_eq!(world.get_as("/nothing", None).await.status, 404);
    let scrape = http_world::Scrape(world.get_as("/metrics", Some(&reader)).await.text);
    for (reason, count) in [("unauthenticated", 6.0), ("permission_denied", 6.0), ("caller_limit", 0.0)] {
        let sample = format!("breakerd_access_refused_total{{protocol=\"http\",reason=\"{reason}\"}}");
        assert_eq!(scrape.value(&sample), Some(count), "{reason}");
    }
}

#[tokio::test]
async fn a_proper_client_sends_its_token_with_every_call() {
    let mut principals = Principals::default();
    let holder = add(&mut principals, "payments-api", &[Role::Caller], &[]);
    let security = security(principals);
    let world = World::with_security(security.clone(), Limits::default()).await;
    let header = HeaderValue::from_bytes(&holder.header()).unwrap();
    let interceptor = move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("authorization", header.to_str().unwrap().parse().unwrap());
        Ok(request)
    };
    let channel = world.channel().await;
    let mut client = v1::breaker_service_client::BreakerServiceClient::with_interceptor(channel, interceptor);
    for _ in 0..3 {
        assert!(client.allow_request(ask("payments", "")).await.unwrap().into_inner().allowed);
    }
    // Taken off the roll, it is not known any more, on a connection that stands.
    security.authenticator.replace_principals(Principals::default());
    let refused = client.allow_request(ask("payments", "")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    drop(client);
    tokio::time::timeout(Duration::from_secs(20), world.end()).await.unwrap();
}

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

#[tokio::test]
async fn reporters_are_counted_by_who_they_are_and_not_by_what_they_say() {
    let mut principals = Principals::default();
    let one = add(&mut principals, "one", &[Role::Caller], &[]).header();
    let other = add(&mut principals, "other", &[Role::Caller], &[]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut quorum = Layer::default();
    quorum.set(Field::MinimumReporters, Value::Count(2)).unwrap();
    let services = BTreeMap::from([("quorum".to_owned(), quorum)]);
    let declaration = Declaration { enabled: true, services, ..Declaration::default() };
    let catalog = Catalog::new(&declaration, 2, &BTreeMap::new()).unwrap();
    world.app.loaded().unwrap().engine.apply(&Arc::new(catalog), world.clock.now());
    let mut raw = Raw::to(world.address).await;
    let failure = v1::RecordOutcomeRequest {
        service: "quorum".into(),
        outcome: v1::Outcome::Failure.into(),
        caller: "the same text".into(),
        ..Default::default()
    };
    for _ in 0..10 {
        let told = raw.call(RECORD, &[&one], &failure).await.read::<v1::RecordOutcomeResponse>();
        assert_eq!(told.state(), v1::State::Closed, "one reporter is not enough");
    }
    let told = raw.call(RECORD, &[&other], &failure).await.read::<v1::RecordOutcomeResponse>();
    assert_eq!(told.state(), v1::State::Open);
    drop(raw);
    world.end().await;
}
