//! Finds the server that takes writes, and connects to it.
//!
//! All hosts of the URL are tried at one time, and the first that answers and takes writes is taken: after a switchover
//! that costs as long as the new primary takes to answer, whether the old one refuses, is a standby now, or says nothing
//! at all. What a server is, it is asked itself: one in recovery, or with `default_transaction_read_only`, is not it.
//!
//! The URL may stand in a file, and the password in libpq's password file. Both are read anew for each connection of the
//! lock, and each second for the connections of the pools, so that a password that was rotated needs no restart.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::time::timeout;

use super::address::Address;
use super::url::PostgresUrl;
use crate::store::StoreError;
use crate::store::sqlx_error::{connect_fault, fault, not_writable, too_slow, too_slow_to_connect};

const ACT: &str = "connect to the database";

/// Longer than this, and a server counts as gone.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The most bytes of a file that holds a URL.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// Where the URL comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// It was given.
    Given(PostgresUrl),
    /// A file holds it.
    File {
        path: PathBuf,
        /// What it held when it was last right. None: it was not read yet.
        last: Arc<Mutex<Option<PostgresUrl>>>,
    },
}

/// Connects to the server that takes writes.
#[derive(Debug)]
pub(super) struct Connector {
    source: Source,
    /// As the files were when they were last read.
    read: Arc<Mutex<Vec<FileState>>>,
}

/// What tells a file from one that replaced it, or that was written anew. None: it is not there.
type FileState = Option<(std::time::SystemTime, u64, u64)>;

impl Connector {
    pub(super) fn new(source: Source) -> Self {
        Self { source, read: Arc::default() }
    }

    /// The servers there are, in the order of the URL, with the password of now.
    async fn servers(&self) -> Result<Vec<PgConnectOptions>, StoreError> {
        let (source, read) = (self.source.clone(), Arc::clone(&self.read));
        let servers = tokio::task::spawn_blocking(move || {
            // Before they are read: what comes between is read once more.
            *read.lock() = source.file_states();
            source.servers()
        });
        servers.await.map_err(|_| too_slow("read the database URL"))?
    }

    /// As [`Connector::servers`], if a file that they are read from has changed since they were last read.
    pub(super) async fn changed_servers(&self) -> Result<Option<Vec<PgConnectOptions>>, StoreError> {
        let source = self.source.clone();
        let states = tokio::task::spawn_blocking(move || source.file_states());
        let states = states.await.map_err(|_| too_slow("read the database URL"))?;
        if states == *self.read.lock() { Ok(None) } else { self.servers().await.map(Some) }
    }

    /// Connects to the server that takes writes; with it, how.
    pub(super) async fn connect(&self) -> Result<(PgConnection, PgConnectOptions), StoreError> {
        let servers = self.servers().await?;
        let several = servers.len() > 1;
        let mut attempts: FuturesUnordered<_> = servers.into_iter().map(connect_to).collect();
        let mut errors = Vec::new();
        while let Some((server, attempt)) = attempts.next().await {
            match attempt {
                Ok(connection) => return Ok((connection, server)),
                Err(error) => errors.push(error),
            }
        }
        Err(match errors.pop() {
            Some(error) if !several => error,
            Some(last) => {
                errors.push(last);
                none_of(&errors)
            }
            None => StoreError::Refused("store.url: no host".to_owned()),
        })
    }
}

impl Source {
    /// The URL's file, and those where libpq has its passwords.
    fn file_states(&self) -> Vec<FileState> {
        let url = match self {
            Self::Given(_) => None,
            Self::File { path, .. } => Some(path.clone()),
        };
        let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
        let home = std::env::home_dir().map(|home| home.join(".pgpass"));
        let state = |path: PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len(), file.ino()))
        };
        [url, named, home].into_iter().flatten().map(state).collect()
    }

    fn servers(&self) -> Result<Vec<PgConnectOptions>, StoreError> {
        let (url, named) = match self {
            Self::Given(url) => (url.clone(), "store.url".to_owned()),
            Self::File { path, last } => {
                let mut last = last.lock();
                match (read(path), &*last) {
                    (Ok(url), _) => *last = Some(url),
                    // Being replaced, or wrong: the last good one stays in force.
                    (Err(problem), Some(_)) => {
                        tracing::warn!(problem, "store.url_file is invalid, keeping the previous URL");
                    }
                    (Err(problem), None) => return Err(StoreError::Refused(problem)),
                }
                let url = last.clone().expect("it was just read, or read before");
                (url, format!("store.url_file {}", path.display()))
            }
        };
        url.servers().map_err(|problem| StoreError::Refused(format!("{named}: {problem}")))
    }
}

/// Reads the URL in a file: one line, and nothing else.
///
/// # Errors
/// What is wrong, for people, without repeating what it holds.
pub(super) fn read(path: &std::path::Path) -> Result<PostgresUrl, String> {
    use std::io::Read as _;
    let shown = path.display();
    // A pipe, or a device, would have no end, and block.
    let unreadable = |error: std::io::Error| format!("cannot read store.url_file {shown}: {error}");
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(format!("store.url_file {shown}: not a regular file"));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("store.url_file {shown}: too large, the limit is {FILE_BYTES_MAX} bytes"));
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(format!(
            "store.url_file {shown} is empty: must be a URL postgres://user:password@host/database"
        ));
    }
    PostgresUrl::parse(text).map_err(|problem| format!("store.url_file {shown}: {problem}"))
}

/// Where the servers of a URL are, for people: without its secrets. None: it cannot be read.
pub(super) fn addresses(url: &PostgresUrl) -> Option<String> {
    let servers = url.servers().ok()?;
    Some(servers.iter().map(|server| Address::of(server).to_string()).collect::<Vec<_>>().join(", "))
}

/// Whether two ways to connect lead to the same database of the same server.
pub(super) fn is_same_place(one: &PgConnectOptions, other: &PgConnectOptions) -> bool {
    let of = |options: &PgConnectOptions| {
        let database = options.get_database().unwrap_or(options.get_username()).to_owned();
        (options.get_socket().cloned(), options.get_host().to_owned(), options.get_port(), database)
    };
    of(one) == of(other)
}

async fn connect_to(server: PgConnectOptions) -> (PgConnectOptions, Result<PgConnection, StoreError>) {
    let address = Address::of(&server);
    let attempt = async {
        let mut connection = server.connect().await.map_err(|error| connect_fault(&address, ACT, error))?;
        // In the simple protocol, which every pooler passes.
        let query =
            "SELECT pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only') AS read_only";
        let row: PgRow = connection.fetch_one(query).await.map_err(fault(ACT))?;
        let is_standby: bool = row.try_get("is_standby").map_err(fault(ACT))?;
        let read_only: String = row.try_get("read_only").map_err(fault(ACT))?;
        match (is_standby, &*read_only) {
            (true, _) => Err(not_writable(ACT, format!("{address} is a standby"))),
            (false, "off") => Ok(connection),
            (false, _) => Err(not_writable(
                ACT,
                format!("{address} is read-only (default_transaction_read_only is on)"),
            )),
        }
    };
    let attempt = timeout(ANSWER_TIMEOUT, attempt).await;
    let attempt = attempt.unwrap_or_else(|_| Err(too_slow_to_connect(&address, ACT, ANSWER_TIMEOUT)));
    (server, attempt)
}

/// Why none of several servers took the connection.
fn none_of(errors: &[StoreError]) -> StoreError {
    // One that may come back is worth waiting for, whatever is wrong with the others.
    let is_hopeless = errors.iter().all(|error| !error.is_transient());
    let message = errors.iter().map(with_sources).collect::<Vec<_>>().join("; ");
    if is_hopeless { StoreError::Refused(message) } else { not_writable(ACT, message) }
}

/// An error with its causes, on one line.
fn with_sources(error: &StoreError) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}

/// How often two connections are compared: in a pool that others use, each may get its session back by chance.
const LOOKS: usize = 10;

/// Whether this is a pooler that gives each transaction another session.
///
/// Told by the processes that serve two connections: while one is in a transaction, the other, if each of them has a
/// session of its own, is served by the same process as before, and not by the first one's. That stays so, however often it is
/// looked at.
pub(super) async fn pools_transactions(
    connection: &mut PgConnection,
    server: &PgConnectOptions,
) -> Result<bool, StoreError> {
    let address = Address::of(server);
    let looked = timeout(2 * ANSWER_TIMEOUT, async {
        let failed = |error| connect_fault(&address, ACT, error);
        let mut other = server.connect().await.map_err(failed)?;
        let before = backend(connection).await?;
        let (mut first, mut is_pooled) = (None, false);
        for _ in 0..LOOKS {
            other.execute("BEGIN").await.map_err(failed)?;
            let beside = backend(&mut other).await?;
            // With one session for both, the last of these would wait for the other to end.
            is_pooled = beside == before
                || *first.get_or_insert(beside) != beside
                || backend(connection).await? != before;
            other.execute("ROLLBACK").await.map_err(failed)?;
            if is_pooled {
                break;
            }
        }
        other.close().await.map_err(failed)?;
        Ok(is_pooled)
    });
    looked.await.unwrap_or_else(|_| Err(too_slow("open a second connection to the database")))
}

/// The process of Postgres that serves a connection at this moment; in the simple protocol, whose statements have no
/// name that another session would not know.
pub(super) async fn backend(connection: &mut PgConnection) -> Result<i32, StoreError> {
    let row: PgRow = connection.fetch_one("SELECT pg_backend_pid()").await.map_err(fault(ACT))?;
    row.try_get(0).map_err(fault(ACT))
}
