//! What each statement of a replica costs: how long it takes, and bytes to Postgres and back, alone and in a batch.
//!
//! With the number of statements of the simulation (`src/replica/simulation/scale.rs`) it says what so many replicas ask of one
//! Postgres (docs/replication.md).
//!
//! `scripts/with-postgres.sh cargo bench --bench statements`: in the Postgres that `BREAKERD_TEST_POSTGRES_URL` names.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "statements/relay.rs"]
mod relay;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use breaker::{
    AfterMaxWait, AgedCalls, CallCounts, CausingOutcome, FailureRun, HalfOpenTerms, Key, Numbering, Probe,
    ProbeClaim, ProbeOutcome, ProbeReport, PublishedCounts, Reason, Snapshot, State, Stats, Time, Transition,
};
use breakerd::store::{
    Change, CountExchange, LiveReplica, ProbeRequest, ProbeResponse, Proposal, RowCursor, Shared,
    TransitionId, open_shared,
};
use relay::Relay;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: u64 = 30;
/// The size of a batch.
const MANY: u64 = 100;
const DATABASE: &str = "bench_statements";

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let Ok(server) = std::env::var("BREAKERD_TEST_POSTGRES_URL") else {
        println!("BREAKERD_TEST_POSTGRES_URL is not set, nothing is measured");
        return Ok(());
    };
    let mut admin = PgConnection::connect(&server).await?;
    for statement in [format!("DROP DATABASE IF EXISTS {DATABASE}"), format!("CREATE DATABASE {DATABASE}")] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
    }
    let (before, _) = server.rsplit_once('/').ok_or("a URL with a database")?;
    let (user, host) = before.rsplit_once('@').ok_or("a URL with a user")?;
    let (relay, address) = Relay::to(host).await?;
    let shared = open_shared(&format!("{user}@{address}/{DATABASE}")).await?;
    let mut bench = Bench { shared, relay, seq: 0 };
    println!("| statement | of | ms, median | bytes to Postgres | and back |\n|---|---|---|---|---|");
    for many in [1, MANY] {
        bench.transitions(many).await?;
    }
    for many in [0, MANY] {
        bench.polls(many).await?;
    }
    for many in [0, 1, MANY, 1_000] {
        bench.counts(many).await?;
    }
    bench.presence().await?;
    bench.shared.store.close().await;
    Ok(())
}

struct Bench {
    shared: Shared,
    relay: Arc<Relay>,
    seq: u64,
}

/// One statement, round by round.
#[derive(Default)]
struct Rounds {
    took: Vec<Duration>,
    sent: u64,
    received: u64,
}

impl Rounds {
    async fn time<T, E>(
        &mut self,
        relay: &Relay,
        call: impl Future<Output = std::result::Result<T, E>>,
    ) -> std::result::Result<T, E> {
        let (before, begun_at) = (relay.bytes(), Instant::now());
        let answer = call.await?;
        self.took.push(begun_at.elapsed());
        let after = relay.bytes();
        self.sent += after.0 - before.0;
        self.received += after.1 - before.1;
        Ok(answer)
    }

    fn print(&mut self, what: &str, of: u64) {
        self.took.sort_unstable();
        let rounds = self.took.len() as u64;
        let median = self.took.get(self.took.len() / 2).copied().unwrap_or_default();
        println!(
            "| {what} | {of} | {:.1} | {} | {} |",
            median.as_secs_f64() * 1_000.0,
            self.sent / rounds,
            self.received / rounds
        );
    }
}

impl Bench {
    fn next_id(&mut self) -> TransitionId {
        self.seq += 1;
        TransitionId { replica: Arc::from("replica-1"), boot: 1, seq: self.seq }
    }

    /// Breakers open and become half-open, their probes are claimed, and one that fails opens each again.
    async fn transitions(&mut self, many: u64) -> Result<()> {
        let mut rounds: [Rounds; 4] = Default::default();
        let [opened, half_opened, claimed, settled] = &mut rounds;
        for round in 0..ROUNDS {
            let keys =
                (0..many).map(|n| Ok(Key::new("payments", &format!("dependency-{many}-{round}-{n}"))?));
            let keys = keys.collect::<Result<Vec<_>>>()?;
            for (to, epoch, timed) in
                [(State::Open, 0, &mut *opened), (State::HalfOpen, 1, &mut *half_opened)]
            {
                let proposals: Vec<_> =
                    keys.iter().map(|key| proposal(self.next_id(), key, to, epoch)).collect();
                timed.time(&self.relay, self.shared.shared.propose_shared(&proposals)).await?;
            }
            let claims: Vec<_> = keys
                .iter()
                .map(|key| {
                    let claim = ProbeClaim { epoch: 2, nonces: vec![self.seq], sent_at: Time::ZERO };
                    ProbeRequest::Claim { key: key.clone(), claim, timeline: 0 }
                })
                .collect();
            let answers = claimed.time(&self.relay, self.shared.shared.ask_probes(&claims)).await?;
            let mut outcomes = Vec::with_capacity(keys.len());
            for (key, answer) in keys.iter().zip(answers) {
                let ProbeResponse::Claimed { grant: Some(grant), .. } = answer else {
                    return Err(format!("{answer:?}").into());
                };
                outcomes.push(failed(self.next_id(), key, grant.probes[0]));
            }
            settled.time(&self.relay, self.shared.shared.ask_probes(&outcomes)).await?;
        }
        for (rounds, what) in
            rounds.iter_mut().zip(["a trip", "to half-open", "a claim of a probe", "an outcome that opens"])
        {
            rounds.print(what, many);
        }
        Ok(())
    }

    /// What another replica wrote is read.
    async fn polls(&mut self, many: u64) -> Result<()> {
        let (mut rounds, mut cursor) = (Rounds::default(), RowCursor::default());
        loop {
            let page = self.shared.shared.rows_after(&cursor, &[cursor.revision], 1_000).await?;
            cursor = page.next;
            if page.is_last {
                break;
            }
        }
        for round in 0..ROUNDS {
            let proposals: Vec<_> = (0..many)
                .map(|n| {
                    let key = Key::new("payments", &format!("polled-{round}-{n}"))?;
                    Ok(proposal(self.next_id(), &key, State::Open, 0))
                })
                .collect::<Result<_>>()?;
            self.shared.shared.propose_shared(&proposals).await?;
            let page = rounds
                .time(&self.relay, self.shared.shared.rows_after(&cursor, &[cursor.revision], 1_000))
                .await?;
            cursor = page.next;
        }
        rounds.print("a poll", many);
        Ok(())
    }

    /// As many breakers are published as are read of one other replica.
    async fn counts(&mut self, many: u64) -> Result<()> {
        let mut rounds = Rounds::default();
        for round in 0..2 * ROUNDS {
            let published = (0..many)
                .map(|n| Ok((Key::new("payments", &format!("dependency-{n}"))?, counts(round))))
                .collect::<Result<_>>()?;
            let exchange = CountExchange {
                replica: Arc::from("replica"),
                boot: 1 + round % 2,
                timeline: 0,
                published,
                hints: false,
                fresher_than: Duration::from_secs(1),
                live_within: Duration::from_secs(3),
                after: None,
                limit: 4_000,
            };
            rounds.time(&self.relay, self.shared.counts.exchange_counts(&exchange)).await?;
        }
        rounds.print("counts, published and read", many);
        // They are not fresh for the next.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    async fn presence(&mut self) -> Result<()> {
        let mut rounds = Rounds::default();
        for _ in 0..ROUNDS {
            let own = LiveReplica {
                name: "replica-1".to_owned(),
                boot: 1,
                version: "1.0.0".to_owned(),
                uptime: Duration::from_hours(1),
                revision: 1_000_000,
                waiting: 0,
                permit_key: 1,
            };
            rounds.time(&self.relay, self.shared.replicas.note_replica(&own)).await?;
        }
        rounds.print("the row of a replica", 1);
        Ok(())
    }
}

fn proposal(id: TransitionId, key: &Key, to: State, base_epoch: u64) -> Proposal {
    let is_open = to == State::Open;
    let after = Snapshot {
        epoch: base_epoch + 1,
        state: to,
        open_count: 1,
        entered_at: Time::from_micros(1_735_689_600_000_000),
        // Over at once, so that it can become half-open.
        wait: is_open.then_some(Duration::from_micros(1)),
        half_open: (!is_open).then_some(HalfOpenTerms {
            permitted: 2,
            failures_to_open: 1,
            slow_to_open: None,
            lease: Duration::from_mins(1),
            max_wait: None,
            after_max_wait: AfterMaxWait::Open,
        }),
        config_revision: 1,
        ..Snapshot::pristine()
    };
    let outcome = CausingOutcome { error_class: "Timeout".to_owned(), caller: "web-1".to_owned() };
    let transition = Transition {
        from: if is_open { State::Closed } else { State::Open },
        reason: if is_open { Reason::ConsecutiveFailures } else { Reason::WaitElapsed },
        stats: Stats { consecutive_failures: 5, calls: 20, failures: 7, ..Stats::default() },
        base_epoch,
        at: after.entered_at,
        lasted: Some(Duration::from_mins(1)),
        rejected_calls: 12,
        outcome: is_open.then_some(outcome),
        attribution: None,
        after,
        shadow: false,
    };
    Proposal {
        id,
        key: key.clone(),
        change: Change::Transition(Box::new(transition)),
        numbering: Numbering::Store,
        store_unavailable: false,
        decided_at: Time::ZERO,
        service_override: None,
        age: Duration::ZERO,
        decided_in: breakerd::store::DecidedIn::default(),
    }
}

fn failed(id: TransitionId, key: &Key, probe: Probe) -> ProbeRequest {
    let report = ProbeReport {
        epoch: 2,
        probe,
        outcome: Some(ProbeOutcome { failed: true, slow: false }),
        causing: CausingOutcome { error_class: "Timeout".to_owned(), caller: "web-1".to_owned() },
        wait: Duration::from_micros(1),
        retry_after: None,
        config_revision: 1,
        rejected_calls: 3,
    };
    ProbeRequest::Settle { key: key.clone(), id, report, age: Duration::ZERO }
}

/// Of a breaker that has been called for some seconds.
fn counts(round: u64) -> PublishedCounts {
    let calls = |calls| CallCounts { successes: calls, failures: calls, ..CallCounts::default() };
    let part = |age| AgedCalls { age: Some(Duration::from_secs(age)), calls: calls(20) };
    PublishedCounts {
        epoch: 0,
        series: 1,
        total: calls(100 + round),
        window: (0..10).rev().map(part).collect(),
        run: Some(FailureRun { failures: 1, age: Duration::from_millis(20) }),
        success_age: Some(Duration::from_millis(30)),
        failed_callers: Vec::new(),
        slow_callers: Vec::new(),
        trouble_age: Some(Duration::from_millis(20)),
    }
}
