//! The code of docs/clients/rust.md, line by line, as something that compiles and runs.

#![cfg(all(feature = "tls", feature = "tower", feature = "reqwest-middleware", feature = "prometheus"))]

use std::convert::Infallible;
use std::time::Duration;

use breakerd_client::testing::Fake;
use breakerd_client::{Breaker, Classified, Client, Error, Field, Layer, OnCancel, Rejected, State, Value};

type Failure = Box<dyn std::error::Error>;

#[derive(Debug, Default)]
struct Alerts {
    ids: Vec<u64>,
}

#[derive(Debug, thiserror::Error)]
#[error("sentinel failed")]
struct SentinelError {
    status: u16,
}

impl SentinelError {
    fn is_our_fault(&self) -> bool {
        self.status == 400
    }

    fn class(&self) -> String {
        self.status.to_string()
    }

    fn retry_after(&self) -> Option<Duration> {
        (self.status == 429).then_some(Duration::from_secs(5))
    }
}

async fn fetch_alerts() -> Result<Alerts, SentinelError> {
    let ids = std::future::ready(vec![7]).await;
    Ok(Alerts { ids })
}

fn show(alerts: Alerts) {
    drop(alerts.ids);
}

fn write(record: &str) -> Result<(), std::io::Error> {
    if record.is_empty() { Err(std::io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
}

async fn protect(client: &Client) -> Result<(), Failure> {
    let sentinel = client.breaker("sentinel")?; // the default breaker of a service
    let slack = client.breaker(("notifications", "slack"))?; // a named one

    match sentinel.call(fetch_alerts()).await {
        Ok(alerts) => show(alerts),
        Err(Error::Open { retry_after, .. }) => println!("rejected, retry after {retry_after:?}"),
        Err(Error::Inner(error)) => println!("failed: {error}"),
        Err(error) => println!("{error}"),
    }

    let guard = sentinel
        .guard()
        .timeout(Duration::from_secs(2))                           // a failure of the class "timeout"
        .on_cancel(OnCancel::Failure)                              // our callers hang up when it is slow
        .classify(|result: Result<&Alerts, &SentinelError>| match result {
            Ok(_) => Classified::Success,
            Err(error) if error.is_our_fault() => Classified::Ignored,
            Err(error) => Classified::failure(error.class()).retry_after(error.retry_after()),
        });

    let alerts = guard.call(fetch_alerts()).await;
    show(alerts?);
    let alerts = guard.call_with_fallback(fetch_alerts(), |_error| async { Ok(Alerts::default()) }).await;
    show(alerts?);
    assert_eq!(sentinel.stats().successful, 3);

    let (breaker, record) = (slack, "a line");
    match breaker.try_acquire() {
        Ok(permit) => match write(record) {
            Ok(()) => permit.success(),
            Err(_) => permit.failure(),
        },
        Err(rejected) => println!("{rejected}"),
    }
    assert_eq!(breaker.stats().successful, 1);
    Ok(())
}

#[derive(Debug)]
struct InventoryClient<C>(C);

impl<C> InventoryClient<C> {
    fn new(channel: C) -> Self {
        Self(channel)
    }
}

fn middleware(breaker: Breaker) {
    use breakerd_client::reqwest::BreakerMiddleware;

    let http = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
        .with(BreakerMiddleware::new(breaker))
        .build();
    drop(http);
}

fn layer(breaker: Breaker) {
    use breakerd_client::tower::BreakerLayer;
    use tower::ServiceBuilder;

    let channel =
        tower::service_fn(|_: http::Request<()>| async { Ok::<_, Infallible>(http::Response::new(())) });
    let channel = ServiceBuilder::new().layer(BreakerLayer::grpc(breaker)).service(channel);
    let inventory = InventoryClient::new(channel);
    drop(inventory.0);
}

/// Compiled, and not run: nobody is there.
#[expect(dead_code, reason = "the addresses of the guide are nobody's")]
async fn addresses(
    address: String,
    ca: tonic::transport::Certificate,
    identity: tonic::transport::Identity,
) -> Result<(), Failure> {
    use tonic::transport::ClientTlsConfig;

    let client = Client::builder("http://127.0.0.1:50051").connect().await?;
    client.shutdown().await;
    let client = Client::builder("https://breakerd.internal:50051") // all addresses of the name, resolved for each connection
        .address("https://breakerd.other.zone:50051")
        .token(std::env::var("BREAKERD_TOKEN")?)
        .tls(ClientTlsConfig::new().ca_certificate(ca).identity(identity))
        .connect()
        .await?;
    client.shutdown().await;
    let client = Client::builder(address)
        .on_state_change(|change| println!("{}: {} -> {}", change.key, change.from, change.to))
        .connect()
        .await?;
    client.shutdown().await;
    Ok(())
}

fn shown(client: &Client, breaker: &Breaker) -> Result<(), Failure> {
    let registry = prometheus::Registry::new();
    let _ = (
        client.connection_error(), // why there is no connection
        client.health_check(),     // as breakerd's page /health/circuit-breakers
        client.get_all_stats(),
        breaker.stats().reports,
    );
    breakerd_client::prometheus::init_circuit_breaker_metrics(&registry)?;
    assert!(!registry.gather().is_empty());
    Ok(())
}

struct MyService(Breaker);

impl MyService {
    fn new(breaker: Breaker) -> Self {
        Self(breaker)
    }

    async fn call_that_fails(&self) {
        let _ = self.0.call(async { Err::<(), _>("down") }).await;
    }

    async fn is_rejected(&self) -> bool {
        let result: Result<_, Rejected> = self.0.acquire().await;
        result.is_err()
    }
}

#[tokio::test]
async fn the_examples_of_the_guide_run() {
    let fake =
        Fake::new([("sentinel", Layer::default().with(Field::FailureThreshold, Value::Count(3)).unwrap())])
            .unwrap();
    protect(fake.client()).await.unwrap();
    let breaker = fake.client().breaker(("guide", "a")).unwrap();
    middleware(breaker.clone());
    layer(breaker.clone());
    shown(fake.client(), &breaker).unwrap();
    tested().await.unwrap();
}

async fn tested() -> Result<(), Failure> {
    let fake = Fake::new([("sentinel", Layer::default().with(Field::FailureThreshold, Value::Count(3))?)])?;
    let service = MyService::new(fake.client().breaker("sentinel")?);

    for _ in 0..3 {
        service.call_that_fails().await;
    }
    assert!(service.is_rejected().await);
    fake.clock().advance(Duration::from_mins(1));
    assert!(!service.is_rejected().await);
    fake.set_state("sentinel", State::ForcedOpen, None)?;
    assert!(service.is_rejected().await);
    Ok(())
}

/// What the guide shows is what this file has, so that it compiles.
#[test]
fn each_line_of_the_guide_is_one_of_these_examples() {
    let guide = include_str!("../../../docs/clients/rust.md");
    let blocks = guide.split("```rust\n").skip(1).map(|block| block.split("\n```").next().unwrap());
    let code = include_str!("guide.rs");
    let known: Vec<_> = code.lines().map(plain).collect();
    let mut lines = 0;
    for line in
        blocks.flat_map(str::lines).map(plain).filter(|line| !line.is_empty() && !line.starts_with("use "))
    {
        assert!(known.contains(&line), "the guide has a line that is not tried: {line}");
        lines += 1;
    }
    assert!(lines > 40);
}

/// A line without its place and its remark, as an expression or a statement.
fn plain(line: &str) -> &str {
    let code = line.split(" //").next().unwrap_or_default();
    code.trim().trim_end_matches([';', ','])
}
