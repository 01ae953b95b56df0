//! The Rust client with TLS, certificates and tokens, and with what operators do.

use std::sync::Arc;
use std::time::Duration;

use breakerd::auth::{
    Authenticator, ClientCertificate, Identity, Pattern, Principals, Role, Subject, TransportSecurity,
};
use breakerd::grpc::Limits;
use breakerd_api::v1;
use breakerd_client::{Builder, Client, Error, State};
use tonic::transport::{Certificate, ClientTlsConfig, Identity as ClientIdentity};

use crate::auth::{add, security};
use crate::certificates::{Authority, Dates};
use crate::grpc_world::{World, trip};
use crate::process::eventually;

fn builder(world: &World, scheme: &str) -> Builder {
    Client::builder(format!("{scheme}://localhost:{}", world.address.port())).deadline(Duration::from_secs(5))
}

async fn connects(builder: Builder) -> Client {
    let client = builder.connect().await.unwrap();
    eventually("the client is connected", async || client.is_connected()).await;
    client
}

/// Why it does not connect, once it has tried.
async fn why_not(builder: Builder) -> String {
    let client = builder.connect().await.unwrap();
    eventually("the client tried", async || client.connection_error().is_some()).await;
    assert!(!client.is_connected());
    // What it protects goes on.
    client.breaker("payments").unwrap().call(async { Ok::<_, ()>(()) }).await.unwrap();
    client.connection_error().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_connects_over_mutual_tls_and_says_why_it_does_not() {
    let authority = Authority::new();
    let mut principals = Principals::default();
    let caller = Identity::new("a", &[Role::Caller], vec![Pattern::new("payments").unwrap()]);
    principals.add_certificate(Subject::new("spiffe://cluster/ns/a").unwrap(), caller).unwrap();
    let tls = authority.server(Dates::Good).tls(Some(&authority), ClientCertificate::Required).unwrap();
    let authenticator = Arc::new(Authenticator::with_principals(principals).unwrap());
    let security = TransportSecurity { authenticator, tls: Some(tls) };
    let world = World::with_security(security, Limits::default()).await;

    let pair = authority.client("spiffe://cluster/ns/a");
    let identity = ClientIdentity::from_pem(&pair.certificate, &pair.key);
    let trusts =
        |authority: &Authority| ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem));
    let client = connects(builder(&world, "https").tls(trusts(&authority).identity(identity.clone()))).await;
    let breaker = client.breaker("payments").unwrap();
    for _ in 0..5 {
        let _ = breaker.call(async { Err::<(), _>(()) }).await;
    }
    eventually("it opens at breakerd", async || breaker.stats().reports.recorded == 5).await;
    assert_eq!(breaker.state(), State::Open);
    // A service that this certificate may not call: breakerd refuses its outcomes, and it is decided here.
    let other = client.breaker("other").unwrap();
    let tripped = async || {
        let _ = other.call(async { Err::<(), _>(()) }).await;
        other.state() == State::Open
    };
    eventually("it trips here", tripped).await;
    assert!(other.stats().reports.refused > 0);

    let wrong = why_not(builder(&world, "https").tls(trusts(&Authority::new()).identity(identity))).await;
    assert!(wrong.contains("certificate"), "{wrong}");
    why_not(builder(&world, "https").tls(trusts(&authority))).await;
    why_not(builder(&world, "http")).await;
    client.shutdown().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_shows_its_token_and_says_when_it_is_not_known() {
    let mut principals = Principals::default();
    let holder = add(&mut principals, "caller", &[Role::Caller], &["payments"]);
    let world = World::with_security(security(principals), Limits::default()).await;
    let client = connects(builder(&world, "http").token(holder.token.expose())).await;
    let breaker = client.breaker("payments").unwrap();
    breaker.call(async { Ok::<_, ()>(()) }).await.unwrap();
    eventually("it is recorded", async || breaker.stats().reports.recorded == 1).await;
    for wrong in [builder(&world, "http").token("bk_wrong"), builder(&world, "http")] {
        let why = why_not(wrong).await;
        assert!(why.contains("UNAUTHENTICATED") || why.contains("authentication"), "{why}");
        assert!(!why.contains("bk_wrong"), "{why}");
    }
    client.shutdown().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_do_is_in_force_in_clients() {
    let world = World::new().await;
    trip(&mut world.breakers().await, "sentinel", "a").await;
    let client = connects(builder(&world, "http")).await;
    let (tripped, other) =
        (client.breaker(("sentinel", "a")).unwrap(), client.breaker(("mail", "b")).unwrap());
    assert_eq!((tripped.state(), other.state()), (State::Open, State::Closed));
    let mut operations = world.operations().await;
    let set = |state: v1::State| v1::SetOverrideRequest {
        service: "mail".into(),
        state: state as i32,
        reason: "the provider is down".into(),
        service_wide: true,
        create: true,
        ..v1::SetOverrideRequest::default()
    };
    operations.set_override(set(v1::State::ForcedOpen)).await.unwrap();
    eventually("it is forced open", async || other.state() == State::ForcedOpen).await;
    let result = other.call(async { Ok::<_, ()>(()) }).await;
    assert!(matches!(result, Err(Error::Open { state: State::ForcedOpen, .. })), "{result:?}");
    // One that is used for the first time is in the override of its service, too.
    assert_eq!(client.breaker(("mail", "new")).unwrap().state(), State::ForcedOpen);
    operations.set_override(set(v1::State::Disabled)).await.unwrap();
    eventually("it is disabled", async || other.state() == State::Disabled).await;
    for _ in 0..10 {
        let _ = other.call(async { Err::<(), _>(()) }).await;
    }
    assert_eq!((other.state(), other.stats().reports.reported), (State::Disabled, 0), "nothing is recorded");
    let reset =
        v1::ResetBreakerRequest { service: "sentinel".into(), name: "a".into(), reason: "it was us".into() };
    operations.reset_breaker(reset).await.unwrap();
    eventually("it is closed", async || tripped.state() == State::Closed).await;
    client.shutdown().await;
    world.end().await;
}
