//! Several breakerd on one Postgres, as processes: one breaker service.

mod access;
mod alone;
mod going_back;
mod keys;
mod network;
mod notified;
mod outage;
mod restart;
mod rows;
mod schema;
mod start_alone;
mod ten;
mod together;
mod told;
mod upgrade;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use breakerd_api::v1::{
    AllowRequestRequest, AllowRequestResponse, Outcome, RecordOutcomeRequest, RecordOutcomeResponse, State,
};
use bytes::Bytes;
use tempfile::TempDir;

use crate::process::{Process, eventually, program, program_at};
use crate::support::postgres;

/// Trips at the third failure in a row, and waits for a second; two probes close it. A test that waits until others show OPEN needs a service
/// that stays so: on a busy machine the wait is over before they do.
const CONFIG: &str = "[circuit_breaker]
failure_threshold = 3
timeout_seconds = 1
permitted_number_of_calls_in_half_open_state = 2
success_threshold = 2
half_open_permit_timeout = \"5s\"

[circuit_breaker.alone]
timeout_seconds = 600

[circuit_breaker.between]
timeout_seconds = 600

# Until all have heard of it, also where they look once a second.
[circuit_breaker.together]
timeout_seconds = 4

[circuit_breaker.beyond]
timeout_seconds = 600

[circuit_breaker.apart]
timeout_seconds = 4
";

/// Which breakerd a replica is.
enum Version {
    Present,
    /// The program of an earlier one.
    Earlier(PathBuf),
}

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
        Self::of(&Version::Present, folder, url, name).await
    }

    async fn of(version: &Version, folder: TempDir, url: &str, name: &str) -> Self {
        let program = match version {
            Version::Present => program(folder.path(), Some(url)),
            Version::Earlier(earlier) => program_at(earlier, folder.path(), Some(url)),
        };
        Self::run(program, CONFIG, folder, name).await
    }

    async fn run(mut program: Command, config: &str, folder: TempDir, name: &str) -> Self {
        fs::write(folder.path().join("breakerd.toml"), config).unwrap();
        // The earlier version does not share by itself.
        program.env("BREAKERD_STORE_SHARED", "true").env("BREAKERD_REPLICA", name);
        let process = Process::run(program, folder.path());
        eventually("the replica is ready", || process.page_is("/readyz", 200)).await;
        Self { process, folder }
    }

    /// One that gives no probes of its own while Postgres is away.
    async fn holding(url: &str, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut program = program(folder.path(), Some(url));
        program.env("BREAKERD_STORE_HALF_OPEN_WITHOUT_STORE", "hold");
        Self::run(program, CONFIG, folder, name).await
    }

    async fn three(url: &str) -> [Self; 3] {
        Self::three_of(&Version::Present, url).await
    }

    async fn three_of(version: &Version, url: &str) -> [Self; 3] {
        let [one, two, three] =
            ["one", "two", "three"].map(|name| Self::of(version, tempfile::tempdir().unwrap(), url, name));
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

async fn all_show<'a>(replicas: impl IntoIterator<Item = &'a Replica>, service: &str, state: State) {
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
