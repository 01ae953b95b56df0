//! How long a start takes: 100,000 breakers stored and 100,000 transitions in the journal, until `/readyz` says ready. The
//! promise (docs/benchmarks.md) is 2 s. Beside it, the same file read line by line and nothing made of it.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use breaker::{Key, Numbering, Reason, Snapshot, State, Stats, Time, Transition};
use breakerd::config::{self, Sources};
use breakerd::engine::{Event, Origin, TransitionSink};
use breakerd::journal::{Journal, JournalOptions};
use breakerd::server::{self, Listeners, Start};
use breakerd::store::{Change, Proposal, Target, TransitionId, open};
use breakerd_common::clock::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const STORED: u64 = 100_000;
const IN_JOURNAL: u64 = 100_000;
const ROUNDS: usize = 5;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let store_id = fill_store(&data).await?;
    let journal = data.join(format!("journal-{store_id:016x}"));
    let file = fill_journal(&journal)?;
    let mut starts = Vec::new();
    let mut reads = Vec::new();
    for _ in 0..ROUNDS {
        // A start sends what the journal has to the store: each begins with the same.
        copy(&data, &folder.path().join("copy"))?;
        reads.push(read_lines(&file)?);
        starts.push(start(&folder.path().join("copy")).await?);
    }
    starts.sort_unstable();
    reads.sort_unstable();
    let (start, read) = (starts[ROUNDS / 2], reads[ROUNDS / 2]);
    println!("{STORED} breakers stored, {IN_JOURNAL} transitions in the journal, p50 of {ROUNDS}:");
    println!(
        "  start to ready: {:.2} s; reading the journal's lines: {:.3} s; ratio {:.1}",
        start.as_secs_f64(),
        read.as_secs_f64(),
        start.as_secs_f64() / read.as_secs_f64()
    );
    Ok(())
}

fn transition(epoch: u64, at: Time) -> Transition {
    Transition {
        from: State::Closed,
        reason: Reason::ConsecutiveFailures,
        stats: Stats { consecutive_failures: 5, ..Stats::default() },
        base_epoch: epoch - 1,
        at,
        lasted: None,
        rejected_calls: 0,
        outcome: None,
        attribution: None,
        after: Snapshot {
            epoch,
            state: State::Open,
            entered_at: at,
            wait: Some(Duration::from_hours(1)),
            ..Snapshot::pristine()
        },
        shadow: false,
    }
}

/// Writes a change of each breaker, and answers the store's id.
async fn fill_store(data: &Path) -> Result<u64> {
    let store = open(&Target::Sqlite(data.join("breakerd.db"))).await?;
    let at = SystemClock::start().now();
    for first in (0..STORED).step_by(1_000) {
        let mut proposals = Vec::new();
        for index in first..first + 1_000 {
            proposals.push(Proposal {
                id: TransitionId { replica: "bench".into(), boot: 1, seq: index },
                key: Key::new("stored", &format!("b{index}"))?,
                change: Change::Transition(Box::new(transition(1, at))),
                numbering: Numbering::Own,
                store_unavailable: false,
                decided_at: Time::ZERO,
                service_override: None,
                age: Duration::ZERO,
                decided_in: breakerd::store::DecidedIn::default(),
            });
        }
        store.propose(&proposals).await?;
    }
    let id = store.meta().await?.store_id;
    store.close().await;
    Ok(id)
}

/// Writes a transition of each of other breakers, and answers the file.
fn fill_journal(folder: &Path) -> Result<std::path::PathBuf> {
    let clock = Arc::new(SystemClock::start());
    let options = JournalOptions {
        replica: "bench".into(),
        boot: 2,
        bytes_max: 1 << 30,
        breakers_max: 1,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
    };
    let (journal, _) = Journal::open(folder, options)?;
    for index in 0..IN_JOURNAL {
        let key = Key::new("journal", &format!("b{index}"))?;
        journal.append(Event {
            key: &key,
            transition: &transition(1, clock.now()),
            origin: Origin::Own,
            numbering: Numbering::Own,
            service_override: None,
            timeline: None,
        });
    }
    Ok(folder.join("000000000001.journal"))
}

fn read_lines(file: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let count = std::io::BufReader::new(std::fs::File::open(file)?).lines().count() as u64;
    assert_eq!(count, IN_JOURNAL);
    Ok(begun.elapsed())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Starts the whole service, and answers how long it took until it was ready.
async fn start(data: &Path) -> Result<Duration> {
    let file = data.join("breakerd.toml");
    std::fs::write(
        &file,
        format!(
            "data_dir = \"{}\"\ngrpc.listen = \"127.0.0.1:0\"\nhttp.listen = \"127.0.0.1:0\"\nlog.level = \"off\"\n\
             limits.breakers_max = 1000000\nshutdown_grace = \"1s\"\n",
            data.display()
        ),
    )?;
    let config = config::load(&Sources::none().with_file(&file)).map_err(|errors| format!("{errors:?}"))?;
    let listeners = Listeners::bind(&config.settings).await?;
    let address = listeners.http.local_addr()?;
    let stop = CancellationToken::new();
    let begun = Instant::now();
    let clock = Arc::new(SystemClock::start());
    let run = server::run(Start { config, sources: None, listeners, clock, greet: None }, stop.clone());
    let ready = async {
        loop {
            let answer = reqwest::get(format!("http://{address}/readyz")).await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = begun.elapsed();
        stop.cancel();
        took
    };
    let (ended, took) = tokio::join!(run, ready);
    ended?;
    Ok(took)
}
