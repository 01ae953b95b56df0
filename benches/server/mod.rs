//! A breakerd as a process of its own, for benchmarks that measure it from outside.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running breakerd. Killed when this is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// Of its gRPC port, as a URL.
    pub(crate) address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts it with this breakerd.toml and these variables; without one that names a database, on SQLite.
    pub(crate) fn start(
        config: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("breakerd.toml"), config)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_breakerd"))
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir(folder.path())
            .args(["serve", "--log-format", "text", "--data-dir", "data"])
            .args(["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut first = String::new();
        BufReader::new(child.stdout.take().ok_or("stdout")?).read_line(&mut first)?;
        let address = first
            .split_once("gRPC on ")
            .and_then(|(_, rest)| rest.split(',').next())
            .ok_or_else(|| format!("it says {first}"))?;
        Ok(Self { child, address: format!("http://{address}"), _folder: folder })
    }
}
