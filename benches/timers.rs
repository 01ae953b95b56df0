//! What 60,000 breakers whose wait ends at one moment cost somebody who calls another one.
//!
//! Calls arrive at a fixed rate at a runtime of one thread, from a thread of their own as from a network, and each is
//! counted from when it was due: alone, beside the timer that keeps to the pace of the journal, and beside all changes in
//! one go. The journal is a real one, and so is SQLite behind it.
//!
//! `cargo bench --bench timers`

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use breaker::{Field, Layer, Numbering, Outcome, Report, Time, Value};
use breakerd::catalog::Catalog;
use breakerd::catalog::Declaration;
use breakerd::engine::{Engine, EngineError, Limits, Seals, StoreIdentity, Target};
use breakerd::journal::writer::Writer;
use breakerd::journal::{Journal, JournalOptions};
use breakerd::pacer;
use breakerd::store::{Target as StoreTarget, open};
use breakerd_common::clock::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const DUE: usize = 60_000;
const WAIT: Duration = Duration::from_hours(1);
/// From one call to the next.
const CALL_EVERY: Duration = Duration::from_micros(100);
const CALLS: u32 = 20_000;
/// From the first call to the moment at which the others are due.
const AFTER_FIRST_CALL: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy)]
enum Timer {
    None,
    Paced,
    InOneGo,
}

fn main() -> Result<()> {
    println!(
        "a call of an unrelated breaker, {CALLS} of them every {CALL_EVERY:?}, beside {DUE} that are due:"
    );
    for (what, timer) in [("none", Timer::None), ("paced", Timer::Paced), ("in one go", Timer::InOneGo)] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut took = runtime.block_on(measure(timer))?;
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e6;
        println!("  {what:>10}: p50 {:8.1} us, p99 {:10.1} us, longest {:10.1} us", at(50), at(99), at(100));
    }
    Ok(())
}

async fn measure(timer: Timer) -> Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let store = open(&StoreTarget::Sqlite(folder.path().join("breakerd.db"))).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let options = JournalOptions {
        replica: "here".into(),
        boot: 1,
        bytes_max: 64 << 20,
        breakers_max: DUE + 1,
        clock: Arc::clone(&clock),
    };
    let (journal, _) = Journal::open(&folder.path().join("journal"), options)?;
    let journal = Arc::new(journal);
    let stop = CancellationToken::new();
    let writer = tokio::spawn(Writer::new(Arc::clone(&journal), store.clone()).run(stop.clone()));
    let runtime = tokio::runtime::Handle::current();
    let engine = with_open_breakers(&journal, &*clock).await?;

    let (called, calls_clock) = (Arc::clone(&engine), Arc::clone(&clock));
    let took = tokio::task::spawn_blocking(move || call(&runtime, &called, &calls_clock));
    tokio::time::sleep(AFTER_FIRST_CALL).await;
    let (ticking, paced_by, time) = (Arc::clone(&engine), Arc::clone(&journal), Arc::clone(&clock));
    let ticked = tokio::spawn(async move {
        let due = time.now() + WAIT;
        match timer {
            Timer::None => {}
            Timer::InOneGo => ticking.tick(due),
            Timer::Paced => {
                let turn_some = move |engine: &mut Arc<Engine>, most| engine.tick_some(most, due);
                pacer::run(&paced_by, &time, ticking, turn_some).await?;
            }
        }
        Ok::<_, tokio::task::JoinError>(())
    });
    let took = took.await??;
    ticked.await??;
    stop.cancel();
    writer.await?;
    store.close().await;
    Ok(took)
}

async fn with_open_breakers(journal: &Arc<Journal>, clock: &dyn Clock) -> Result<Arc<Engine>> {
    let limits = Limits {
        breakers_max: DUE + 10,
        breakers_per_service_max: DUE + 10,
        breakers_per_caller_max: DUE + 10,
        own_series_max: 1_000,
        idle_ttl: WAIT,
    };
    let standing =
        StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer: 1, numbering: Numbering::Own };
    let defaults = Layer::default()
        .with(Field::FailureThreshold, Value::Count(1))?
        .with(Field::Timeout, Value::Duration(WAIT))?;
    let declaration = Declaration { enabled: true, defaults, ..Declaration::default() };
    let catalog = Catalog::new(&declaration, 1, &BTreeMap::new());
    let catalog = Arc::new(catalog.map_err(|problems| format!("{problems:?}"))?);
    let engine = Engine::new(limits, standing, &catalog, Box::new(Arc::clone(journal)), clock.now());
    for index in 0..DUE {
        let name = index.to_string();
        let target = Target { permit: None, service: "due", name: &name, epoch: None };
        engine.record(target, &Report::plain(Outcome::Failure), clock.now())?;
        if index % 1_000 == 0 {
            journal.has_room().await;
        }
    }
    journal.emptied().await;
    Ok(Arc::new(engine))
}

/// How long each call took, from when it was due.
fn call(
    runtime: &tokio::runtime::Handle,
    engine: &Arc<Engine>,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Duration>> {
    let (answers, answered) = mpsc::channel();
    let begun_at = Instant::now();
    for index in 0..CALLS {
        let due_at = begun_at + CALL_EVERY * index;
        std::thread::sleep(due_at.saturating_duration_since(Instant::now()));
        let (engine, clock, answers) = (Arc::clone(engine), Arc::clone(clock), answers.clone());
        runtime.spawn(async move {
            let done = allow_and_record(&engine, clock.now());
            // Whoever waits for it has failed if it cannot be sent.
            let _ = answers.send(done.map(|()| due_at.elapsed()));
        });
    }
    drop(answers);
    answered.into_iter().map(|answer| Ok(answer?)).collect()
}

fn allow_and_record(engine: &Engine, now: Time) -> std::result::Result<(), EngineError> {
    let permit = engine.allow("other", "", now)?.permit;
    let target = Target { permit, service: "", name: "", epoch: None };
    engine.record(target, &Report::plain(Outcome::Success), now)?;
    Ok(())
}
