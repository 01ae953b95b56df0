//! Several breakerd on one Postgres, as processes: one breaker service.

use std::cell::RefCell;
use std::fs;

use breakerd::store::{RowCursor, Shared, StoreError, Target, open, open_shared};
use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::{
    AllowRequestRequest, AllowRequestResponse, GetConfigRequest, Outcome, RecordOutcomeRequest,
    RecordOutcomeResponse, ResetBreakerRequest, SetOverrideRequest, State, Thresholds, UpdateConfigRequest,
};
use bytes::Bytes;
use tempfile::TempDir;

use crate::cluster::Pooler;
use crate::process::{Process, ends, eventually, log_of, program};
use crate::support::{new_database, postgres};

/// Trips at the third failure in a row, and waits for a second; two probes close it.
const CONFIG: &str = "[circuit_breaker]
failure_threshold = 3
timeout_seconds = 1
permitted_number_of_calls_in_half_open_state = 2
success_threshold = 2
half_open_permit_timeout = \"5s\"
";

/// A replica, and the folder that it would be started in again.
struct Replica {
    process: Process,
    folder: TempDir,
}

impl Replica {
    async fn start(url: &str, name: &str) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), url, name).await
    }

    async fn in_folder(folder: TempDir, url: &str, name: &str) -> Self {
        fs::write(folder.path().join("breakerd.toml"), CONFIG).unwrap();
        let mut program = program(folder.path(), Some(url));
        program.env("BREAKERD_STORE_SHARED", "true").env("BREAKERD_REPLICA", name);
        let process = Process::run(program, folder.path());
        eventually("the replica is ready", || process.page_is("/readyz", 200)).await;
        Self { process, folder }
    }

    async fn three(url: &str) -> [Self; 3] {
        let [one, two, three] = ["one", "two", "three"].map(|name| Self::start(url, name));
        let (one, two, three) = tokio::join!(one, two, three);
        [one, two, three]
    }

    async fn allow(&self, service: &str) -> AllowRequestResponse {
        let request = AllowRequestRequest { service: service.into(), ..Default::default() };
        self.process.breakers().await.allow_request(request).await.unwrap().into_inner()
    }

    async fn record(&self, service: &str, permit: Bytes, outcome: Outcome) -> RecordOutcomeResponse {
        let outcome = outcome.into();
        let request = RecordOutcomeRequest { service: service.into(), permit, outcome, ..Default::default() };
        self.process.breakers().await.record_outcome(request).await.unwrap().into_inner()
    }

    async fn trip(&self, service: &str) {
        for _ in 0..3 {
            self.record(service, Bytes::new(), Outcome::Failure).await;
        }
        assert_eq!(self.allow(service).await.state(), State::Open);
    }

    async fn shows(&self, service: &str, state: State) -> bool {
        self.allow(service).await.state() == state
    }
}

async fn all_show(replicas: &[Replica], service: &str, state: State) {
    for replica in replicas {
        eventually("a replica shows it", || replica.shows(service, state)).await;
    }
}

/// The transitions of a service as the history has them: what was entered, at which epoch; in the order of the epochs.
async fn history(url: &str, service: &str) -> Vec<(String, i64)> {
    let query =
        "SELECT to_state, epoch FROM transition WHERE service = $1 AND epoch IS NOT NULL ORDER BY epoch";
    sqlx::query_as(query).bind(service).fetch_all(&mut postgres(url).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_open_probe_and_close_as_one() {
    let url = new_database().await;
    let replicas = Replica::three(&url).await;
    replicas[0].trip("db").await;
    all_show(&replicas, "db", State::Open).await;

    // Callers at all replicas at once, once the wait is over: each probe that is allowed is counted.
    let permits = RefCell::new(Vec::new());
    eventually("both probes are given", || async {
        let calls = replicas.iter().map(|replica| replica.allow("db"));
        for answer in futures_util::future::join_all(calls).await {
            assert_ne!(answer.state(), State::Closed, "no probe has come back yet");
            if answer.allowed {
                permits.borrow_mut().push(answer.permit);
            }
        }
        permits.borrow().len() == 2
    })
    .await;
    for replica in &replicas {
        assert!(!replica.allow("db").await.allowed, "the probes of all replicas are two");
    }
    // Each outcome goes to another replica than the one before.
    for (replica, permit) in replicas.iter().zip(permits.into_inner()) {
        let recorded = replica.record("db", permit, Outcome::Success).await;
        assert_eq!(recorded.result().as_str_name(), "RECORD_RESULT_RECORDED");
    }
    all_show(&replicas, "db", State::Closed).await;
    let states = ["OPEN", "HALF_OPEN", "CLOSED"].map(str::to_owned);
    let expected: Vec<_> = states.into_iter().zip(1..).collect();
    assert_eq!(history(&url, "db").await, expected);
    for replica in replicas {
        let log = log_of(replica.folder.path());
        assert!(replica.process.stop().await.success(), "{log}");
        assert!(!log.contains(" ERROR ") && !log.contains("superseded"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_on_one_replica_is_in_force_on_all() {
    let url = new_database().await;
    let replicas = Replica::three(&url).await;
    let configs = |replica: &Replica| ConfigServiceClient::connect(replica.process.grpc.clone());
    let thresholds = Thresholds { failure_threshold: Some(7), ..Default::default() };
    let update =
        UpdateConfigRequest { service: "db".into(), thresholds: Some(thresholds), ..Default::default() };
    configs(&replicas[0]).await.unwrap().update_config(update).await.unwrap();
    for replica in &replicas {
        let configs = configs(replica).await.unwrap();
        eventually("the threshold is there", || async {
            let get = GetConfigRequest { service: "db".into(), ..Default::default() };
            let config = configs.clone().get_config(get).await.unwrap().into_inner().config.unwrap();
            config.thresholds.unwrap().failure_threshold == Some(7)
        })
        .await;
    }

    let set = SetOverrideRequest {
        service: "db".into(),
        name: "db".into(),
        state: State::ForcedOpen.into(),
        reason: "an incident".into(),
        create: true,
        ..Default::default()
    };
    replicas[1].process.operations().await.set_override(set).await.unwrap();
    all_show(&replicas, "db", State::ForcedOpen).await;
    let reset = ResetBreakerRequest { service: "db".into(), name: "db".into(), ..Default::default() };
    replicas[2].process.operations().await.reset_breaker(reset).await.unwrap();
    all_show(&replicas, "db", State::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_told_its_callers_is_in_the_history_after_it_returns() {
    let url = new_database().await;
    let [one, two, three] = Replica::three(&url).await;
    // Nobody reaches the store: what it tells its callers is in its journal alone.
    let name = url.rsplit_once('/').unwrap().1;
    let lock = format!("LOCK TABLE {name}.public.breaker IN ACCESS EXCLUSIVE MODE");
    let mut holder = postgres(&url).await;
    sqlx::raw_sql("BEGIN").execute(&mut holder).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut holder).await.unwrap();
    one.trip("told").await;
    let folder = one.folder;
    one.process.kill();
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    two.trip("beside").await;
    assert!(history(&url, "told").await.is_empty());

    let one = Replica::in_folder(folder, &url, "one").await;
    assert_eq!(history(&url, "told").await.len(), 1, "before it serves");
    all_show(&[one, two, three], "beside", State::Open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_had_alone_or_shared_and_never_both() {
    let url = new_database().await;
    let refusal = |error: StoreError| match error {
        StoreError::LockedByAnother(why) => why,
        error => panic!("{error}"),
    };
    let alone = open(&Target::Postgres(url.clone())).await.unwrap();
    let Err(error) = open_shared(&url).await else { panic!("shared what another has alone") };
    let why = refusal(error);
    assert!(why.contains("does not share the database") && why.contains("set store.shared there"), "{why}");
    alone.close().await;

    let (one, two) = (open_shared(&url).await.unwrap(), open_shared(&url).await.unwrap());
    let Err(error) = open(&Target::Postgres(url.clone())).await else { panic!("has alone what is shared") };
    let why = refusal(error);
    assert!(why.contains("set store.shared here too"), "{why}");
    one.store.check_writable().await.unwrap();
    two.store.check_writable().await.unwrap();
    one.store.close().await;
    two.store.close().await;
    open(&Target::Postgres(url)).await.unwrap().close().await;
}

/// `PgBouncer` follows prepared statements since 1.21, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_works_or_is_refused_with_what_to_set() {
    let pooler = Pooler::start(&new_database().await, "transaction");
    match open_shared(&pooler.url).await {
        Ok(Shared { store, shared, .. }) => {
            store.check_writable().await.unwrap();
            shared.rows_after(&RowCursor::default(), 1).await.unwrap();
            store.close().await;
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
            assert!(error.to_string().contains("max_prepared_statements"), "{error}");
        }
    }
}

#[tokio::test]
async fn sqlite_is_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(folder.path(), None);
    program.env("BREAKERD_STORE_SHARED", "true");
    let output = ends(program).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("store.shared"), "{said}");
    assert!(said.contains("SQLite cannot be shared"), "{said}");
}

/// Long enough for a replica that is behind to be noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_shows_what_the_others_did() {
    let url = new_database().await;
    let [one, two, three] = Replica::three(&url).await;
    three.process.signal("STOP");
    one.trip("db").await;
    eventually("the other has read it", || two.shows("db", State::Open)).await;
    three.process.signal("CONT");
    eventually("it shows it too", || three.shows("db", State::Open)).await;
}
