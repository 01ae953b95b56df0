//! How often a replica and Postgres wait for each other in one transaction: others wait for the revision's row meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use breaker::State;
use breakerd::store::{Access, PostgresStore, Proposal, SharedStore as _, StoreAdmin as _};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::bed::{SharedBed, claim, claimed, failed, to_half_open};
use crate::store_contract::change::{key, proposed};
use crate::support::new_database;

/// Between a replica and Postgres. Counts for each connection how often the replica spoke after Postgres had.
struct Relay {
    url: String,
    turns: Arc<Mutex<Vec<Arc<AtomicUsize>>>>,
}

impl Relay {
    async fn to(url: &str) -> Self {
        let (before, database) = url.rsplit_once('/').unwrap();
        let (scheme_and_user, host) = before.rsplit_once('@').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme_and_user}@{}/{database}", listener.local_addr().unwrap());
        let (turns, host) = (Arc::<Mutex<Vec<Arc<AtomicUsize>>>>::default(), host.to_owned());
        let all = Arc::clone(&turns);
        tokio::spawn(async move {
            while let Ok((replica, _)) = listener.accept().await {
                let turns = Arc::<AtomicUsize>::default();
                all.lock().push(Arc::clone(&turns));
                tokio::spawn(relay(replica, TcpStream::connect(host.clone()).await.unwrap(), turns));
            }
        });
        Self { url, turns }
    }

    /// The most that one connection has spoken since the last time.
    fn take(&self) -> usize {
        self.turns.lock().iter().map(|turns| turns.swap(0, Relaxed)).max().unwrap_or(0)
    }
}

async fn relay(mut replica: TcpStream, mut postgres: TcpStream, turns: Arc<AtomicUsize>) {
    replica.set_nodelay(true).unwrap();
    postgres.set_nodelay(true).unwrap();
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut is_answered = true;
    loop {
        tokio::select! {
            read = replica.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                turns.fetch_add(usize::from(std::mem::take(&mut is_answered)), Relaxed);
                postgres.write_all(&asked[..read]).await.unwrap();
            }
            read = postgres.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                is_answered = true;
                if replica.write_all(&answered[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Three of them are before the revision's row is locked: the connection is tried, `BEGIN`, and the lock itself.
#[tokio::test]
async fn a_transition_takes_six_round_trips_and_an_outcome_that_decides_nine() {
    let direct = new_database().await;
    let relay = Relay::to(&direct).await;
    let store = Arc::new(PostgresStore::connect(&relay.url, Access::Shared).await.unwrap());
    let bed = SharedBed::of_postgres(Arc::clone(&store), direct);
    let (open, closed) = (State::Open, State::Closed);
    // The fewest of some rounds: a connection prepares each statement at its first use, and a message that Postgres begins to
    // answer before all of it has come is counted twice.
    let mut fewest = [usize::MAX; 6];
    for round in 0..12 {
        let key = |name: &str| key(name, &round.to_string());
        let (a, b) = (key("a"), key("b"));
        let seq = round * 10;
        let mut turns = Vec::with_capacity(fewest.len());
        let changes: [Proposal; 3] = [
            proposed(seq, &a, closed, open, 0),
            proposed(seq + 1, &a, open, closed, 1),
            to_half_open(seq + 2, &b, closed, 0, (1, 1)),
        ];
        for change in changes {
            relay.take();
            store.propose_shared(&[change]).await.unwrap();
            turns.push(relay.take());
        }
        let probe =
            claimed(store.ask_probes(&[claim(&b, 1, &[7])]).await.unwrap().remove(0)).0.unwrap().probes[0];
        turns.push(relay.take());
        store.ask_probes(&[failed(&b, probe)]).await.unwrap();
        turns.push(relay.take());
        store.ask_probes(&[failed(&b, probe)]).await.unwrap();
        turns.push(relay.take());
        for (fewest, turns) in fewest.iter_mut().zip(turns) {
            *fewest = turns.min(*fewest);
        }
    }
    let expected = [6, 6, 6, 8, 9, 9];
    assert_eq!(
        fewest, expected,
        "new, an outage that ends, new, a claim, an outcome that decides, its repeat"
    );
    store.close().await;
    bed.end().await;
}
