//! The Rust client: what a protected call costs in local and in remote mode, beside an unprotected one and beside libraries that decide
//! within a process; and how long a trip takes from one process to another.
//!
//! breakerd is a process of its own. Promise (docs/benchmarks.md): a decision in local mode takes at most 50 ns, and a protected call at most
//! twice that of the fastest library. All are measured in turn, in rounds; the fastest and the median round are printed.
//!
//! `cargo bench --bench client`

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod server;

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use breakerd_client::{Breaker, Client, Mode, Permit, State};
use tower::{Layer as _, Service as _};

use server::Server;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 9;
const CALLS: u32 = 400_000;
const THREADS: u32 = 8;
const BREAKERS: usize = 10_000;
const TRIPS: usize = 300;
/// Each failure opens.
const CONFIG: &str = "[circuit_breaker]\nfailure_threshold = 1\ntimeout_seconds = 600\n";
const REMOTE_CALLS: u32 = 2_000;

fn main() -> Result<()> {
    let server = Server::start(CONFIG, &[])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = connect(&server, Mode::Local).await?;
        calls(&client).await?;
        threads(&client)?;
        many(&client)?;
        let remote = connect(&server, Mode::Remote).await?;
        remote_calls(&remote).await?;
        trips(&server).await
    })
}

async fn connect(server: &Server, mode: Mode) -> Result<Client> {
    let client = Client::builder(&*server.address)
        .mode(mode)
        .deadline(Duration::from_secs(1))
        .wait_for_first_snapshot(Duration::from_secs(30))
        .connect()
        .await?;
    if client.is_connected() { Ok(client) } else { Err("not connected".into()) }
}

/// What one call took in each round, in nanoseconds.
#[derive(Default)]
struct Rounds(Vec<f64>);

impl Rounds {
    fn add(&mut self, begun: Instant, calls: u32) {
        self.0.push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }

    fn fastest(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn median(&mut self) -> f64 {
        self.0.sort_by(f64::total_cmp);
        self.0[self.0.len() / 2]
    }

    fn print(&mut self, what: &str) {
        println!("{what:<58} {:>9.1} ns fastest {:>9.1} ns median", self.fastest(), self.median());
    }
}

/// The call that is protected.
#[inline(never)]
async fn work(value: u32) -> std::result::Result<u32, std::io::Error> {
    Ok(black_box(value))
}

async fn calls(client: &Client) -> Result<()> {
    let breaker = client.breaker("closed")?;
    let open = opened(client, "open").await?;
    let failsafe = failsafe::Config::new().build();
    let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder().build()?;
    let mut tower = layer.layer(tower::service_fn(work));
    let (mut none, mut decision, mut guarded, mut rejected) = <(Rounds, Rounds, Rounds, Rounds)>::default();
    let (mut by_failsafe, mut by_failsafe_async, mut by_tower) = <(Rounds, Rounds, Rounds)>::default();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for i in 0..CALLS {
            black_box(work(i).await?);
        }
        none.add(begun, CALLS);
        let begun = Instant::now();
        for _ in 0..CALLS {
            // What a decision alone costs. The permit is neither reported nor dropped.
            std::mem::forget(black_box(breaker.try_acquire()?));
        }
        decision.add(begun, CALLS);
        let begun = Instant::now();
        for i in 0..CALLS {
            black_box(breaker.call(work(i)).await?);
        }
        guarded.add(begun, CALLS);
        let begun = Instant::now();
        for _ in 0..CALLS {
            let _ = black_box(open.try_acquire().is_err());
        }
        rejected.add(begun, CALLS);
        let begun = Instant::now();
        for i in 0..CALLS {
            let result: std::result::Result<u32, failsafe::Error<std::io::Error>> =
                failsafe::CircuitBreaker::call(&failsafe, || Ok(black_box(i)));
            let _ = black_box(result);
        }
        by_failsafe.add(begun, CALLS);
        let begun = Instant::now();
        for i in 0..CALLS {
            let _ = black_box(failsafe::futures::CircuitBreaker::call(&failsafe, work(i)).await);
        }
        by_failsafe_async.add(begun, CALLS);
        let begun = Instant::now();
        for i in 0..CALLS {
            let _ = black_box(tower.call(i).await);
        }
        by_tower.add(begun, CALLS);
    }
    println!("One thread, one breaker");
    none.print("no breaker");
    decision.print("breakerd-client, a decision alone, CLOSED");
    rejected.print("breakerd-client, a decision alone, OPEN");
    guarded.print("breakerd-client, a protected call");
    by_failsafe.print("failsafe, a protected call, not async");
    by_failsafe_async.print("failsafe, a protected call");
    by_tower.print("tower-resilience, a protected call");
    let fastest = by_failsafe_async.fastest().min(by_tower.fastest());
    println!("a protected call, of the fastest library: {:.2}", guarded.fastest() / fastest);
    Ok(())
}

async fn opened(client: &Client, service: &str) -> Result<Breaker> {
    let breaker = client.breaker(service)?;
    breaker.try_acquire()?.failure();
    while breaker.state() != State::Open {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(breaker)
}

fn threads(client: &Client) -> Result<()> {
    let breaker = client.breaker("shared")?;
    let failsafe = failsafe::Config::new().build();
    let (mut guarded, mut by_failsafe) = <(Rounds, Rounds)>::default();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        together(|| {
            for _ in 0..CALLS {
                if let Ok(permit) = breaker.try_acquire() {
                    permit.success();
                }
            }
        });
        guarded.add(begun, CALLS * THREADS);
        let begun = Instant::now();
        together(|| {
            for i in 0..CALLS {
                let result: std::result::Result<u32, failsafe::Error<()>> =
                    failsafe::CircuitBreaker::call(&failsafe, || Ok(black_box(i)));
                let _ = black_box(result);
            }
        });
        by_failsafe.add(begun, CALLS * THREADS);
    }
    println!("\n{THREADS} threads, one breaker: time for each call of all");
    guarded.print("breakerd-client, permit and success");
    by_failsafe.print("failsafe, a protected call, not async");
    Ok(())
}

fn together(work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(&work);
        }
    });
}

fn many(client: &Client) -> Result<()> {
    let before = resident_bytes()?;
    let breakers: Vec<_> = (0..BREAKERS - 10)
        .map(|i| client.breaker(("many", format!("dependency-{i}").as_str())))
        .collect::<std::result::Result<_, _>>()?;
    for breaker in &breakers {
        breaker.try_acquire()?.success();
    }
    let grown = resident_bytes()?.saturating_sub(before);
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let mut order = 1_usize;
        let begun = Instant::now();
        for _ in 0..CALLS {
            // Prime to the number of breakers, so that the next is far away.
            order = (order + 7_919) % breakers.len();
            breakers[order].try_acquire()?.success();
        }
        rounds.add(begun, CALLS);
    }
    println!("\n{} breakers", breakers.len());
    rounds.print("breakerd-client, permit and success");
    println!("memory: {} bytes a breaker", grown / breakers.len());
    Ok(())
}

fn resident_bytes() -> Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    Ok(statm.split(' ').nth(1).ok_or("statm")?.parse::<usize>()? * 4_096)
}

async fn remote_calls(client: &Client) -> Result<()> {
    let breaker = client.breaker("remote")?;
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for i in 0..REMOTE_CALLS {
            breaker.call(work(i)).await?;
        }
        rounds.add(begun, REMOTE_CALLS);
    }
    println!("\nRemote mode, one call after the other");
    rounds.print("breakerd-client, a protected call");
    Ok(())
}

/// From the failure that opens a breaker in one client to the first rejection in another.
async fn trips(server: &Server) -> Result<()> {
    let (one, other) = (connect(server, Mode::Local).await?, connect(server, Mode::Local).await?);
    let mut took = Vec::new();
    for trip in 0..TRIPS {
        let name = format!("dependency-{trip}");
        let (here, there) = (one.breaker(("trips", &*name))?, other.breaker(("trips", &*name))?);
        let permit = here.try_acquire()?;
        let begun = Instant::now();
        permit.failure();
        while there.try_acquire().map(Permit::ignored).is_ok() {
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
        took.push(begun.elapsed());
    }
    took.sort();
    println!("\n{TRIPS} trips, from the failure in one client to the rejection in another");
    println!("p50 {:?}, p99 {:?}", took[took.len() / 2], took[took.len() * 99 / 100]);
    Ok(())
}
