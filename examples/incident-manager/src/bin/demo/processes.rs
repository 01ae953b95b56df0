//! The processes of the demo, each killed by its id when it is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use incident_manager::stand_ins::KeptAddresses;
use reqwest::Client;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// What takes longer does not come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a page or a file.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A folder for everything that the demo writes. Removed at its end.
pub(crate) struct Folder {
    path: PathBuf,
    keep: std::sync::atomic::AtomicBool,
}

impl Folder {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("breakerd-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, keep: false.into() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it there, for whoever looks for the reason of a failure.
    pub(crate) fn keep(&self) {
        self.keep.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !*self.keep.get_mut() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A program beside this one, with nothing of this environment.
fn program(name: &str, folder: &Path) -> anyhow::Result<Command> {
    let program = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(program.exists(), "{} does not exist: run `make demo`", program.display());
    let file =
        |ending: &str| File::options().create(true).append(true).open(folder.join(format!("{ending}.log")));
    let mut command = Command::new(program);
    command.env_clear().current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(file("out")?).stderr(file("err")?);
    Ok(command)
}

/// Waits until `found` finds something.
pub(crate) async fn wait_for<T>(
    what: &str,
    mut found: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found().await.with_context(|| what.to_owned())? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        sleep(POLL).await;
    }
}

/// For pages and incidents. What hangs is an error.
pub(crate) fn http() -> reqwest::Result<Client> {
    Client::builder().timeout(Duration::from_secs(10)).build()
}

/// breakerd.
pub(crate) struct Breakerd {
    folder: PathBuf,
    child: Option<Child>,
    /// Of gRPC and HTTP, kept across a restart.
    addresses: KeptAddresses,
}

impl Breakerd {
    /// With this breakerd.toml, on free ports.
    pub(crate) async fn start(folder: &Path, settings: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("breakerd.toml"), settings)?;
        let addresses = KeptAddresses::any()?;
        let mut breakerd = Self { folder: folder.to_owned(), child: None, addresses };
        breakerd.run().await?;
        Ok(breakerd)
    }

    /// Starts it, and waits until it is ready.
    pub(crate) async fn run(&mut self) -> anyhow::Result<()> {
        let mut command = program("breakerd", &self.folder)?;
        command.args(["serve", "--data-dir", "data", "--log-format", "text"]);
        for (listen, address) in ["--grpc-listen", "--http-listen"].into_iter().zip(self.addresses.both()) {
            command.arg(listen).arg(address.to_string());
        }
        let mut child = command.spawn().context("start breakerd")?;
        let (http, ready) = (http()?, format!("http://{}/readyz", self.addresses.both()[1]));
        wait_for("breakerd is ready", async || {
            if let Some(status) = child.try_wait()? {
                bail!("it ended: {status}");
            }
            Ok(http.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200).then_some(()))
        })
        .await?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addresses.both()[0])
    }

    pub(crate) fn page(&self) -> String {
        format!("http://{}/health/circuit-breakers", self.addresses.both()[1])
    }

    /// Its SQLite file.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("data").join("breakerd.db")
    }
}

/// An incident manager.
pub(crate) struct Manager {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) http: Client,
    _child: Child,
}

impl Manager {
    /// With this config.toml, on a free port.
    pub(crate) async fn start(folder: &Path, name: &'static str, settings: &str) -> anyhow::Result<Self> {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("config.toml"), settings)?;
        let mut child = program("incident-manager", &folder)?.spawn().context("start an incident manager")?;
        let url = wait_for("an incident manager starts", async || {
            if let Some(status) = child.try_wait()? {
                bail!("it ended: {status}: {}", std::fs::read_to_string(folder.join("err.log"))?);
            }
            let out = std::fs::read_to_string(folder.join("out.log"))?;
            Ok(out
                .strip_suffix('\n')
                .and_then(|line| line.strip_prefix("incident manager: "))
                .map(str::to_owned))
        })
        .await?;
        Ok(Self { name, url, http: http()?, _child: child })
    }
}
