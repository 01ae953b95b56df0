//! Ten replicas, a thousand breakers, and callers that are spread call by call, while one thing after the other goes wrong.
//!
//! Too much for `make test`: `tests/e2e/replicas/run.sh` runs it.

use std::collections::HashMap;
use std::time::Duration;

use breaker::Time;
use breakerd_api::v1::allow_requests_result::Result as Allowed;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::record_outcomes_result::Result as Recorded;
use breakerd_api::v1::{
    AllowRequestRequest, AllowRequestResponse, AllowRequestsRequest, Outcome, RecordOutcomeRequest,
    RecordOutcomeResponse, RecordOutcomesRequest, RecordResult, State,
};
use breakerd_common::clock::{Clock as _, SystemClock};
use bytes::Bytes;
use futures_util::future::join_all;
use tonic::transport::{Channel, Endpoint};

use super::Replica;
use super::told::Told;
use crate::cluster::Server;
use crate::process::{log_of, program};
use crate::severable_proxy::Road;

const REPLICAS: usize = 10;
const BREAKERS: usize = 1_000;
/// `permitted_number_of_calls_in_half_open_state`
const PERMITTED: usize = 2;
/// Longer than any answer of a replica that is not stopped.
const DEADLINE: Duration = Duration::from_secs(10);
/// Only a hang takes so long.
const HANG: Duration = Duration::from_mins(2);

const CONFIG: &str = "[circuit_breaker]
failure_threshold = 3
timeout_seconds = 20
permitted_number_of_calls_in_half_open_state = 2
success_threshold = 2
half_open_permit_timeout = \"20s\"
";

/// The replica that is cut off from the store, and the one that is stopped.
const CUT_OFF: usize = 3;
const STOPPED: usize = 7;
/// How far the wall clocks of two more are wrong.
const CLOCKS: [(usize, &str); 2] = [(8, "+60s"), (9, "-60s")];

/// What the protected service knows of a probe.
#[derive(Debug)]
struct Probe {
    /// In which round, and by which replica it was allowed.
    allowed: (usize, usize),
    /// What its caller was told of its outcome.
    recorded: Option<RecordResult>,
    /// As its caller sees it.
    until: Time,
}

impl Probe {
    fn is_completed(&self) -> bool {
        self.recorded == Some(RecordResult::Recorded)
    }
}

/// The callers and the service that they protect.
struct World {
    clock: SystemClock,
    replicas: Vec<BreakerServiceClient<Channel>>,
    round: usize,
    decisions: usize,
    /// Replicas that were asked and did not answer: only one that is stopped does that.
    undecided: usize,
    told: Told,
    probes: HashMap<(String, u64), Vec<Probe>>,
}

/// A protected call that may be made.
struct Call {
    service: String,
    /// In which round, and by which replica it was allowed.
    allowed: (usize, usize),
    answer: AllowRequestResponse,
}

/// A replica. Its wall clock may be wrong: `tests/e2e/replicas/run.sh` has libfaketime for that.
async fn start(url: &str, index: usize) -> Replica {
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(folder.path(), Some(url));
    // The protected service counts the probes of all together: a replica that is alone must give none of its own.
    program.env("BREAKERD_STORE_HALF_OPEN_WITHOUT_STORE", "hold");
    if let Some((_, off)) = CLOCKS.iter().find(|clock| clock.0 == index) {
        let library = std::env::var_os("BREAKERD_TEST_FAKETIME").expect("libfaketime");
        program.env("LD_PRELOAD", library).env("FAKETIME", off).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    Replica::run(program, CONFIG, folder, &format!("r{index}")).await
}

fn service(index: usize) -> String {
    format!("b{index}")
}

impl World {
    fn of(replicas: &[Replica]) -> Self {
        let channel = |replica: &Replica| {
            let channel = Endpoint::from_shared(replica.process.grpc.clone()).unwrap().connect_lazy();
            BreakerServiceClient::new(channel)
        };
        let replicas = replicas.iter().map(channel).collect();
        Self {
            clock: SystemClock::start(),
            replicas,
            round: 0,
            decisions: 0,
            undecided: 0,
            told: Told::default(),
            probes: HashMap::new(),
        }
    }

    /// The breakers that come to a replica in this round: each to another one than the round before.
    fn dealt(&self, replica: usize) -> Vec<String> {
        (0..BREAKERS).filter(|index| (index + self.round) % REPLICAS == replica).map(service).collect()
    }

    /// Every breaker is asked once, at one of the replicas, and what it allows is called. How many are allowed.
    async fn call_all(&mut self, outcome: Outcome) -> usize {
        self.round += 1;
        let asked = self.replicas.iter().enumerate().map(|(index, replica)| {
            let (mut replica, services) = (replica.clone(), self.dealt(index));
            async move {
                let requests = services
                    .iter()
                    .map(|service| AllowRequestRequest { service: service.clone(), ..Default::default() });
                let requests = AllowRequestsRequest { requests: requests.collect() };
                let answer = tokio::time::timeout(DEADLINE, replica.allow_requests(requests)).await.ok()?;
                Some((index, services, answer.unwrap().into_inner()))
            }
        });
        let (begun, mut calls) = (self.clock.now(), Vec::new());
        for answer in join_all(asked).await {
            let Some((index, services, answer)) = answer else {
                self.undecided += 1;
                continue;
            };
            for (service, result) in services.into_iter().zip(answer.results) {
                let Some(Allowed::Response(answer)) = result.result else { panic!("{service}: no decision") };
                self.decisions += 1;
                self.told.note(&service, answer.epoch, answer.state());
                if answer.allowed {
                    let call = Call { service, allowed: (self.round, index), answer };
                    self.arrives(&call, begun);
                    calls.push(call);
                }
            }
        }
        let allowed = calls.len();
        self.report(calls, outcome).await;
        allowed
    }

    /// A call arrives at the protected service, which lets no more probes of an epoch be than there may be.
    /// Its lease has begun after `asked_at`.
    fn arrives(&mut self, Call { service, allowed, answer }: &Call, asked_at: Time) {
        if answer.state() != State::HalfOpen {
            return;
        }
        let (now, probes) =
            (self.clock.now(), self.probes.entry((service.clone(), answer.epoch)).or_default());
        let lease = answer.lease.map(|lease| Duration::try_from(lease).unwrap()).unwrap();
        probes.push(Probe { allowed: *allowed, recorded: None, until: asked_at + lease });
        let counted = probes.iter().filter(|probe| probe.is_completed() || probe.until > now).count();
        let epoch = answer.epoch;
        assert!(counted <= PERMITTED, "too many probes of {service} in epoch {epoch} at {now:?}: {probes:?}");
    }

    /// The outcomes, each to another replica than the one that was asked.
    async fn report(&mut self, calls: Vec<Call>, outcome: Outcome) {
        let mut dealt: Vec<Vec<Call>> = (0..REPLICAS).map(|_| Vec::new()).collect();
        for (index, call) in calls.into_iter().enumerate() {
            dealt[(index + self.round) % REPLICAS].push(call);
        }
        let reported = self.replicas.iter().zip(dealt).filter(|(_, calls)| !calls.is_empty());
        let reported = reported.map(|(replica, calls)| {
            let mut replica = replica.clone();
            async move {
                let requests = calls.iter().map(|call| record(call, outcome)).collect();
                let requests = RecordOutcomesRequest { requests, ..Default::default() };
                let answer = tokio::time::timeout(DEADLINE, replica.record_outcomes(requests)).await.ok();
                (calls, answer.map(|answer| answer.unwrap().into_inner()))
            }
        });
        for (calls, answer) in join_all(reported).await {
            for (call, result) in calls.into_iter().zip(answer.into_iter().flat_map(|answer| answer.results))
            {
                // One of a probe that waited for the store in vain has no result.
                if let Some(Recorded::Response(recorded)) = result.result {
                    self.recorded(&call, &recorded);
                }
            }
        }
    }

    fn recorded(&mut self, call: &Call, recorded: &RecordOutcomeResponse) {
        self.told.note(&call.service, recorded.epoch, recorded.state());
        if let Some(probes) = self.probes.get_mut(&(call.service.clone(), call.answer.epoch))
            && let Some(probe) = probes.iter_mut().find(|probe| probe.allowed == call.allowed)
        {
            probe.recorded = Some(recorded.result());
        }
    }

    /// Calls until no breaker, or every one, allows its call, at whichever replica. How long that took.
    async fn until(&mut self, allowed: usize, outcome: Outcome) -> Duration {
        let begun = self.clock.now();
        let mut in_turn = 0;
        // Every replica has answered for every breaker.
        while in_turn < REPLICAS {
            in_turn = if self.call_all(outcome).await == allowed { in_turn + 1 } else { 0 };
            assert!(self.clock.now().since(begun) < HANG, "not within {HANG:?}");
        }
        self.clock.now().since(begun)
    }

    /// So many rounds, whatever they come to; each of them decides.
    async fn go_on(&mut self, rounds: usize, outcome: Outcome) {
        for _ in 0..rounds {
            self.call_all(outcome).await;
        }
    }
}

fn record(call: &Call, outcome: Outcome) -> RecordOutcomeRequest {
    RecordOutcomeRequest {
        service: call.service.clone(),
        permit: Bytes::clone(&call.answer.permit),
        outcome: outcome.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "heavy: make e2e"]
async fn ten_replicas_act_as_one_whatever_happens_to_them() {
    let server = Server::start();
    let road = Road::to(&server.url).await;
    // The first makes the tables before the others come.
    let mut replicas = vec![start(&server.url, 0).await];
    let url = |index| if index == CUT_OFF { &*road.url } else { &*server.url };
    replicas.extend(join_all((1..REPLICAS).map(|index| start(url(index), index))).await);
    let mut world = World::of(&replicas);
    world.until(BREAKERS, Outcome::Success).await;

    // The dependency fails: all trip at once, at all replicas.
    let took = world.until(0, Outcome::Failure).await;
    println!("{BREAKERS} breakers open at {REPLICAS} replicas after {took:?}");
    world.go_on(10, Outcome::Failure).await;

    // Two outages of the store in a row, the second when replicas have just come back; nobody waits for it to decide.
    for outage in 0..2 {
        server.stop();
        world.go_on(6, Outcome::Failure).await;
        server.start_again();
        world.go_on(2 + 4 * outage, Outcome::Failure).await;
    }
    assert_eq!(world.undecided, 0, "every replica answers, with the store or without");

    // One is stopped for longer than all waits, and let go; one is cut off from the store.
    replicas[STOPPED].process.signal("STOP");
    world.go_on(1, Outcome::Failure).await;
    road.cut();
    world.go_on(1, Outcome::Failure).await;
    replicas[STOPPED].process.signal("CONT");
    world.go_on(4, Outcome::Failure).await;
    road.mend();

    let took = world.until(BREAKERS, Outcome::Success).await;
    println!("all closed again at all replicas after {took:?}, {} decisions in all", world.decisions);
    for replica in replicas {
        let log = log_of(replica.folder.path());
        assert!(replica.process.stop().await.success(), "{log}");
    }
    assert_eq!(world.told.compare(&server.url).await, BREAKERS);
}
