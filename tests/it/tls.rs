//! TLS, one-sided and mutual, for gRPC and for pages.

use std::sync::Arc;
use std::time::Duration;

use breaker::Time;
use breakerd::auth::{
    Authenticator, ClientCertificate, Identity, Pattern, Principals, Role, Subject, TlsError,
    TransportSecurity,
};
use breakerd::grpc::Limits;
use breakerd_api::v1;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::auth::add;
use crate::certificates::{Authority, Dates, Pair, shown};
use crate::grpc_world::{World, ask};
use crate::http_world;
use crate::raw::{Answer, Raw};

const ALLOW: &str = "/breakerd.v1.BreakerService/AllowRequest";
const LIST: &str = "/breakerd.v1.OperationsService/ListBreakers";
const H2: &[u8] = b"h2";
const LONG: Duration = Duration::from_secs(20);

async fn encrypted(authority: &Authority) -> (World, TransportSecurity) {
    let tls = authority.server(Dates::Good).tls(None, ClientCertificate::Required).unwrap();
    let security = TransportSecurity { authenticator: Arc::new(Authenticator::disabled()), tls: Some(tls) };
    (World::with_security(security.clone(), Limits::default()).await, security)
}

/// Calls, or says that it did not get so far: with TLS 1.3 a client learns only then that it is refused.
async fn call(
    world: &World,
    authority: &Authority,
    pair: Option<&Pair>,
    authorization: &[&[u8]],
) -> Option<Answer> {
    let stream = authority.connect(world.address, pair, H2).await.ok()?;
    let mut raw = Raw::over(stream).await.ok()?;
    let body = crate::raw::framed(&prost::Message::encode_to_vec(&ask("payments", "")));
    raw.send(ALLOW, authorization, body).await.ok()
}

#[tokio::test]
async fn calls_pass_over_tls_and_a_plain_client_does_not() {
    let authority = Authority::new();
    let (world, _) = encrypted(&authority).await;
    let answer = call(&world, &authority, None, &[]).await.unwrap();
    assert!(answer.read::<v1::AllowRequestResponse>().allowed);

    let mut plain = TcpStream::connect(world.address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    // It may be reset under our feet: what counts is that it ends, and says nothing of HTTP.
    let _ = tokio::time::timeout(LONG, plain.read_to_end(&mut said)).await.expect("it is closed");
    assert!(said.len() < 16, "an alert at most: {said:?}");
    let failed = world.app.metrics.tls.handshake_errors_total.with_label_values(&["grpc"]);
    assert_eq!(failed.get(), 1);

    // Who does not trust our authority, or speaks something else inside, does not come in either.
    assert!(Authority::new().connect(world.address, None, H2).await.is_err());
    assert!(authority.connect(world.address, None, b"http/1.1").await.is_err());
    assert!(call(&world, &authority, None, &[]).await.is_some(), "and others are served on");
    world.end().await;
}

#[tokio::test]
async fn a_client_refuses_a_certificate_that_is_over() {
    let authority = Authority::new();
    let tls = authority.server(Dates::Over).tls(None, ClientCertificate::Required).unwrap();
    assert!(tls.expires_at() < Time::from_micros(1_600_000_000_000_000));
    let security = TransportSecurity { authenticator: Arc::new(Authenticator::disabled()), tls: Some(tls) };
    let world = World::with_security(security, Limits::default()).await;
    let error = authority.connect(world.address, None, H2).await.unwrap_err();
    assert!(error.to_string().contains("xpired"), "{error}");
    world.end().await;
}

#[tokio::test]
async fn with_mutual_tls_only_certificates_of_the_authority_come_in() {
    let (authority, other) = (Authority::new(), Authority::new());
    let tls = authority.server(Dates::Good).tls(Some(&authority), ClientCertificate::Required).unwrap();
    let security =
        TransportSecurity { authenticator: Arc::new(Authenticator::with_certificates()), tls: Some(tls) };
    let world = World::with_security(security, Limits::default()).await;
    let uri = |text: &str| vec![rcgen::SanType::URI(text.try_into().unwrap())];
    let over = authority.signs(uri("spiffe://cluster/ns/a"), Dates::Over);
    let strange = other.client("spiffe://cluster/ns/a");
    for (pair, why) in [(None, "none"), (Some(&over), "over"), (Some(&strange), "another authority's")] {
        assert!(call(&world, &authority, pair, &[]).await.is_none(), "{why}");
    }
    let good = authority.client("spiffe://cluster/ns/a");
    let answer = call(&world, &authority, Some(&good), &[]).await.unwrap();
    assert!(answer.read::<v1::AllowRequestResponse>().allowed);
    world.end().await;
}

#[tokio::test]
async fn a_certificate_is_who_the_file_says_and_a_token_comes_before_it() {
    let authority = Authority::new();
    let mut principals = Principals::default();
    let token = add(&mut principals, "reader", &[Role::Reader], &[]).header();
    let caller = Identity::new("a", &[Role::Caller], vec![Pattern::new("payments").unwrap()]);
    principals.add_certificate(Subject::new("spiffe://cluster/ns/a").unwrap(), caller).unwrap();
    let tls = authority.server(Dates::Good).tls(Some(&authority), ClientCertificate::Optional).unwrap();
    let security = TransportSecurity {
        authenticator: Arc::new(Authenticator::with_principals(principals).unwrap()),
        tls: Some(tls),
    };
    let world = World::with_security(security, Limits::default()).await;
    let (known, unknown) =
        (authority.client("spiffe://cluster/ns/a"), authority.client("spiffe://cluster/ns/ab"));
    for (pair, shown, code) in [
        (Some(&known), &[][..], Code::Ok),
        (Some(&unknown), &[], Code::Unauthenticated),
        (None, &[], Code::Unauthenticated),
        // A reader may not call; a wrong token is wrong beside the best certificate.
        (Some(&known), &[&*token], Code::PermissionDenied),
        (Some(&known), &[b"Bearer bk_wrong"], Code::Unauthenticated),
        (None, &[&token], Code::PermissionDenied),
    ] {
        let answer = call(&world, &authority, pair, shown).await.unwrap();
        assert_eq!(answer.code(), code, "{:?}", answer.status);
    }
    let mut raw = Raw::over(authority.connect(world.address, Some(&known), H2).await.unwrap()).await.unwrap();
    assert_eq!(raw.call(ALLOW, &[], &ask("sentinel", "")).await.code(), Code::PermissionDenied);
    let list = v1::ListBreakersRequest::default();
    assert_eq!(raw.call(LIST, &[], &list).await.code(), Code::PermissionDenied);
    assert_eq!(raw.call(LIST, &[&token], &list).await.code(), Code::Ok);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn another_certificate_is_shown_to_new_connections_and_open_ones_go_on() {
    let authority = Authority::new();
    let (world, security) = encrypted(&authority).await;
    let first = authority.connect(world.address, None, H2).await.unwrap();
    let before = shown(&first);
    let mut raw = Raw::over(first).await.unwrap();
    assert_eq!(raw.call(ALLOW, &[], &ask("payments", "")).await.code(), Code::Ok);

    let now = Time::from_micros(1_700_000_000_000_000);
    let tls = security.tls.unwrap();
    let (second, over) = (authority.server(Dates::Good), authority.server(Dates::Over));
    // What is wrong is refused whole, and what was in force stays.
    let mixed = Pair { certificate: second.certificate.clone(), key: over.key.clone() };
    assert!(matches!(tls.take(&mixed.pem(None), now), Err(TlsError::Pair(_))));
    assert!(matches!(tls.take(&over.pem(None), now), Err(TlsError::Expired(_))));
    for broken in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"] {
        let pair = Pair { certificate: broken.into(), key: second.key.clone() };
        assert!(tls.take(&pair.pem(None), now).is_err(), "{broken}");
        let pair = Pair { certificate: second.certificate.clone(), key: broken.into() };
        assert!(tls.take(&pair.pem(None), now).is_err(), "{broken}");
    }
    assert_eq!(shown(&authority.connect(world.address, None, H2).await.unwrap()), before);

    tls.take(&second.pem(None), now).unwrap();
    assert_ne!(shown(&authority.connect(world.address, None, H2).await.unwrap()), before);
    assert_eq!(raw.call(ALLOW, &[], &ask("payments", "")).await.code(), Code::Ok, "on the old connection");
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn a_connection_that_does_not_shake_hands_holds_nothing_up() {
    let authority = Authority::new();
    let (world, _) = encrypted(&authority).await;
    let mut half = TcpStream::connect(world.address).await.unwrap();
    // The beginning of a hello that never goes on.
    half.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    assert!(call(&world, &authority, None, &[]).await.is_some());
    tokio::time::timeout(LONG, world.end()).await.expect("the end does not wait for it");
}

#[tokio::test]
async fn hellos_that_never_end_do_not_lock_their_address_out() {
    let authority = Authority::new();
    let tls = authority.server(Dates::Good).tls(None, ClientCertificate::Required).unwrap();
    let security = TransportSecurity { authenticator: Arc::new(Authenticator::disabled()), tls: Some(tls) };
    let world = World::with_security(security, Limits { handshakes_max: 8, ..Limits::default() }).await;
    // An old client of the same address, which goes on living.
    let stream = authority.connect(world.address, None, H2).await.unwrap();
    let mut old = Raw::over(stream).await.unwrap();
    let body = || crate::raw::framed(&prost::Message::encode_to_vec(&ask("payments", "")));
    old.send(ALLOW, &[], body()).await.unwrap();

    // The first byte of a record and no more: four of them wait for the rest, and those beyond are closed.
    let mut hellos = Vec::new();
    let mut closed = 0;
    while closed < 3 {
        let mut hello = TcpStream::connect(world.address).await.unwrap();
        hello.write_all(&[0x16]).await.unwrap();
        let read = tokio::time::timeout(Duration::from_millis(200), hello.read(&mut [0; 1])).await;
        closed += usize::from(read.is_ok());
        hellos.push(hello);
        assert!(hellos.len() <= 16, "the limit of an address is not kept");
    }
    assert_eq!(hellos.len() - closed, 4, "half of them are for one address");
    drop(hellos);
    let again = tokio::time::timeout(LONG, async {
        while call(&world, &authority, None, &[]).await.is_none() {
            tokio::task::yield_now().await;
        }
    });
    again.await.expect("the address is served again");
    assert!(old.send(ALLOW, &[], body()).await.is_ok());
    drop(old);
    world.end().await;
}

async fn page(
    world: &http_world::World,
    authority: &Authority,
    pair: Option<&Pair>,
    path: &str,
    authorization: Option<&[u8]>,
) -> u16 {
    let stream = authority.connect(world.address, pair, b"http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::get(path).header("host", "localhost");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    sender.send_request(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn pages_pass_over_tls_and_a_probe_needs_no_certificate() {
    let authority = Authority::new();
    let mut principals = Principals::default();
    let token = add(&mut principals, "prometheus", &[Role::Reader], &[]).header();
    let reader = Identity::new("grafana", &[Role::Reader], vec![Pattern::any()]);
    principals.add_certificate(Subject::new("spiffe://cluster/grafana").unwrap(), reader).unwrap();
    // Required, and yet not for pages.
    let tls = authority.server(Dates::Good).tls(Some(&authority), ClientCertificate::Required).unwrap();
    let security = TransportSecurity {
        authenticator: Arc::new(Authenticator::with_principals(principals).unwrap()),
        tls: Some(tls),
    };
    let world = http_world::World::with_security(security).await;
    let grafana = authority.client("spiffe://cluster/grafana");
    assert_eq!(page(&world, &authority, None, "/readyz", None).await, 200);
    assert_eq!(page(&world, &authority, None, "/metrics", None).await, 401);
    assert_eq!(page(&world, &authority, None, "/metrics", Some(&token)).await, 200);
    assert_eq!(page(&world, &authority, Some(&grafana), "/metrics", None).await, 200);
    assert!(authority.connect(world.address, None, H2).await.is_err(), "nobody speaks that here");
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(plain.get(format!("http://{}/livez", world.address)).send().await.is_err());
}
