//! Servers of Postgres, and poolers, that one test has for itself: they are switched over, stopped and set wrong.

use std::path::Path;
use std::process::{Command, Stdio};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

use crate::support::postgres;

/// A server. Stopped when this is dropped.
pub(crate) struct Server {
    folder: TempDir,
    /// The database `breakerd` there, as a superuser.
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = folder();
        let url = script("postgres.sh", &["start", path(&folder), "--fsync", "off"]);
        Self { folder, url }
    }

    /// A standby that follows this one.
    pub(crate) fn standby(&self) -> Self {
        let folder = folder();
        let url = script("postgres.sh", &["standby", path(&folder), path(&self.folder), "--fsync", "off"]);
        Self { folder, url }
    }

    pub(crate) fn promote(&self) {
        script("postgres.sh", &["promote", path(&self.folder)]);
    }

    /// At once, as a crash would.
    pub(crate) fn stop(&self) {
        script("postgres.sh", &["stop", path(&self.folder)]);
    }

    /// After [`Server::stop`], with the same URL.
    pub(crate) fn start_again(&self) {
        script("postgres.sh", &["start", path(&self.folder), "--fsync", "off"]);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `127.0.0.1:5432`
    pub(crate) fn address(&self) -> &str {
        self.url.split_once('@').and_then(|(_, rest)| rest.split_once('/')).expect("a URL").0
    }

    /// Runs statements, each by itself.
    pub(crate) async fn sql(&self, statements: &[&str]) {
        let mut connection = postgres(&self.url).await;
        for statement in statements {
            sqlx::raw_sql(AssertSqlSafe(*statement)).execute(&mut connection).await.expect("run a statement");
        }
        connection.close().await.expect("close");
    }

    /// Asks for one text. None: there is no answer now.
    pub(crate) async fn text(&self, query: &str) -> Option<String> {
        let mut connection = PgConnection::connect(&self.url).await.ok()?;
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await.ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Both, in the order given, as one URL.
pub(crate) fn either(one: &Server, other: &Server) -> String {
    format!(
        "postgres://breakerd@{},{}/breakerd?target_session_attrs=read-write",
        one.address(),
        other.address()
    )
}

/// A `PgBouncer`. Stopped when this is dropped.
pub(crate) struct Pooler {
    folder: TempDir,
    /// The database behind it, through it.
    pub(crate) url: String,
}

impl Pooler {
    /// Before the database at `url`.
    pub(crate) fn start(url: &str, mode: &str) -> Self {
        Self::with(url, mode, &[])
    }

    /// With more settings, each as a line of its file.
    pub(crate) fn with(url: &str, mode: &str, settings: &[&str]) -> Self {
        let folder = folder();
        let url = script("pgbouncer.sh", &[&["start", path(&folder), url, mode], settings].concat());
        Self { folder, url }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        script("pgbouncer.sh", &["stop", path(&self.folder)]);
    }
}

fn folder() -> TempDir {
    // The servers run as another user, when this runs as root.
    let folder = tempfile::Builder::new().prefix("breakerd-pg").tempdir().expect("make a folder");
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("open the folder");
    folder
}

fn path(folder: &TempDir) -> &str {
    folder.path().to_str().expect("a path in UTF-8")
}

fn script(name: &str, arguments: &[&str]) -> String {
    let script = format!("{}/scripts/{name}", env!("CARGO_MANIFEST_DIR"));
    // What it starts keeps standard error: only what it prints is waited for.
    let output =
        Command::new(script).args(arguments).stderr(Stdio::inherit()).output().expect("run a script");
    assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("a text").trim().to_owned()
}
