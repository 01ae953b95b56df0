//! The network between a replica and Postgres is cut: packets are lost, and nobody is told that a connection has ended.
//!
//! Each replica is in a network namespace of its own, with one link to its callers and another one to Postgres.
//! `tests/e2e/network/run.sh` runs these tests, inside of namespaces where that is allowed.

use std::cell::RefCell;
use std::process::Command;
use std::time::Duration;

use breakerd_api::v1::{
    AllowRequestResponse, GetBreakerRequest, ListReplicasRequest, Outcome, ProbeBreakerRequest,
    ProbeBreakerResponse, ResetBreakerRequest, ResetBreakerResponse, State,
};
use bytes::Bytes;
use tonic::{Code, Status};

use super::outage::superseded;
use super::told::Told;
use super::{Replica, history};
use crate::process::{eventually, log_of, program_in};
use crate::support::new_database;

/// Longer than an answer from memory takes, and shorter than breakerd waits for an answer of Postgres.
const AT_ONCE: Duration = Duration::from_secs(2);

/// No wait, and no probe's lease, is over within a test. Two probes that succeed close.
const CONFIG: &str = "[circuit_breaker]
failure_threshold = 3
timeout_seconds = 600
permitted_number_of_calls_in_half_open_state = 2
success_threshold = 2
half_open_permit_timeout = \"10m\"
";

/// The address of no network card: who has another one does not take a packet to it.
const NOBODY: &str = "02:00:00:00:00:01";

/// What is lost.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Everything: the link is down.
    Link,
    /// What Postgres sends. What the replica sends arrives.
    FromPostgres,
    /// What the replica sends. What Postgres sends arrives.
    ToPostgres,
}

/// The network of a replica.
struct Network {
    namespace: String,
    /// The end of its link to Postgres that is on this side.
    end: String,
    /// Where Postgres is, for the replica, and where the replica is, for Postgres.
    postgres: String,
    replica: String,
    /// Where callers reach the replica.
    host: String,
}

impl Network {
    /// Of one replica of a test. It goes away with the namespaces of all.
    fn make(test: u8, replica: u8) -> Self {
        assert!(
            std::env::var_os("BREAKERD_TEST_IN_NAMESPACES").is_some(),
            "this test changes networks: tests/e2e/network/run.sh runs it, in namespaces of its own"
        );
        let namespace = format!("r{test}-{replica}");
        ip(&format!("netns add {namespace}"));
        ip(&format!("-n {namespace} link set lo up"));
        let link = |name: &str, net: u8| {
            let (end, ours) = (format!("{name}{test}-{replica}"), format!("10.{net}.{replica}.1"));
            let theirs = format!("10.{net}.{replica}.2");
            ip(&format!("link add {end} type veth peer name {name} netns {namespace}"));
            ip(&format!("address add {ours}/30 dev {end}"));
            ip(&format!("link set {end} up"));
            ip(&format!("-n {namespace} address add {theirs}/30 dev {name}"));
            ip(&format!("-n {namespace} link set {name} up"));
            (end, ours, theirs)
        };
        let (_, _, host) = link("callers", 100 + test);
        let (end, postgres, replica) = link("postgres", 200 + test);
        Self { namespace, end, postgres, replica, host }
    }

    async fn replica(&self, url: &str, name: &str) -> Replica {
        let folder = tempfile::tempdir().unwrap();
        let url = url.replace("127.0.0.1", &self.postgres);
        let program = program_in(&self.namespace, &self.host, folder.path(), &url);
        Replica::run(program, CONFIG, folder, name).await
    }

    fn cut(&self, cut: Cut) {
        let Self { namespace, end, postgres, replica, .. } = self;
        match cut {
            Cut::Link => ip(&format!("link set {end} down")),
            Cut::FromPostgres => {
                ip(&format!("neighbour replace {replica} lladdr {NOBODY} dev {end} nud permanent"));
            }
            Cut::ToPostgres => {
                let to = format!("{postgres} lladdr {NOBODY} dev postgres nud permanent");
                ip(&format!("-n {namespace} neighbour replace {to}"));
            }
        }
    }

    fn mend(&self, cut: Cut) {
        let Self { namespace, end, postgres, replica, .. } = self;
        match cut {
            Cut::Link => ip(&format!("link set {end} up")),
            Cut::FromPostgres => ip(&format!("neighbour delete {replica} dev {end}")),
            Cut::ToPostgres => ip(&format!("-n {namespace} neighbour delete {postgres} dev postgres")),
        }
    }
}

/// Runs `ip` of iproute2.
fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("run ip");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// Callers of all replicas, who are answered at once whatever is cut.
#[derive(Default)]
struct Callers {
    told: RefCell<Told>,
}

impl Callers {
    async fn allow(&self, replica: &Replica, service: &str) -> AllowRequestResponse {
        let answer = at_once(replica.allow(service)).await;
        self.told.borrow_mut().note(service, answer.epoch, answer.state());
        answer
    }

    async fn record(&self, replica: &Replica, service: &str, permit: Bytes, outcome: Outcome) {
        let answer = at_once(replica.record(service, permit, outcome)).await;
        self.told.borrow_mut().note(service, answer.epoch, answer.state());
    }

    /// The call is allowed, and good.
    async fn call(&self, replica: &Replica, service: &str) {
        let answer = self.allow(replica, service).await;
        assert!(answer.allowed, "{answer:?}");
        self.record(replica, service, answer.permit, Outcome::Success).await;
    }

    async fn trip(&self, replica: &Replica, service: &str) {
        for _ in 0..3 {
            self.record(replica, service, Bytes::new(), Outcome::Failure).await;
        }
        assert!(!self.allow(replica, service).await.allowed);
    }

    /// It gets one of the probes that the store gives: once Postgres has ended a transaction of a replica that it does not reach, which
    /// may have the row.
    async fn probe(&self, replica: &Replica, service: &str) -> Bytes {
        let permit = RefCell::default();
        eventually("a probe", async || {
            let answer = self.allow(replica, service).await;
            assert_eq!(answer.state(), State::HalfOpen, "{answer:?}");
            permit.replace(answer.permit);
            answer.allowed
        })
        .await;
        permit.into_inner()
    }

    /// They come to show it.
    async fn see(&self, replicas: &[Replica], service: &str, state: State) {
        for replica in replicas {
            eventually(service, async || self.allow(replica, service).await.state() == state).await;
        }
    }
}

async fn at_once<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(AT_ONCE, answer).await.expect("it waits for nobody")
}

async fn reset(replica: &Replica, service: &str) -> Result<ResetBreakerResponse, Status> {
    let request = ResetBreakerRequest { service: service.into(), name: service.into(), ..Default::default() };
    let mut operations = replica.process.operations().await;
    Ok(operations.reset_breaker(request).await?.into_inner())
}

async fn probe_breaker(replica: &Replica, service: &str) -> Result<ProbeBreakerResponse, Status> {
    let request = ProbeBreakerRequest { service: service.into(), name: service.into(), ..Default::default() };
    let mut operations = replica.process.operations().await;
    Ok(operations.probe_breaker(request).await?.into_inner())
}

/// An operator closes it: as soon as Postgres has ended a transaction of a replica that it does not reach, which holds up others for a
/// second at most.
async fn close(replica: &Replica, service: &str) {
    eventually("it is reset", async || {
        has_state(replica, service, State::Closed).await || reset(replica, service).await.is_ok()
    })
    .await;
}

/// An operator lets it probe, as soon as [`close`] would.
async fn half_open(replica: &Replica, service: &str) {
    eventually("it probes", async || {
        has_state(replica, service, State::HalfOpen).await || probe_breaker(replica, service).await.is_ok()
    })
    .await;
}

/// Without a call that would take a probe.
async fn has_state(replica: &Replica, service: &str, state: State) -> bool {
    let request = GetBreakerRequest { service: service.into(), name: service.into() };
    let breaker = replica.process.operations().await.get_breaker(request).await;
    breaker.is_ok_and(|answer| answer.into_inner().breaker.unwrap().state() == state)
}

/// They come to show it, without a call that would take a probe.
async fn show(replicas: &[Replica], service: &str, state: State) {
    for replica in replicas {
        eventually(service, || has_state(replica, service, state)).await;
    }
}

/// Whether it is alone, in every way that it says so.
async fn is_alone(replica: &Replica) -> bool {
    let mut operations = replica.process.operations().await;
    let listed = operations.list_replicas(ListReplicasRequest {}).await.unwrap().into_inner();
    let metrics = replica.process.page("/metrics").await;
    let health = health(replica).await;
    let problems = health["problems"].to_string();
    listed.alone
        && metrics.contains("_breakerd_replica_alone 1\n")
        && health["status"] == "degraded"
        && problems.contains("store_unreachable")
}

async fn is_well(replica: &Replica) -> bool {
    health(replica).await["status"] == "healthy"
}

async fn health(replica: &Replica) -> serde_json::Value {
    serde_json::from_str(&replica.process.page("/health").await).unwrap()
}

async fn has(url: &str, service: &str, transitions: &[(&str, i64)]) -> bool {
    history(url, service)
        .await
        .iter()
        .map(|(state, epoch)| (&**state, *epoch))
        .eq(transitions.iter().copied())
}

/// The network of the first of three is cut, and mended, and none of them is started again.
async fn goes_on_alone_and_agrees_again(test: u8, cut: Cut) {
    let (url, callers) = (new_database().await, Callers::default());
    let networks = [0, 1, 2].map(|replica| Network::make(test, replica));
    let [one, two, three] = &networks;
    let replicas: [Replica; 3] =
        tokio::join!(one.replica(&url, "one"), two.replica(&url, "two"), three.replica(&url, "three")).into();
    let [cut_off, other, _] = &replicas;
    callers.trip(cut_off, "before").await;
    callers.see(&replicas, "before", State::Open).await;
    for service in ["recovering", "probing"] {
        callers.trip(cut_off, service).await;
        callers.see(&replicas, service, State::Open).await;
    }
    half_open(other, "probing").await;
    show(&replicas, "probing", State::HalfOpen).await;
    let probe = callers.probe(cut_off, "probing").await;

    one.cut(cut);
    // Nobody waits for what it has not noticed yet.
    eventually("it knows that it is alone", async || {
        callers.call(cut_off, "well").await;
        assert!(!callers.allow(cut_off, "before").await.allowed);
        is_alone(cut_off).await
    })
    .await;
    callers.trip(cut_off, "alone").await;
    let refused = at_once(reset(cut_off, "before")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    // Its probe has succeeded, which the store is to hear when it can.
    callers.record(cut_off, "probing", probe, Outcome::Success).await;

    // The others go on, and what it has begun holds up nobody.
    close(other, "before").await;
    callers.trip(other, "beside").await;
    callers.trip(other, "both").await;
    eventually("the store has it", async || has(&url, "both", &[("OPEN", 1)]).await).await;
    close(other, "both").await;
    let second = callers.probe(other, "probing").await;
    callers.record(other, "probing", second, Outcome::Success).await;
    assert!(!callers.allow(other, "probing").await.allowed, "both probes are given");
    half_open(other, "recovering").await;
    for _ in 0..2 {
        let probe = callers.probe(other, "recovering").await;
        callers.record(other, "recovering", probe, Outcome::Success).await;
    }
    for (service, state) in [
        ("before", State::Closed),
        ("beside", State::Open),
        ("both", State::Closed),
        ("probing", State::HalfOpen),
        ("recovering", State::Closed),
    ] {
        callers.see(&replicas[1..], service, state).await;
    }
    for replica in &replicas[1..] {
        eventually("the others are well", async || is_well(replica).await).await;
    }
    assert!(is_alone(cut_off).await);
    callers.call(cut_off, "beside").await;
    callers.trip(cut_off, "both").await;
    assert!(!callers.allow(cut_off, "before").await.allowed, "nobody has told it");
    assert!(has(&url, "alone", &[]).await, "nobody can know");

    one.mend(cut);
    for (service, state) in [
        ("alone", State::Open),
        ("before", State::Closed),
        ("beside", State::Open),
        ("both", State::Closed),
        ("probing", State::Closed),
        ("recovering", State::Closed),
        ("well", State::Closed),
    ] {
        callers.see(&replicas, service, state).await;
    }
    for replica in &replicas {
        eventually("all are well", async || is_well(replica).await).await;
    }
    eventually("what lost is in the history", async || superseded(&url, "both").await == 1).await;
    reset(cut_off, "alone").await.unwrap();
    callers.see(&replicas, "alone", State::Closed).await;
    assert!(has(&url, "alone", &[("OPEN", 1), ("CLOSED", 2)]).await);
    assert!(has(&url, "before", &[("OPEN", 1), ("CLOSED", 2)]).await);
    assert!(has(&url, "beside", &[("OPEN", 1)]).await);
    assert!(has(&url, "both", &[("OPEN", 1), ("CLOSED", 2)]).await);
    for service in ["probing", "recovering"] {
        assert!(has(&url, service, &[("OPEN", 1), ("HALF_OPEN", 2), ("CLOSED", 3)]).await, "{service}");
    }

    for replica in replicas {
        let log = log_of(replica.folder.path());
        assert!(replica.process.stop().await.success(), "{log}");
        assert_eq!(log.matches(" starting version=").count(), 1, "{log}");
    }
    assert_eq!(callers.told.into_inner().compare(&url).await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own: make e2e"]
async fn a_replica_whose_link_to_the_store_is_down_goes_on_alone_and_agrees_again() {
    goes_on_alone_and_agrees_again(0, Cut::Link).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own: make e2e"]
async fn a_replica_that_hears_nothing_of_the_store_goes_on_alone_and_agrees_again() {
    goes_on_alone_and_agrees_again(1, Cut::FromPostgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own: make e2e"]
async fn a_replica_that_the_store_hears_nothing_of_goes_on_alone_and_agrees_again() {
    goes_on_alone_and_agrees_again(2, Cut::ToPostgres).await;
}
