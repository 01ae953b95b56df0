//! Who may do what: tokens and roles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Field, Layer, Value};
use breakerd::auth::{Authenticator, Identity, Pattern, Principals, Role, Token, TransportSecurity};
use breakerd::catalog::{Catalog, Declaration};
use breakerd::grpc::{Limits, Method};
use breakerd_api::v1;
use breakerd_common::clock::Clock as _;
use http::HeaderValue;
use prost::Message;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_types::StatusExt as _;

use crate::grpc_world::{World, ask};
use crate::http_world;
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

pub(crate) const ALLOW: &str = "/breakerd.v1.BreakerService/AllowRequest";
pub(crate) const RECORD: &str = "/breakerd.v1.BreakerService/RecordOutcome";
pub(crate) const ALLOW_MANY: &str = "/breakerd.v1.BreakerService/AllowRequests";
pub(crate) const RECORD_MANY: &str = "/breakerd.v1.BreakerService/RecordOutcomes";
pub(crate) const GET: &str = "/breakerd.v1.OperationsService/GetBreaker";
pub(crate) const LIST: &str = "/breakerd.v1.OperationsService/ListBreakers";
pub(crate) const HISTORY: &str = "/breakerd.v1.OperationsService/ListTransitions";

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
