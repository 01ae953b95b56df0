//! What several concerns need: a store of each kind that nobody else uses.

use std::sync::Arc;

use breakerd::journal::{Journal, JournalOptions, Recovered};
use breakerd::store::{Store, StoreError, Target, open};
use breakerd_common::clock::ManualClock;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// A store of its own for one test, and a door beside it for what only SQL can do.
pub(crate) struct Bed {
    /// The store, open.
    pub(crate) store: Arc<dyn Store>,
    /// Where it is, to open it again.
    pub(crate) target: Target,
    /// Goes with the bed.
    folder: Option<TempDir>,
}

impl Bed {
    /// On a file in a folder that goes away with it.
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let target = Target::Sqlite(folder.path().join("data").join("breakerd.db"));
        let store = open(&target).await.expect("open SQLite");
        Self { store, target, folder: Some(folder) }
    }

    /// On a database of its own in the throw-away Postgres.
    pub(crate) async fn postgres() -> Self {
        let target = Target::Postgres(new_database().await);
        let store = open(&target).await.expect("connect to Postgres");
        Self { store, target, folder: None }
    }

    /// Around a store that is open already.
    pub(crate) fn of(store: Arc<dyn Store>, target: Target) -> Self {
        Self { store, target, folder: None }
    }

    /// As after a restart.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = open(&self.target).await.expect("open the store again");
    }

    /// Runs a statement past the store.
    pub(crate) async fn sql(&self, statement: &str) {
        sql(&self.target, statement).await;
    }

    /// Asks past the store for one text.
    pub(crate) async fn text(&self, query: &str) -> Option<String> {
        text(&self.target, query).await
    }

    /// What is in the store now, in another one: a backup that was restored. Nobody may have the store open.
    pub(crate) async fn restored_backup(&self) -> Self {
        let mut folder = None;
        let target = match &self.target {
            Target::Sqlite(_) => {
                let path =
                    folder.insert(tempfile::tempdir().expect("make a folder")).path().join("breakerd.db");
                self.sql(&format!("VACUUM INTO '{}'", path.display())).await;
                Target::Sqlite(path)
            }
            Target::Postgres(url) => {
                let ((address, name), copy) =
                    (url.rsplit_once('/').expect("a URL with a database"), new_name());
                let copy_it = format!("CREATE DATABASE {copy} TEMPLATE {name}");
                let mut server = postgres(&server_url()).await;
                sqlx::raw_sql(AssertSqlSafe(copy_it)).execute(&mut server).await.expect("copy the database");
                Target::Postgres(format!("{address}/{copy}"))
            }
        };
        let store = open(&target).await.expect("open the copy");
        Self { store, target, folder }
    }

    /// Closes the store and takes its database away.
    pub(crate) async fn end(self) {
        self.store.close().await;
        drop(self.folder);
        if let Target::Postgres(url) = &self.target {
            let (_, name) = url.rsplit_once('/').expect("a URL with a database");
            let drop_it = format!("DROP DATABASE {name} WITH (FORCE)");
            let mut server = postgres(&server_url()).await;
            sqlx::raw_sql(AssertSqlSafe(drop_it)).execute(&mut server).await.expect("drop the database");
        }
    }
}

/// Runs a statement past the store at `target`.
pub(crate) async fn sql(target: &Target, statement: &str) {
    let statement = sqlx::raw_sql(AssertSqlSafe(statement));
    match target {
        Target::Sqlite(path) => {
            let mut connection = sqlite(path).await;
            statement.execute(&mut connection).await.expect("run a statement");
            connection.close().await.expect("close SQLite");
        }
        Target::Postgres(url) => {
            let mut connection = postgres(url).await;
            statement.execute(&mut connection).await.expect("run a statement");
        }
    }
}

/// Asks past the store at `target` for one text.
pub(crate) async fn text(target: &Target, query: &str) -> Option<String> {
    let query = AssertSqlSafe(query);
    match target {
        Target::Sqlite(path) => {
            let mut connection = sqlite(path).await;
            let text = sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("ask for a text");
            connection.close().await.expect("close SQLite");
            text
        }
        Target::Postgres(url) => {
            let mut connection = postgres(url).await;
            sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("ask for a text")
        }
    }
}

/// A journal of its own, with room for few breakers on a full disk.
pub(crate) fn journal(folder: &std::path::Path, bytes_max: u64) -> (Arc<Journal>, Recovered) {
    let clock = Arc::new(ManualClock::new(breaker::Time::from_micros(1_700_000_000_000_000)));
    let options =
        JournalOptions { replica: "here".into(), boot: unique(), bytes_max, breakers_max: 100, clock };
    let (journal, recovered) = Journal::open(folder, options).expect("open a journal");
    (Arc::new(journal), recovered)
}

/// Opens the store of `bed` a second time.
pub(crate) async fn open_again(bed: &Bed) -> Result<Arc<dyn Store>, StoreError> {
    open(&bed.target).await
}

/// The throw-away Postgres that `make test` starts. A test that needs it and does not find it fails: a run
/// that skipped half of what it is for would look like one that passed.
pub(crate) fn server_url() -> String {
    std::env::var("BREAKERD_TEST_POSTGRES_URL").unwrap_or_else(|_| {
        panic!(
            "this test needs a Postgres, and BREAKERD_TEST_POSTGRES_URL is not set: run `make test`, which \
             starts one, or `scripts/with-postgres.sh cargo test`"
        )
    })
}

/// A new, empty database on the throw-away Postgres; its URL.
pub(crate) async fn new_database() -> String {
    let (url, name) = (server_url(), new_name());
    let mut server = postgres(&url).await;
    let make_it = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(make_it)).execute(&mut server).await.expect("create a database");
    let (address, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{address}/{name}")
}

pub(crate) async fn postgres(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("connect to the throw-away Postgres")
}

async fn sqlite(path: &std::path::Path) -> SqliteConnection {
    SqliteConnection::connect(&path.display().to_string()).await.expect("open SQLite beside the store")
}

fn new_name() -> String {
    format!("test_{:016x}", unique())
}

/// A number that nobody else has.
pub(crate) fn unique() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("draw a name");
    u64::from_le_bytes(bytes)
}

/// What is logged, on this thread, while `act` runs.
pub(crate) fn logged(act: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, act);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

/// An address where connections are refused, and that nobody else is given, until this is dropped.
pub(crate) fn nobody_listens() -> TcpSocket {
    let bound = TcpSocket::new_v4().expect("make a socket");
    bound.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    bound
}
