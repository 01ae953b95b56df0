//! A rolling restart, under load, with streams open: no caller notices.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use breakerd_api::v1::watch_transitions_response::Event;
use breakerd_api::v1::{AllowRequestRequest, Outcome, RecordOutcomeRequest, State, WatchTransitionsRequest};
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};

use super::{Replica, Version};
use crate::process::eventually;
use crate::support::{new_database, postgres};

/// Streams that follow the history, on all replicas together.
const WATCHES: usize = 300;
const CALLERS: usize = 6;
/// A client that follows the guide asks another replica when one does not answer.
const ATTEMPTS: usize = 6;

/// Where replicas are now: what a load balancer knows.
#[derive(Clone, Default)]
struct Balancer {
    channels: Arc<Mutex<Vec<Channel>>>,
    next: Arc<AtomicUsize>,
}

impl Balancer {
    fn put(&self, index: usize, replica: &Replica) {
        let channel = Endpoint::from_shared(replica.process.grpc.clone()).unwrap().connect_lazy();
        let mut channels = self.channels.lock();
        if index < channels.len() {
            channels[index] = channel;
        } else {
            channels.push(channel);
        }
    }

    /// Where the next call goes first.
    fn turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Where it goes after so many replicas that did not answer.
    fn channel(&self, turn: usize) -> Channel {
        let channels = self.channels.lock();
        channels[turn % channels.len()].clone()
    }
}

/// Calls whichever replica answers; else says why none did, as often as a client tries.
async fn call<T, F: Future<Output = Result<T, tonic::Status>>>(
    balancer: &Balancer,
    call: impl Fn(Channel) -> F,
) -> Result<T, Vec<tonic::Status>> {
    let (turn, mut statuses) = (balancer.turn(), Vec::new());
    for attempt in 0..ATTEMPTS {
        match call(balancer.channel(turn + attempt)).await {
            Ok(answer) => return Ok(answer),
            Err(status) => statuses.push(status),
        }
        tokio::time::sleep(Duration::from_millis(10 << attempt)).await;
    }
    Err(statuses)
}

struct Traffic {
    stop: AtomicBool,
    decisions: AtomicU64,
    failed: Mutex<Vec<Vec<tonic::Status>>>,
    /// Services of which a caller was told that they are open.
    opened: Mutex<Vec<String>>,
}

/// Calls service after service, each of which fails until it is open.
async fn traffic(balancer: Balancer, traffic: Arc<Traffic>, caller: usize) {
    for number in 0.. {
        let service = format!("s{caller}-{number}");
        loop {
            if traffic.stop.load(Ordering::Relaxed) {
                return;
            }
            let allow = AllowRequestRequest { service: service.clone(), ..Default::default() };
            let allowed = call(&balancer, |channel| {
                let allow = allow.clone();
                async move { BreakerServiceClient::new(channel).allow_request(allow).await }
            });
            traffic.decisions.fetch_add(1, Ordering::Relaxed);
            let allowed = match allowed.await {
                Ok(allowed) => allowed.into_inner(),
                Err(statuses) => {
                    traffic.failed.lock().push(statuses);
                    continue;
                }
            };
            if allowed.state() == State::Open {
                break;
            }
            let outcome = Outcome::Failure.into();
            let record = RecordOutcomeRequest {
                service: service.clone(),
                permit: allowed.permit,
                outcome,
                ..Default::default()
            };
            let recorded = call(&balancer, |channel| {
                let record = record.clone();
                async move { BreakerServiceClient::new(channel).record_outcome(record).await }
            });
            match recorded.await {
                Ok(recorded) if recorded.get_ref().state() == State::Open => {
                    traffic.opened.lock().push(service.clone());
                    break;
                }
                Ok(_) => {}
                Err(statuses) => traffic.failed.lock().push(statuses),
            }
        }
    }
}

/// Follows the history from replica to replica. The ids that it was sent, in their order.
async fn follow(balancer: Balancer, stop: Arc<Traffic>, seen: Arc<Mutex<Vec<String>>>) {
    let mut token = String::new();
    while !stop.stop.load(Ordering::Relaxed) {
        let request = WatchTransitionsRequest { resume_token: token.clone(), ..Default::default() };
        let watch =
            OperationsServiceClient::new(balancer.channel(balancer.turn())).watch_transitions(request).await;
        let Ok(watch) = watch else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut watch = watch.into_inner();
        while let Ok(Some(message)) = watch.message().await {
            match message.event {
                Some(Event::Transition(transition)) => seen.lock().push(transition.id),
                Some(Event::Resync(resync)) => panic!("began again: {resync:?}"),
                _ => {}
            }
            token = message.resume_token;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_decision_and_loses_and_repeats_nothing_for_watchers() {
    rolling(&Version::Present, &Version::Present, WATCHES).await;
}

/// Replaces three replicas of one version, one by one, by those of another.
pub(super) async fn rolling(before: &Version, after: &Version, watches: usize) {
    let url = new_database().await;
    let mut replicas = Replica::three_of(before, &url).await.map(Some);
    let balancer = Balancer::default();
    for (index, replica) in replicas.iter().enumerate() {
        balancer.put(index, replica.as_ref().unwrap());
    }
    let shared = Arc::new(Traffic {
        stop: AtomicBool::new(false),
        decisions: AtomicU64::new(0),
        failed: Mutex::default(),
        opened: Mutex::default(),
    });
    let seen: Vec<_> = (0..watches).map(|_| Arc::<Mutex<Vec<String>>>::default()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for seen in &seen {
        tasks.spawn(follow(balancer.clone(), Arc::clone(&shared), Arc::clone(seen)));
    }
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(traffic(balancer.clone(), Arc::clone(&shared), caller));
    }
    for (index, name) in ["one", "two", "three"].into_iter().enumerate() {
        let before = shared.opened.lock().len();
        eventually("it goes on", async || shared.opened.lock().len() > before + 3).await;
        let Replica { process, folder } = replicas[index].take().unwrap();
        assert!(process.stop().await.success());
        let replica = Replica::of(after, folder, &url, name).await;
        balancer.put(index, &replica);
        replicas[index] = Some(replica);
    }
    let before = shared.opened.lock().len();
    eventually("it goes on", async || shared.opened.lock().len() > before + 3).await;
    shared.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    let (decisions, failed) = (shared.decisions.load(Ordering::Relaxed), shared.failed.lock().clone());
    assert!(failed.is_empty(), "{} of {decisions} decisions failed: {:?}", failed.len(), failed.first());

    // Everything that a caller was told of is there, as what stood or as what came too late to; no epoch is there twice, and
    // every watcher has seen all of it.
    let connection = tokio::sync::Mutex::new(postgres(&url).await);
    let opened = shared.opened.lock().clone();
    let services = "SELECT DISTINCT service FROM transition WHERE to_state = 'OPEN'";
    eventually("the history has what callers were told", async || {
        let stored: BTreeSet<String> = sqlx::query_scalar(services)
            .fetch_all(&mut *connection.lock().await)
            .await
            .unwrap()
            .into_iter()
            .collect();
        opened.iter().all(|service| stored.contains(service))
    })
    .await;
    let repeated =
        "SELECT count(*) FROM (SELECT FROM transition WHERE epoch IS NOT NULL GROUP BY service, name, epoch
                    HAVING count(*) > 1) AS repeated";
    let repeated: i64 = sqlx::query_scalar(repeated).fetch_one(&mut *connection.lock().await).await.unwrap();
    assert_eq!(repeated, 0);
    let ids = "SELECT replica || '-' || boot || '-' || seq FROM transition ORDER BY revision, number";
    eventually("every watcher has seen all of it", async || {
        let all: Vec<String> =
            sqlx::query_scalar(ids).fetch_all(&mut *connection.lock().await).await.unwrap();
        seen.iter().all(|seen| {
            let seen = seen.lock();
            // A watch that began later has the states from before in its snapshot.
            all.ends_with(&seen) && !seen.is_empty()
        })
    })
    .await;
    tasks.abort_all();
}
