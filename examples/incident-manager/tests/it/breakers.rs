//! The clients with breakers, each against a real peer and through a real breakerd.

use std::path::Path;
use std::time::Duration;

use breakerd_api::v1::State as StateThere;
use breakerd_client::{Breaker, Client, Field, Layer, State, Value};
use futures_util::future::join_all;
use incident_manager::breakers::Breakers;
use incident_manager::call_error::CallError;
use incident_manager::incident::Incident;
use incident_manager::senders::{
    EmailSender, EmailSenderWithBreaker, PagerDutySender, PagerDutySenderWithBreaker, Sender, SlackSender,
    SlackSenderWithBreaker,
};
use incident_manager::sentinel::{Sentinel, SentinelClient, SentinelClientWithBreaker};
use incident_manager::stand_ins::{Behavior, Peer};
use incident_manager::store::{CircuitBreakerStore, IncidentStore, SqlStore};
use sqlx::{Connection, Executor, SqliteConnection};
use tempfile::TempDir;

use crate::breakerd::{Breakerd, OPENS_BRIEFLY, STAYS_OPEN};
use crate::support::{
    PATIENCE, email_config, eventually, incident, pagerduty_config, sentinel_config, slack_config, sqlite,
};

/// How long a peer is waited for that hangs. One that is well takes a hundredth of it.
const UNTIL_HANGING: Duration = Duration::from_secs(1);

/// Each of the clients.
enum Guarded {
    Sentinel(Box<dyn Sentinel>),
    Store(Box<dyn IncidentStore>, Incident),
    Sender(Box<dyn Sender>),
}

/// What is behind it.
enum Dependency {
    /// A peer, with the behaviors that are a failure of it and a fault of ours.
    Peer(Peer, Behavior, Behavior),
    Database(TempDir),
}

struct Case {
    key: (&'static str, &'static str),
    breaker: Breaker,
    guarded: Guarded,
    dependency: Dependency,
}

async fn cases(client: &Client) -> Vec<Case> {
    let breakers = Breakers::of(client).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (sentinel, slack) = (Peer::sentinel().await.unwrap(), Peer::slack().await.unwrap());
    let (smtp, pagerduty) = (Peer::smtp().await.unwrap(), Peer::pagerduty().await.unwrap());

    let to_sentinel = SentinelClient::new(&sentinel_config(&sentinel, PATIENCE)).unwrap();
    let to_sentinel = SentinelClientWithBreaker::new(to_sentinel, &breakers.sentinel);
    let store = SqlStore::connect(&sqlite(folder.path(), PATIENCE)).await.unwrap();
    let store = CircuitBreakerStore::new(store, &breakers.store);
    let first = incident("first");
    let to_slack = SlackSender::new(&slack_config(&slack, PATIENCE)).unwrap();
    let to_slack = SlackSenderWithBreaker::new(to_slack, &breakers.slack);
    let to_smtp = EmailSender::new(&email_config(&smtp, PATIENCE)).unwrap();
    let to_smtp = EmailSenderWithBreaker::new(to_smtp, &breakers.email);
    let to_pagerduty = PagerDutySender::new(&pagerduty_config(&pagerduty, UNTIL_HANGING)).unwrap();
    let to_pagerduty = PagerDutySenderWithBreaker::new(to_pagerduty, &breakers.pagerduty);

    let refusal = Behavior::Status(400);
    let case = |key, breaker, guarded, dependency| Case { key, breaker, guarded, dependency };
    vec![
        case(
            ("sentinel", "sentinel-llm"),
            breakers.sentinel,
            Guarded::Sentinel(Box::new(to_sentinel)),
            Dependency::Peer(sentinel, Behavior::Garbage, refusal),
        ),
        case(
            ("database", "incident-store"),
            breakers.store,
            Guarded::Store(Box::new(store), first),
            Dependency::Database(folder),
        ),
        case(
            ("notifications", "slack"),
            breakers.slack,
            Guarded::Sender(Box::new(to_slack)),
            Dependency::Peer(slack, Behavior::Status(500), refusal),
        ),
        case(
            ("notifications", "email"),
            breakers.email,
            Guarded::Sender(Box::new(to_smtp)),
            Dependency::Peer(smtp, Behavior::Reset, Behavior::Status(550)),
        ),
        case(
            ("notifications", "pagerduty"),
            breakers.pagerduty,
            Guarded::Sender(Box::new(to_pagerduty)),
            Dependency::Peer(pagerduty, Behavior::Hang, refusal),
        ),
    ]
}

async fn sql(folder: &Path, statement: &'static str) {
    let url = format!("sqlite:{}/incidents.db", folder.display());
    SqliteConnection::connect(&url).await.unwrap().execute(statement).await.unwrap();
}

impl Case {
    async fn call(&self) -> Result<(), CallError> {
        match &self.guarded {
            Guarded::Sentinel(sentinel) => sentinel.analyze_anomaly(&incident("x")).await.map(drop),
            Guarded::Store(store, incident) => {
                store.save_incident(incident).await?;
                store.get_incident(incident.id).await.map(drop)
            }
            Guarded::Sender(sender) => sender.send(&incident("x")).await,
        }
    }

    async fn fail(&self) {
        match &self.dependency {
            Dependency::Peer(peer, failure, _) => peer.behave(*failure),
            Dependency::Database(folder) => sql(folder.path(), "ALTER TABLE incident RENAME TO gone").await,
        }
    }

    async fn recover(&self) {
        match &self.dependency {
            Dependency::Peer(peer, ..) => peer.behave(Behavior::Answer),
            Dependency::Database(folder) => sql(folder.path(), "ALTER TABLE gone RENAME TO incident").await,
        }
    }

    /// A call that is our own fault.
    async fn call_wrongly(&self) {
        let error = match (&self.guarded, &self.dependency) {
            (_, Dependency::Peer(peer, _, refusal)) => {
                peer.behave(*refusal);
                let error = self.call().await.unwrap_err();
                peer.behave(Behavior::Answer);
                error
            }
            (Guarded::Store(store, incident), Dependency::Database(folder)) => {
                sql(folder.path(), "UPDATE incident SET severity = 'mauve'").await;
                store.get_incident(incident.id).await.unwrap_err()
            }
            _ => unreachable!("only the store has a database"),
        };
        assert!(error.is_client_fault(), "{:?}: {error}", self.key);
    }

    /// Requests that came through to the peer. A database does not count.
    fn arrived(&self) -> Option<u64> {
        match &self.dependency {
            Dependency::Peer(peer, ..) => Some(peer.count()),
            Dependency::Database(_) => None,
        }
    }

    async fn is_rejected(&self) -> bool {
        matches!(self.call().await, Err(CallError::CircuitOpen { .. }))
    }
}

async fn reaches(case: &Case, state: State) {
    eventually(&format!("{:?} is {state} here", case.key), async || case.breaker.state() == state).await;
}

/// All five at the same time.
async fn each(client: &Client, story: impl AsyncFn(&Case)) {
    let cases = cases(client).await;
    join_all(cases.iter().map(|case| story(case))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_opens_rejects_probes_and_closes() {
    let breakerd = Breakerd::start(STAYS_OPEN).await;
    let client = breakerd.client().await;
    each(&client, async |case| {
        let key = case.key;
        case.call().await.unwrap();
        for _ in 0..5 {
            case.call_wrongly().await;
        }
        assert_eq!(case.breaker.state(), State::Closed, "{key:?}: a fault of ours opens nothing");

        case.fail().await;
        for _ in 0..3 {
            let error = case.call().await.unwrap_err();
            assert!(!error.is_client_fault(), "{key:?}: {error}");
        }
        reaches(case, State::Open).await;
        assert_eq!(breakerd.state(key).await, StateThere::Open, "{key:?}");
        let before = case.arrived();
        let rejected = case.call().await.unwrap_err();
        assert!(matches!(rejected, CallError::CircuitOpen { state: State::Open, .. }), "{key:?}: {rejected}");
        assert!(rejected.retry_after().is_some(), "{key:?}: it says when to try again");
        assert_eq!(case.arrived(), before, "{key:?}: a rejected call is not made");

        // A probe that fails opens it again.
        breakerd.probe(key).await;
        reaches(case, State::HalfOpen).await;
        eventually("a probe fails", async || {
            !matches!(case.call().await, Err(CallError::CircuitOpen { .. }))
        })
        .await;
        reaches(case, State::Open).await;

        case.recover().await;
        breakerd.probe(key).await;
        reaches(case, State::HalfOpen).await;
        eventually("two probes succeed", async || {
            case.call().await.ok();
            case.breaker.state() == State::Closed
        })
        .await;
        assert_eq!(breakerd.state(key).await, StateThere::Closed, "{key:?}");
        case.call().await.unwrap();
    })
    .await;
}

/// Every dependency dies while breakerd is away: this process finds out by itself. It comes back: also that.
async fn trips_and_recovers_by_itself(client: &Client) {
    each(client, async |case| {
        case.fail().await;
        eventually(&format!("{:?} rejects calls", case.key), async || case.is_rejected().await).await;
        case.recover().await;
        eventually(&format!("{:?} allows calls", case.key), async || case.call().await.is_ok()).await;
    })
    .await;
}

/// The thresholds that a process has when it never heard from breakerd.
fn fallback() -> Layer {
    Layer::default()
        .with(Field::FailureThreshold, Value::Count(3))
        .and_then(|layer| layer.with(Field::Timeout, Value::Duration(Duration::from_millis(200))))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_dies_while_breakerd_was_never_there_trips_in_this_process() {
    let mut breakerd = Breakerd::start(OPENS_BRIEFLY).await;
    breakerd.kill();
    let client = Client::builder(breakerd.url()).fallback_thresholds("", fallback()).connect().await.unwrap();
    assert!(!client.is_connected());
    trips_and_recovers_by_itself(&client).await;
    // breakerd comes late.
    breakerd.restart().await;
    eventually("connected", async || client.is_connected()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_dies_after_breakerd_was_killed_trips_in_this_process() {
    let mut breakerd = Breakerd::start(OPENS_BRIEFLY).await;
    let client = breakerd.client().await;
    assert!(client.is_connected());
    breakerd.kill();
    trips_and_recovers_by_itself(&client).await;

    breakerd.restart().await;
    eventually("connected again", async || client.is_connected()).await;
    trips_and_recovers_by_itself(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_dies_while_breakerd_is_frozen_trips_in_this_process() {
    let breakerd = Breakerd::start(OPENS_BRIEFLY).await;
    let client = breakerd.client().await;
    breakerd.freeze();
    trips_and_recovers_by_itself(&client).await;
    breakerd.thaw();
    eventually("connected again", async || client.is_connected()).await;
    trips_and_recovers_by_itself(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_stays_open_across_a_restart_of_breakerd() {
    let mut breakerd = Breakerd::start(STAYS_OPEN).await;
    let client = breakerd.client().await;
    let cases = cases(&client).await;
    for case in &cases {
        case.fail().await;
        eventually("it rejects calls", async || case.is_rejected().await).await;
        assert_eq!(breakerd.state(case.key).await, StateThere::Open, "{:?}", case.key);
    }
    breakerd.kill();
    for case in &cases {
        case.recover().await;
        assert!(case.is_rejected().await, "{:?}: the last known state applies", case.key);
    }
    breakerd.restart().await;
    eventually("connected again", async || client.is_connected()).await;
    for case in &cases {
        assert!(case.is_rejected().await, "{:?}", case.key);
        assert_eq!(breakerd.state(case.key).await, StateThere::Open, "{:?}", case.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_share_one_circuit() {
    let breakerd = Breakerd::start(STAYS_OPEN).await;
    let (one, other) = (breakerd.client().await, breakerd.client().await);
    let (of_one, of_other) = (cases(&one).await, cases(&other).await);
    for (here, there) in of_one.iter().zip(&of_other) {
        here.fail().await;
        // Each sees a part of the failures. A few more may pass until the news is there.
        eventually("it rejects calls", async || here.is_rejected().await).await;
        reaches(there, State::Open).await;
        // Its own dependency is well, and is not called: the state is shared.
        let before = there.arrived();
        assert!(there.is_rejected().await, "{:?}", there.key);
        assert_eq!(there.arrived(), before, "{:?}", there.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_of_slack_lengthens_the_wait_by_its_retry_after() {
    let thresholds = "default_failure_threshold = 3\ndefault_timeout_seconds = 1\nhonor_retry_after = true\nmax_wait = '1h'\n";
    let breakerd = Breakerd::start(thresholds).await;
    let client = breakerd.client().await;
    let case = cases(&client).await.into_iter().find(|case| case.key.1 == "slack").unwrap();
    let Dependency::Peer(slack, ..) = &case.dependency else { panic!("Slack is a peer") };
    slack.behave(Behavior::Throttle(1_800));
    eventually("it rejects calls", async || case.is_rejected().await).await;
    reaches(&case, State::Open).await;
    let rejected = case.call().await.unwrap_err();
    let wait = rejected.retry_after().unwrap();
    assert!(
        wait > Duration::from_mins(20),
        "{wait:?}: not the second of the thresholds, but Slack's half hour"
    );
}
