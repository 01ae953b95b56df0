//! breakerd as a process of its own: started, killed, asked from outside.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output};
use std::time::Duration;

use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use tonic::transport::Channel;

/// A bound that only a hang reaches.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a log.
const POLL: Duration = Duration::from_millis(5);

/// A running breakerd. Killed when this is dropped, so that a test that fails leaves nothing behind.
pub(crate) struct Process {
    child: Child,
    pub(crate) grpc: String,
    pub(crate) http: String,
}

/// The program, with nothing of this process' environment.
pub(crate) fn program(folder: &Path, database_url: Option<&str>) -> Command {
    program_at(Path::new(env!("CARGO_BIN_EXE_breakerd")), folder, database_url)
}

/// As [`program`], of a breakerd that has its database for itself.
pub(crate) fn program_alone(folder: &Path, database_url: &str) -> Command {
    let mut command = program(folder, Some(database_url));
    command.env("BREAKERD_STORE_SHARED", "false");
    command
}

/// As [`program`], with the breakerd that is at `program`.
pub(crate) fn program_at(program: &Path, folder: &Path, database_url: Option<&str>) -> Command {
    serving(Command::new(program), folder, "127.0.0.1", database_url)
}

/// As [`program`], in the network namespace of this name, where it listens on `host`.
pub(crate) fn program_in(namespace: &str, host: &str, folder: &Path, database_url: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(env!("CARGO_BIN_EXE_breakerd"));
    serving(command, folder, host, Some(database_url))
}

fn serving(mut command: Command, folder: &Path, host: &str, database_url: Option<&str>) -> Command {
    command.env_clear().current_dir(folder).args(["serve", "--data-dir", "data", "--log-format", "text"]);
    for listen in ["--grpc-listen", "--http-listen"] {
        command.arg(listen).arg(format!("{host}:0"));
    }
    if let Some(url) = database_url {
        command.env("DATABASE_URL", url);
    }
    command
}

/// Runs a breakerd that is expected to end by itself.
pub(crate) async fn ends(mut command: Command) -> Output {
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(PATIENCE, run).await.expect("breakerd hangs instead of ending").unwrap()
}

impl Process {
    /// Starts it in `folder`, where its breakerd.toml is, if there is one. Its log goes to `log`.
    pub(crate) fn start(folder: &Path, database_url: Option<&str>) -> Self {
        Self::run(program(folder, database_url), folder)
    }

    /// Runs `program`, which is to be a breakerd; its log goes to `log` in `folder`, what else it says to `out`.
    pub(crate) fn run(mut program: Command, folder: &Path) -> Self {
        let file = |name| File::options().create(true).append(true).open(folder.join(name)).unwrap();
        // Those before it in the same folder have written there too.
        let before = log_of(folder).len();
        let mut child = program.stdout(file("out")).stderr(file("log")).spawn().unwrap();
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            let log = log_of(folder);
            let lines = log[before..].split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let listens = |line: &str, name| {
                line.split_whitespace().find_map(|field| field.strip_prefix(name)).map(str::to_owned)
            };
            let mut starting = lines.filter(|line| line.contains(" starting version="));
            if let Some(line) = starting.next() {
                let at = |name| format!("http://{}", listens(line, name).unwrap());
                return Self { child, grpc: at("grpc="), http: at("http=") };
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended; its log: {log}");
            std::thread::sleep(POLL);
        }
        panic!("it does not start; its log: {}", log_of(folder));
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn ready(folder: &Path, database_url: Option<&str>) -> Self {
        let process = Self::start(folder, database_url);
        eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;
        process
    }

    /// As [`Process::ready`], of one that has its database for itself.
    pub(crate) async fn ready_alone(folder: &Path, database_url: &str) -> Self {
        let process = Self::run(program_alone(folder, database_url), folder);
        eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;
        process
    }

    /// As [`Process::ready`], on SQLite, with SIGXFSZ ignored: a write beyond a limit of the size of files fails, as on
    /// a full disk, and kills nobody.
    pub(crate) async fn ready_ignoring_file_size_signals(folder: &Path) -> Self {
        let program = program(folder, None);
        let mut shell = Command::new("sh");
        shell.env_clear().current_dir(folder).args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        shell.arg(program.get_program()).args(program.get_args());
        let process = Self::run(shell, folder);
        eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;
        process
    }

    /// Bytes of its memory that are resident now.
    pub(crate) fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it runs");
        line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() * 1024
    }

    pub(crate) async fn page_is(&self, path: &str, status: u16) -> bool {
        let answer = reqwest::get(format!("{}{path}", self.http)).await;
        answer.is_ok_and(|answer| answer.status() == status)
    }

    pub(crate) async fn page(&self, path: &str) -> String {
        reqwest::get(format!("{}{path}", self.http)).await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn breakers(&self) -> BreakerServiceClient<Channel> {
        BreakerServiceClient::connect(self.grpc.clone()).await.unwrap()
    }

    pub(crate) async fn operations(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::connect(self.grpc.clone()).await.unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(self.grpc.clone()).unwrap().connect().await.unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Any signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        assert!(Command::new("kill").args([&signal, &pid]).status().unwrap().success());
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn stop(self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// How it ended.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let mut ended = None;
        for _ in 0..300 {
            ended = self.child.try_wait().unwrap();
            if ended.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ended.expect("breakerd does not end after SIGTERM")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Waits until something is so; fails when only a hang can be the reason that it is not.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "not so: {what}");
}
