//! Three replicas on one Postgres, a thousand watchers on each: how long a change on one takes to the last watcher of all.
//!
//! Promise (docs/replication.md): p99 <= 250 ms where Postgres tells of changes (LISTEN), and 1.5 s where it cannot. The second
//! is measured by ending the listening connections again and again.
//!
//! `scripts/with-postgres.sh cargo bench --bench replicas`

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod server;

use std::error::Error;
use std::time::{Duration, Instant};

use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use breakerd_api::v1::{
    GetConfigRequest, ResetBreakerRequest, SetOverrideRequest, State, Thresholds, UpdateConfigRequest,
    WatchBreakersRequest, WatchConfigRequest, watch_breakers_response, watch_config_response,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use server::Server;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const REPLICAS: [&str; 3] = ["one", "two", "three"];
/// On each replica.
const WATCHERS: usize = 1_000;
const CONNECTIONS: usize = 4;
const CHANGES: u32 = 60;
const CONFIG: &str = "[circuit_breaker]\nfailure_threshold = 1\n";

/// A change was seen, with what tells it from others, if anything does.
type Seen = (u64, Instant);

fn main() -> Result<()> {
    let Some(server) = std::env::var_os("BREAKERD_TEST_POSTGRES_URL") else {
        println!("replicas: no Postgres; scripts/with-postgres.sh starts one");
        return Ok(());
    };
    let server = server.into_string().map_err(|_| "the URL is no text")?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(async {
        measure(&server, true).await?;
        measure(&server, false).await
    })
}

/// Where Postgres tells of changes, or where it cannot.
async fn measure(server: &str, tells: bool) -> Result<()> {
    let name = if tells { "bench_replicas_told" } else { "bench_replicas_polled" };
    let mut admin = PgConnection::connect(server).await?;
    for statement in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
    }
    let url = format!("{}/{name}", server.rsplit_once('/').ok_or("a URL with a database")?.0);
    let start = |replica: &&str| {
        let variables = [("DATABASE_URL", &*url), ("BREAKERD_REPLICA", *replica)];
        Server::start(CONFIG, &variables)
    };
    let replicas = REPLICAS.iter().map(start).collect::<Result<Vec<_>>>()?;
    let deaf = if tells { None } else { Some(tokio::spawn(end_listeners(url.clone()))) };
    let mut channels = Vec::new();
    for replica in &replicas {
        let mut of_one = Vec::new();
        for _ in 0..CONNECTIONS {
            of_one.push(Endpoint::from_shared(replica.address.clone())?.connect().await?);
        }
        let mut client = ConfigServiceClient::new(of_one[0].clone());
        while client.get_config(GetConfigRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        channels.push(of_one);
    }
    let how = if tells { "LISTEN" } else { "no LISTEN" };
    show(
        &format!("{how}: UpdateConfig to the last of 3 x {WATCHERS} WatchConfig"),
        configs(&channels).await?,
    );
    show(
        &format!("{how}: SetOverride to the last of 3 x {WATCHERS} WatchBreakers"),
        overrides(&channels).await?,
    );
    if let Some(deaf) = deaf {
        deaf.abort();
    }
    Ok(())
}

/// Ends the connections that listen, as soon as there are some.
async fn end_listeners(url: String) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let Ok(mut connection) = PgConnection::connect(&url).await else { return };
    while sqlx::raw_sql(end).execute(&mut connection).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn configs(channels: &[Vec<Channel>]) -> Result<Vec<Duration>> {
    let (tell, mut told) = mpsc::unbounded_channel::<Seen>();
    for of_one in channels {
        for index in 0..WATCHERS {
            let mut client = ConfigServiceClient::new(of_one[index % CONNECTIONS].clone());
            let mut stream = client.watch_config(WatchConfigRequest::default()).await?.into_inner();
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Ok(Some(message)) = stream.message().await {
                    let revision = match message.event {
                        Some(watch_config_response::Event::Bookmark(_)) => 0,
                        Some(watch_config_response::Event::Config(config)) if config.service == "orders" => {
                            config.revision
                        }
                        _ => continue,
                    };
                    let _ = tell.send((revision, Instant::now()));
                }
            });
        }
    }
    all_saw(&mut told, 0, Instant::now()).await?;
    let mut client = ConfigServiceClient::new(channels[0][0].clone());
    let mut took = Vec::new();
    for threshold in 1..=CHANGES {
        let thresholds = Thresholds { failure_threshold: Some(threshold + 1), ..Thresholds::default() };
        let request = UpdateConfigRequest {
            service: "orders".into(),
            thresholds: Some(thresholds),
            ..UpdateConfigRequest::default()
        };
        let updated = client.update_config(request).await?.into_inner();
        let revision = updated.config.ok_or("no configuration")?.revision;
        took.push(all_saw(&mut told, revision, Instant::now()).await?);
    }
    Ok(took)
}

async fn overrides(channels: &[Vec<Channel>]) -> Result<Vec<Duration>> {
    let (tell, mut told) = mpsc::unbounded_channel::<Seen>();
    for of_one in channels {
        for index in 0..WATCHERS {
            let mut client = BreakerServiceClient::new(of_one[index % CONNECTIONS].clone());
            let mut stream = client.watch_breakers(WatchBreakersRequest::default()).await?.into_inner();
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut is_marked = false;
                while let Ok(Some(message)) = stream.message().await {
                    let epoch = match message.event {
                        Some(watch_breakers_response::Event::Bookmark(_)) if !is_marked => {
                            is_marked = true;
                            0
                        }
                        Some(watch_breakers_response::Event::Breaker(state)) if is_marked => state.epoch,
                        _ => continue,
                    };
                    let _ = tell.send((epoch, Instant::now()));
                }
            });
        }
    }
    all_saw(&mut told, 0, Instant::now()).await?;
    let mut client = OperationsServiceClient::new(channels[0][0].clone());
    let mut took = Vec::new();
    for epoch in 1..=u64::from(CHANGES) {
        if epoch % 2 == 1 {
            let set = SetOverrideRequest {
                service: "orders".into(),
                name: "orders".into(),
                state: State::Disabled.into(),
                reason: "benchmark".into(),
                create: true,
                ..SetOverrideRequest::default()
            };
            client.set_override(set).await?;
        } else {
            let reset = ResetBreakerRequest {
                service: "orders".into(),
                name: "orders".into(),
                reason: "benchmark".into(),
            };
            client.reset_breaker(reset).await?;
        }
        took.push(all_saw(&mut told, epoch, Instant::now()).await?);
    }
    Ok(took)
}

/// Until every watcher has seen this one; how long after `from` the last one did.
async fn all_saw(told: &mut mpsc::UnboundedReceiver<Seen>, what: u64, from: Instant) -> Result<Duration> {
    let (mut left, mut last) = (REPLICAS.len() * WATCHERS, from);
    while left > 0 {
        let (seen, at) = told.recv().await.ok_or("watchers are gone")?;
        if seen == what {
            left -= 1;
            last = last.max(at);
        }
    }
    Ok(last.duration_since(from))
}

fn show(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    println!("{what}: p50 {:.1?}, p99 {:.1?}, worst {:.1?}", at(50), at(99), took[took.len() - 1]);
}
