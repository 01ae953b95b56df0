//! A real breakerd, as a process of its own.

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use breakerd_api::v1::{GetBreakerRequest, ProbeBreakerRequest, State};
use breakerd_client::{Client, WhenUnreachable};
use incident_manager::stand_ins::KeptAddresses;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::support::eventually;

/// Opens after three failures, and stays open until somebody asks for probes.
pub(crate) const STAYS_OPEN: &str = "default_failure_threshold = 3\ndefault_timeout_seconds = 3600\n";

/// Opens after three failures, for a moment.
pub(crate) const OPENS_BRIEFLY: &str = "default_failure_threshold = 3\ndefault_timeout_seconds = 0.2\n";

/// A running breakerd. Killed when this is dropped.
pub(crate) struct Breakerd {
    folder: TempDir,
    child: Option<Child>,
    /// Of gRPC and HTTP, kept across restarts.
    addresses: KeptAddresses,
}

/// The program: the one that `cargo test --workspace` has built, or else a new one.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/debug/deps/it-...
        let test = std::env::current_exe().unwrap();
        let program = test.parent().and_then(Path::parent).unwrap().join("breakerd");
        if !program.exists() {
            let build = Command::new(env!("CARGO")).args(["build", "--quiet", "--bin", "breakerd"]).status();
            assert!(build.unwrap().success() && program.exists(), "cannot build {}", program.display());
        }
        program
    })
}

impl Breakerd {
    /// With these thresholds, on free ports.
    pub(crate) async fn start(thresholds: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("breakerd.toml"), format!("[circuit_breaker]\n{thresholds}"))
            .unwrap();
        let mut breakerd = Self { folder, child: None, addresses: KeptAddresses::any().unwrap() };
        breakerd.run().await;
        breakerd
    }

    /// Starts it again, on the same ports and with the same data.
    pub(crate) async fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        self.run().await;
    }

    async fn run(&mut self) {
        let folder = self.folder.path();
        let log = folder.join("log");
        let mut command = Command::new(program());
        command.env_clear().current_dir(folder).args(["serve", "--data-dir", "data", "--log-format", "text"]);
        let [grpc, http] = self.addresses.both().map(|address| address.to_string());
        command.args(["--grpc-listen", &grpc, "--http-listen", &http]);
        command.stdout(File::create(folder.join("out")).unwrap()).stderr(File::create(&log).unwrap());
        self.child = Some(command.spawn().unwrap());
        eventually("breakerd starts", async || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "breakerd ended: {}", std::fs::read_to_string(&log).unwrap());
            reqwest::get(format!("http://{http}/readyz")).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    /// URL for clients.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addresses.both()[0])
    }

    /// A client with nothing to fall back on but the built-in thresholds.
    pub(crate) async fn client(&self) -> Client {
        Client::builder(self.url()).when_unreachable(WhenUnreachable::Local).connect().await.unwrap()
    }

    async fn operations(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::connect(self.url()).await.unwrap()
    }

    /// The state of a breaker, as breakerd has it.
    pub(crate) async fn state(&self, (service, name): (&str, &str)) -> State {
        let request = GetBreakerRequest { service: service.to_owned(), name: name.to_owned() };
        let answer = self.operations().await.get_breaker(request).await.unwrap().into_inner();
        answer.breaker.unwrap().state()
    }

    /// Moves an open breaker to half-open, as an operator.
    pub(crate) async fn probe(&self, (service, name): (&str, &str)) {
        let (service, name) = (service.to_owned(), name.to_owned());
        let request = ProbeBreakerRequest { service, name, reason: String::new() };
        self.operations().await.probe_breaker(request).await.unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGSTOP: it is there, and says nothing.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let mut id = String::new();
        write!(id, "{}", self.child.as_ref().unwrap().id()).unwrap();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Breakerd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
