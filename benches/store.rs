//! How many transitions a second each store takes, beside what its database can do at the most, in the same run.
//!
//! The floor ([`floor`]) is a row of the history in a table without an index, and the row of a breaker, of the same sizes and as
//! durable: what a transition cannot do without. It says what the machine and its disk can do today; what counts is the ratio.
//!
//! `cargo bench --bench store`; Postgres too where `BREAKERD_TEST_POSTGRES_URL` names one that is to be filled
//! (`scripts/with-postgres.sh cargo bench --bench store`).

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "store/floor.rs"]
mod floor;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use breaker::{
    CausingOutcome, HalfOpenTerms, Key, Numbering, Reason, Snapshot, State, Stats, Time, Transition,
};
use breakerd::store::{Change, Proposal, Store, Target, TransitionId, open};
use floor::Floor;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// As many as the journal's writer takes at one time.
const BATCH: usize = 1_000;
const BREAKERS: usize = 50_000;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("breakerd.db");
    println!("SQLite");
    let floor = floor::sqlite(&folder.path().join("floor.db")).await?;
    let store = open(&Target::Sqlite(path)).await?;
    run(&*store, &floor).await?;
    store.close().await;

    let Ok(url) = std::env::var("BREAKERD_TEST_POSTGRES_URL") else {
        println!("Postgres: BREAKERD_TEST_POSTGRES_URL is not set, not measured");
        return Ok(());
    };
    println!("Postgres");
    let floor = floor::postgres(&url).await?;
    let store = open(&Target::Postgres(url)).await?;
    run(&*store, &floor).await?;
    store.close().await;
    Ok(())
}

/// Each breaker opens (a burst), then each turns half-open and closes.
async fn run(store: &dyn Store, floor: &Floor) -> Result<()> {
    let keys = (0..BREAKERS).map(|n| Ok(Key::new(&format!("service-{}", n % 50), &n.to_string())?));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let mut seq = 0;
    let Floor { history, new_states, changed_states } = floor;
    println!(
        "  floor, rows a second: history {history:8.0}, new breakers {new_states:8.0}, changed ones {changed_states:8.0}"
    );
    for (what, from, to, base_epoch) in [
        ("opened", State::Closed, State::Open, 0),
        ("half-open", State::Open, State::HalfOpen, 1),
        ("closed", State::HalfOpen, State::Closed, 2),
    ] {
        let proposals: Vec<_> = keys
            .iter()
            .map(|key| {
                seq += 1;
                proposal(seq, key, from, to, base_epoch)
            })
            .collect();
        let begun_at = Instant::now();
        for batch in proposals.chunks(BATCH) {
            store.propose(batch).await?;
        }
        let rate = per_second(BREAKERS, begun_at.elapsed());
        let most = floor.transitions(base_epoch == 0);
        println!("  {what:>9}: {rate:8.0} transitions/s, floor {most:8.0}, ratio {:.2}", rate / most);
    }
    Ok(())
}

fn per_second(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

fn proposal(seq: u64, key: &Key, from: State, to: State, base_epoch: u64) -> Proposal {
    let at = Time::from_micros(1_735_689_600_000_000 + base_epoch * 60_000_000 + seq);
    let after = Snapshot {
        epoch: base_epoch + 1,
        state: to,
        open_count: u32::from(to != State::Closed),
        entered_at: at,
        wait: (to == State::Open).then_some(Duration::from_mins(1)),
        half_open: (to == State::HalfOpen).then_some(HalfOpenTerms {
            permitted: 10,
            failures_to_open: 5,
            slow_to_open: None,
            lease: Duration::from_mins(1),
            max_wait: None,
            after_max_wait: breaker::AfterMaxWait::Open,
        }),
        config_revision: 1,
        ..Snapshot::pristine()
    };
    let outcome = CausingOutcome { error_class: "Timeout".to_owned(), caller: "web-1".to_owned() };
    let transition = Transition {
        from,
        reason: match to {
            State::Open => Reason::ConsecutiveFailures,
            State::HalfOpen => Reason::WaitElapsed,
            _ => Reason::ProbesSucceeded,
        },
        stats: Stats { consecutive_failures: 5, calls: 20, failures: 7, ..Stats::default() },
        base_epoch,
        at,
        lasted: Some(Duration::from_mins(1)),
        rejected_calls: 12,
        outcome: (to != State::HalfOpen).then_some(outcome),
        attribution: None,
        after,
        shadow: false,
    };
    Proposal {
        id: TransitionId { replica: Arc::from("bench"), boot: 1, seq },
        key: key.clone(),
        change: Change::Transition(Box::new(transition)),
        numbering: Numbering::Own,
        store_unavailable: false,
        decided_at: Time::ZERO,
        service_override: None,
        age: Duration::ZERO,
        decided_in: breakerd::store::DecidedIn::default(),
    }
}
