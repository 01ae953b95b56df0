//! What it costs the store that replicas share what they count: statements, rows and bytes a second, for so many failing breakers.
//!
//! Each breaker fails once a second in one of three replicas, so that all three publish it, and read it of each other.
//!
//! `scripts/with-postgres.sh cargo bench --bench counts`: in the Postgres that `BREAKERD_TEST_POSTGRES_URL` names.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use breaker::{Field, Layer, Numbering, Outcome, Report, Value};
use breakerd::catalog::{Catalog, Declaration};
use breakerd::engine::{Appended, Engine, Event, Limits, Seals, StoreIdentity, Target, TransitionSink};
use breakerd::replica::CountSharing;
use breakerd::store::{CountExchange, CountPage, CountStore, StoreError, open_shared};
use breakerd_common::clock::{Clock, SystemClock};
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const REPLICAS: usize = 3;
const MEASURED: Duration = Duration::from_secs(10);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let Ok(url) = std::env::var("BREAKERD_TEST_POSTGRES_URL") else {
        println!("BREAKERD_TEST_POSTGRES_URL is not set, nothing is measured");
        return Ok(());
    };
    let shared = open_shared(&url).await?;
    println!(
        "| failing breakers | statements/s | rounds/s of a replica | ms a statement | rows written/s | rows read/s | bytes of a row | MB/s written and read |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for breakers in [10, 1_000, 10_000] {
        measure(&url, &shared.counts, breakers).await?;
    }
    shared.store.close().await;
    Ok(())
}

/// What goes to the store.
struct Measured {
    store: Arc<dyn CountStore>,
    statements: AtomicU64,
    rounds: AtomicU64,
    written: AtomicU64,
    read: AtomicU64,
    micros: AtomicU64,
}

#[async_trait]
impl CountStore for Measured {
    async fn exchange_counts(&self, exchange: &CountExchange) -> std::result::Result<CountPage, StoreError> {
        let begun_at = Instant::now();
        let page = self.store.exchange_counts(exchange).await?;
        let micros = u64::try_from(begun_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Relaxed);
        self.statements.fetch_add(1, Relaxed);
        self.rounds.fetch_add(u64::from(exchange.after.is_none()), Relaxed);
        self.written.fetch_add(exchange.published.len() as u64, Relaxed);
        self.read.fetch_add(page.rows.len() as u64, Relaxed);
        Ok(page)
    }
}

struct Nowhere;

impl TransitionSink for Nowhere {
    fn append(&self, _: Event<'_>) -> Appended {
        Appended::default()
    }
}

fn engine(breakers: usize, clock: &dyn Clock) -> Result<Arc<Engine>> {
    let mut layer = Layer::default();
    layer.set(Field::FailureThreshold, Value::Count(1_000_000)).map_err(|problem| problem.to_string())?;
    let services = BTreeMap::from([("db".to_owned(), layer)]);
    let declaration = Declaration { enabled: true, services, ..Declaration::default() };
    let catalog = Arc::new(Catalog::new(&declaration, 1, &BTreeMap::new()).expect("thresholds"));
    let limits = Limits {
        breakers_max: breakers + 9,
        breakers_per_service_max: breakers + 9,
        breakers_per_caller_max: breakers + 9,
        own_series_max: 0,
        idle_ttl: Duration::from_hours(1),
    };
    let (seals, numbering) = (Seals::new(&[7; 16]), Numbering::Store);
    let identity = StoreIdentity { seals, timeline: 0, issuer: 1, numbering };
    Ok(Arc::new(Engine::new(limits, identity, &catalog, Box::new(Nowhere), clock.now())))
}

async fn measure(url: &str, store: &Arc<dyn CountStore>, breakers: usize) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let measured = Arc::new(Measured {
        store: Arc::clone(store),
        statements: AtomicU64::new(0),
        rounds: AtomicU64::new(0),
        written: AtomicU64::new(0),
        read: AtomicU64::new(0),
        micros: AtomicU64::new(0),
    });
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut engines = Vec::new();
    for replica in 0..REPLICAS {
        let engine = engine(breakers, &*clock)?;
        let name = format!("replica-{replica}").into();
        let boot = (breakers * 10 + replica) as u64;
        let sharing = CountSharing::new(
            Arc::clone(&engine),
            measured.clone(),
            Arc::clone(&clock),
            Arc::default(),
            name,
            boot,
        );
        tasks.spawn(sharing.run(stop.clone()));
        engines.push(engine);
    }
    let call = |breaker: usize| -> Result<()> {
        let name = breaker.to_string();
        let target = Target { permit: None, service: "db", name: &name, epoch: None };
        engines[breaker % REPLICAS].record(target, &Report::plain(Outcome::Failure), clock.now())?;
        Ok(())
    };
    // A breaker that no replica has is not published by it.
    for engine in &engines {
        for breaker in 0..breakers {
            engine.allow("db", &breaker.to_string(), clock.now())?;
        }
    }
    // All are hot, and known to each other.
    let mut calls = (0..breakers).cycle();
    let run = async |calls: &mut dyn Iterator<Item = usize>, time: Duration| -> Result<()> {
        let (begun_at, mut done) = (Instant::now(), 0);
        while begun_at.elapsed() < time {
            let due = usize::try_from(begun_at.elapsed().as_millis())? * breakers / 1_000;
            for breaker in (&mut *calls).take(due - done) {
                call(breaker)?;
            }
            done = due;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    run(&mut calls, Duration::from_secs(3)).await?;
    let before = Sums::of(&measured);
    let begun_at = Instant::now();
    run(&mut calls, MEASURED).await?;
    let (after, seconds) = (Sums::of(&measured), begun_at.elapsed().as_secs_f64());
    let mut connection = PgConnection::connect(url).await?;
    let row_bytes: f64 =
        sqlx::query_scalar("SELECT coalesce(avg(pg_column_size(counts)), 0)::float8 FROM counts")
            .fetch_one(&mut connection)
            .await?;
    stop.cancel();
    tasks.join_all().await;
    let rate = |of: fn(&Sums) -> f64| (of(&after) - of(&before)) / seconds;
    let statements = rate(|sums| sums.statements);
    let (written, read) = (rate(|sums| sums.written), rate(|sums| sums.read));
    println!(
        "| {breakers} | {statements:.0} | {:.1} | {:.1} | {written:.0} | {read:.0} | {row_bytes:.0} | {:.2} and {:.2} |",
        rate(|sums| sums.rounds) / 3.0,
        rate(|sums| sums.micros) / 1_000.0 / statements,
        written * row_bytes / 1e6,
        read * row_bytes / 1e6,
    );
    Ok(())
}

struct Sums {
    statements: f64,
    rounds: f64,
    written: f64,
    read: f64,
    micros: f64,
}

impl Sums {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn of(measured: &Measured) -> Self {
        let of = |sum: &AtomicU64| sum.load(Relaxed) as f64;
        Self {
            statements: of(&measured.statements),
            rounds: of(&measured.rounds),
            written: of(&measured.written),
            read: of(&measured.read),
            micros: of(&measured.micros),
        }
    }
}
