//! What a change of one service costs beside many others: `UpdateConfig` behind the edge, on SQLite.
//!
//! A change is planned on the whole configuration and told to every breaker; so what ten thousand services and a hundred
//! thousand breakers add to it is measured, against a handful in the same run.
//!
//! `cargo bench --bench control`

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use breaker::{Attribution, Field, Layer, Time, Value};
use breakerd::app::Loaded;
use breakerd::catalog::Declaration;
use breakerd::control::{LayerChange, Update, first_configuration};
use breakerd::engine::{Limits, Seals};
use breakerd::journal::{Journal, JournalOptions};
use breakerd::metrics::Metrics;
use breakerd::runtime::{Parts, Runtime};
use breakerd::store::{Target, open};
use breakerd_common::clock::{Clock, SystemClock};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const CHANGES: u32 = 200;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let few = changes(10, 100).await?;
    let many = changes(10_000, 100_000).await?;
    println!("one change of thresholds, the store's part included, p50 of {CHANGES}:");
    println!("      10 services,     100 breakers: {:6.2} ms", millis(few));
    println!("  10,000 services, 100,000 breakers: {:6.2} ms", millis(many));
    println!("  what the many add: {:.2} ms", millis(many.saturating_sub(few)));
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long one change takes, in the middle.
async fn changes(services: usize, breakers: usize) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let store = open(&Target::Sqlite(folder.path().join("breakerd.db"))).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let options = JournalOptions {
        replica: "here".into(),
        boot: 1,
        bytes_max: 64 << 20,
        breakers_max: 1_000,
        clock: Arc::clone(&clock),
    };
    let (journal, _) = Journal::open(&folder.path().join("journal"), options)?;
    let journal = Arc::new(journal);
    let seals = Seals::new(&[7; 16]);
    let declared = declaration(services)?;
    let configuration = first_configuration(&*store, &seals, Some(&declared)).await?;
    let limits = Limits {
        breakers_max: breakers + services,
        breakers_per_service_max: breakers + services,
        breakers_per_caller_max: breakers + services,
        own_series_max: 1_000,
        idle_ttl: Duration::from_hours(1),
    };
    let runtime = Runtime::assemble(Parts {
        clock,
        store: Arc::clone(&store),
        meta: store.meta().await?,
        journal,
        configuration,
        limits,
        issuer: 1,
        shared: None,
        watch: Metrics::default().watch.clone(),
        tracer: None,
        webhooks: None,
    });
    let Loaded { engine, control, .. } = runtime.loaded;
    for index in 0..breakers {
        engine.allow(&format!("service-{}", index % services), &index.to_string(), Time::from_micros(1))?;
    }
    let mut took = Vec::new();
    for count in 0..CHANGES {
        let change = LayerChange::Fields(vec![(Field::SuccessThreshold, Some(Value::Count(1 + count % 4)))]);
        let update = Update {
            service: "service-7".to_owned(),
            change,
            etag: None,
            must_exist: false,
            validate_only: false,
            request: None,
            attribution: Attribution { actor: "bench".to_owned(), reason: String::new() },
        };
        let begun_at = Instant::now();
        control.update(update).await?;
        took.push(begun_at.elapsed());
    }
    store.close().await;
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

fn declaration(services: usize) -> Result<Declaration> {
    let layer = |index: usize| -> Result<Layer> {
        let failures = u32::try_from(index % 9 + 1)?;
        let layer = Layer::default().with(Field::FailureThreshold, Value::Count(failures));
        Ok(layer?.with(Field::Timeout, Value::Duration(Duration::from_secs(30)))?)
    };
    let services: Result<BTreeMap<_, _>> =
        (0..services).map(|index| Ok((format!("service-{index}"), layer(index)?))).collect();
    Ok(Declaration { enabled: true, services: services?, ..Declaration::default() })
}
