//! A thousand watchers on one process: how long a change takes to the last of them, and what a watcher costs.
//!
//! breakerd is a process of its own; the watchers are streams on a few connections of this one. Promise
//! (docs/benchmarks.md): from the return of `UpdateConfig` to the last of `1_000` watchers, p99 <= 250 ms.
//!
//! `cargo bench --bench watch`

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod server;

use std::error::Error;
use std::time::{Duration, Instant};

use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::{
    Outcome, RecordOutcomeRequest, Thresholds, UpdateConfigRequest, WatchBreakersRequest, WatchConfigRequest,
    watch_breakers_response, watch_config_response,
};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use server::Server;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const WATCHERS: usize = 1_000;
const CONNECTIONS: usize = 4;
const CHANGES: u32 = 60;
/// Each failure opens.
const CONFIG: &str = "[circuit_breaker]\nfailure_threshold = 1\n";

impl Server {
    /// Resident bytes.
    fn memory(&self) -> Result<f64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        Ok(statm.split(' ').nth(1).ok_or("statm")?.parse::<f64>()? * 4_096.0)
    }

    /// Processor time used, of user and system; a tick is 10 ms.
    fn processor(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<_> = stat.rsplit(')').next().ok_or("stat")?.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    async fn connect(&self) -> Result<Vec<Channel>> {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(Endpoint::from_shared(self.address.clone())?.connect().await?);
        }
        Ok(channels)
    }
}

fn main() -> Result<()> {
    // One thread for the watchers, so that the other core is breakerd's.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        config().await?;
        breakers().await
    })
}

async fn config() -> Result<()> {
    let server = Server::start(CONFIG, &[])?;
    let channels = server.connect().await?;
    let mut client = ConfigServiceClient::new(channels[0].clone());
    while client.get_config(breakerd_api::v1::GetConfigRequest::default()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let memory = server.memory()?;
    let (tell, mut told) = mpsc::unbounded_channel();
    for index in 0..WATCHERS {
        let mut client = ConfigServiceClient::new(channels[index % CONNECTIONS].clone());
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
    for _ in 0..WATCHERS {
        told.recv().await;
    }
    let (grown, used) = (server.memory()? - memory, server.processor()?);
    let mut took = Vec::new();
    for threshold in 1..=CHANGES {
        let thresholds = Thresholds { failure_threshold: Some(threshold + 1), ..Thresholds::default() };
        let request = UpdateConfigRequest {
            service: "orders".into(),
            thresholds: Some(thresholds),
            ..UpdateConfigRequest::default()
        };
        client.update_config(request).await?;
        let returned = Instant::now();
        let mut last = returned;
        for _ in 0..WATCHERS {
            let (_, at) = told.recv().await.ok_or("watchers are gone")?;
            last = last.max(at);
        }
        took.push(last.duration_since(returned));
    }
    show(
        "WatchConfig, from the return of UpdateConfig",
        took,
        grown,
        server.processor()?.saturating_sub(used),
    );
    Ok(())
}

async fn breakers() -> Result<()> {
    let server = Server::start(CONFIG, &[])?;
    let channels = server.connect().await?;
    let mut client = BreakerServiceClient::new(channels[0].clone());
    let failure = |name: String| RecordOutcomeRequest {
        service: "orders".into(),
        name,
        outcome: Outcome::Failure as i32,
        ..RecordOutcomeRequest::default()
    };
    while client.record_outcome(failure("first".into())).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let memory = server.memory()?;
    let (tell, mut told) = mpsc::unbounded_channel();
    for index in 0..WATCHERS {
        let mut client = BreakerServiceClient::new(channels[index % CONNECTIONS].clone());
        let mut stream = client.watch_breakers(WatchBreakersRequest::default()).await?.into_inner();
        let tell = tell.clone();
        tokio::spawn(async move {
            let mut marked = false;
            while let Ok(Some(message)) = stream.message().await {
                match message.event {
                    Some(watch_breakers_response::Event::Bookmark(_)) => marked = true,
                    Some(watch_breakers_response::Event::Breaker(_)) if marked => {}
                    _ => continue,
                }
                let _ = tell.send(Instant::now());
            }
        });
    }
    for _ in 0..WATCHERS {
        told.recv().await;
    }
    let (grown, used) = (server.memory()? - memory, server.processor()?);
    let mut took = Vec::new();
    for number in 0..CHANGES {
        client.record_outcome(failure(format!("n{number}"))).await?;
        let returned = Instant::now();
        let mut last = returned;
        for _ in 0..WATCHERS {
            last = last.max(told.recv().await.ok_or("watchers are gone")?);
        }
        took.push(last.duration_since(returned));
    }
    show(
        "WatchBreakers, from the return of RecordOutcome",
        took,
        grown,
        server.processor()?.saturating_sub(used),
    );
    Ok(())
}

fn show(what: &str, mut took: Vec<Duration>, grown: f64, used: Duration) {
    took.sort_unstable();
    let at =
        |per_cent: usize| took[(took.len() * per_cent / 100).min(took.len() - 1)].as_secs_f64() * 1_000.0;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let watchers = WATCHERS as f64;
    println!(
        "{what} to the last of {WATCHERS} watchers, {CHANGES} changes: p50 {:.1} ms, p99 {:.1} ms\n  \
         a watcher: {:.1} KB resident, {:.1} us of processor time a change",
        at(50),
        at(99),
        grown / watchers / 1_000.0,
        used.as_secs_f64() * 1e6 / watchers / f64::from(CHANGES),
    );
}
