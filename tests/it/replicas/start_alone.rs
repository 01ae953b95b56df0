//! Replicas that are started while Postgres is away: with `store.start_without_store` they serve from what they last knew.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use breakerd_api::v1::{
    ListReplicasRequest, Outcome, RecordOutcomeRequest, RecordResult, ResetBreakerRequest,
    RotatePermitKeyRequest, SetOverrideRequest, State,
};
use tempfile::TempDir;
use tonic::Code;

use super::{CONFIG, Replica, all_show, history};
use crate::process::{Process, eventually, log_of, program};
use crate::severable_proxy::Road;
use crate::support::{new_database, sql};
use breakerd::store::Target;

fn begin(folder: &TempDir, url: &str, name: &str) -> Process {
    fs::write(folder.path().join("breakerd.toml"), CONFIG).unwrap();
    let mut program = program(folder.path(), Some(url));
    program.env("BREAKERD_REPLICA", name);
    program.env("BREAKERD_STORE_START_WITHOUT_STORE", "true");
    Process::run(program, folder.path())
}

async fn start(folder: TempDir, url: &str, name: &str) -> Replica {
    let process = begin(&folder, url, name);
    eventually("the replica is ready", || process.page_is("/readyz", 200)).await;
    Replica { process, folder }
}

fn snapshot(folder: &Path) -> PathBuf {
    folder.join("data/store-snapshot")
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Whether all of `texts` are in its snapshot.
fn keeps(replica: &Replica, texts: &[&str]) -> bool {
    let text = fs::read_to_string(snapshot(replica.folder.path())).unwrap_or_default();
    texts.iter().all(|wanted| text.contains(wanted))
}

async fn is_marked(replica: &Replica) -> bool {
    let (health, metrics) = (replica.process.page("/health").await, replica.process.page("/metrics").await);
    health.contains("started_without_store") && metrics.contains("_breakerd_replica_alone 1\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_were_killed_start_without_postgres_and_agree_with_it_afterwards() {
    let url = new_database().await;
    let road = Road::to(&url).await;
    let (one, two) = tokio::join!(start(folder(), &road.url, "one"), start(folder(), &road.url, "two"));
    one.trip("alone").await;
    let hold = SetOverrideRequest {
        service: "held".into(),
        state: State::ForcedOpen.into(),
        reason: "a drill".into(),
        service_wide: true,
        create: true,
        ..Default::default()
    };
    let mut operations = one.process.operations().await;
    operations.set_override(hold).await.unwrap();
    operations.rotate_permit_key(RotatePermitKeyRequest::default()).await.unwrap();
    eventually("the new key seals", async || one.allow("healthy").await.permit.len() > 92).await;
    let permit = one.allow("healthy").await.permit;
    for replica in [&one, &two] {
        eventually("it keeps all of it", async || {
            keeps(replica, &["\"service\":\"alone\"", "\"held\"", "\"sealing_key\":2"])
        })
        .await;
        let mode = fs::metadata(snapshot(replica.folder.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    road.cut();
    let away = async || one.process.page("/health").await.contains("store_unreachable");
    eventually("Postgres is away", away).await;
    one.trip("between").await;
    let folders = [one, two].map(|replica| {
        replica.process.kill();
        replica.folder
    });

    let [one, two] = folders;
    let (one, two) = tokio::join!(start(one, &road.url, "one"), start(two, &road.url, "two"));
    for replica in [&one, &two] {
        assert_eq!(replica.allow("alone").await.state(), State::Open);
        assert_eq!(replica.allow("held").await.state(), State::ForcedOpen);
        assert!(replica.allow("healthy").await.allowed);
        assert!(is_marked(replica).await, "{}", replica.process.page("/health").await);
        let listed = replica.process.operations().await.list_replicas(ListReplicasRequest {}).await;
        let listed = listed.unwrap().into_inner();
        assert!(listed.alone && listed.replicas.len() == 1, "{listed:?}");
    }
    assert_eq!(one.allow("between").await.state(), State::Open, "it told its callers so");
    assert_eq!(two.allow("between").await.state(), State::Closed, "nobody has told it");
    let outcome = Outcome::Success.into();
    let record = RecordOutcomeRequest { service: "healthy".into(), permit, outcome, ..Default::default() };
    let recorded = two.process.breakers().await.record_outcome(record).await.unwrap().into_inner();
    assert_eq!(recorded.result(), RecordResult::Recorded, "the keys of permits are there");
    let reset = ResetBreakerRequest { service: "alone".into(), name: "alone".into(), ..Default::default() };
    let refused = two.process.operations().await.reset_breaker(reset.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    two.trip("beyond").await;
    assert!(history(&url, "beyond").await.is_empty());

    road.mend();
    let replicas = [one, two];
    for service in ["beyond", "between"] {
        all_show(&replicas, service, State::Open).await;
        assert_eq!(history(&url, service).await, [("OPEN".to_owned(), 1)]);
    }
    assert_eq!(history(&url, "alone").await, [("OPEN".to_owned(), 1)], "nothing was added");
    for replica in &replicas {
        eventually("it is not alone any more", async || !is_marked(replica).await).await;
    }
    replicas[1].process.operations().await.reset_breaker(reset).await.unwrap();
    all_show(&replicas, "alone", State::Closed).await;
    assert_eq!(replicas[0].allow("held").await.state(), State::ForcedOpen);
}

/// What happened in the store meanwhile stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_others_did_before_the_store_is_reached_again_is_adopted() {
    let url = new_database().await;
    let road = Road::to(&url).await;
    let (one, two) = tokio::join!(start(folder(), &road.url, "one"), Replica::start(&url, "two"));
    one.trip("alone").await;
    eventually("it keeps it", async || keeps(&one, &["\"service\":\"alone\""])).await;
    let folder = one.folder;
    one.process.kill();
    road.cut();
    let reset = ResetBreakerRequest { service: "alone".into(), name: "alone".into(), ..Default::default() };
    eventually("it is open at the other", || two.shows("alone", State::Open)).await;
    two.process.operations().await.reset_breaker(reset).await.unwrap();
    two.trip("between").await;
    let one = start(folder, &road.url, "one").await;
    assert_eq!(one.allow("alone").await.state(), State::Open, "as it last knew");
    road.mend();
    all_show(&[one, two], "alone", State::Closed).await;
    assert_eq!(history(&url, "alone").await.len(), 2);
}

/// A replica knows that a breaker is open, keeps that, and is killed. What is left of it.
async fn killed_when_open(road: &Road) -> TempDir {
    let replica = start(folder(), &road.url, "one").await;
    replica.trip("alone").await;
    eventually("it keeps it", async || keeps(&replica, &["\"service\":\"alone\""])).await;
    let folder = replica.folder;
    replica.process.kill();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_snapshot_that_is_whole_and_of_this_database_a_start_waits() {
    let url = new_database().await;
    let road = Road::to(&url).await;
    let folder = killed_when_open(&road).await;
    road.cut();
    let path = snapshot(folder.path());
    let whole = fs::read_to_string(&path).unwrap();
    let elsewhere = Road::to(&url).await;
    elsewhere.cut();
    for (text, url, problem) in [
        (Some(whole.replacen("\"OPEN\"", "\"OVEN\"", 1)), &road.url, "is damaged: its checksum is wrong"),
        (Some(whole[..whole.len() / 2].to_owned()), &road.url, "is damaged"),
        (
            Some(whole.replacen("breakerd-snapshot 1 ", "breakerd-snapshot 2 ", 1)),
            &road.url,
            "is of format 2",
        ),
        (None, &road.url, "there is no snapshot"),
        (Some(whole.clone()), &elsewhere.url, "is of the database "),
    ] {
        match &text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let before = log_of(folder.path()).len();
        let process = begin(&folder, url, "one");
        eventually("it says why it waits", async || {
            let log = log_of(folder.path());
            log[before..].contains("cannot start without the store: waiting for it")
                && log[before..].contains(problem)
        })
        .await;
        assert!(process.page_is("/readyz", 503).await, "{problem}");
        process.kill();
    }
    // With the store it needs none.
    road.mend();
    let replica = start(folder, &road.url, "one").await;
    assert_eq!(replica.allow("alone").await.state(), State::Open);
    assert!(!replica.process.page("/health").await.contains("started_without_store"));
    // Without the setting none is left behind.
    let folder = replica.folder;
    assert!(replica.process.stop().await.success());
    assert!(path.exists());
    Replica::in_folder(folder, &road.url, "one").await;
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_turns_out_to_be_another_one_ends_the_process() {
    let url = new_database().await;
    let road = Road::to(&url).await;
    let folder = killed_when_open(&road).await;
    road.cut();
    let replica = start(folder, &road.url, "one").await;
    sql(&Target::Postgres(url), "UPDATE meta SET store_id = '0123456789abcdef'").await;
    road.mend();
    let Replica { process, folder } = replica;
    assert_eq!(process.ended().await.code(), Some(5));
    assert!(log_of(folder.path()).contains("the database is another one"), "{}", log_of(folder.path()));
}
