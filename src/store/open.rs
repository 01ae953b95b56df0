//! Which of the two stores.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::postgres::{self, Access, PostgresStore};
use super::sqlite::SqliteStore;
use super::{CountStore, ReplicaStore, SharedStore, Store, StoreError};

/// Where the store is.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// In a file of its own.
    Sqlite(PathBuf),
    /// In the Postgres at this URL.
    Postgres(String),
}

impl fmt::Debug for Target {
    /// Without the URL: there may be a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.debug_tuple("Postgres").finish_non_exhaustive(),
        }
    }
}

/// Where the store is, for people: without the secrets of a URL.
pub fn location(target: &Target) -> String {
    match target {
        Target::Sqlite(path) => path.display().to_string(),
        Target::Postgres(url) => postgres::addresses(url).unwrap_or_else(|| "store.url".to_owned()),
    }
}

/// As [`location`], for a URL in a file.
pub fn location_by_file(path: &Path) -> String {
    postgres::addresses_by_file(path).unwrap_or_else(|| format!("store.url_file {}", path.display()))
}

/// A store that replicas share, as each of them has it.
pub struct Shared {
    /// What every process asks of a store.
    pub store: Arc<dyn Store>,
    /// The same, for what replicas ask beside that.
    pub shared: Arc<dyn SharedStore>,
    /// The same, for who is there.
    pub replicas: Arc<dyn ReplicaStore>,
    /// The same, for what replicas count together.
    pub counts: Arc<dyn CountStore>,
}

impl From<PostgresStore> for Shared {
    fn from(store: PostgresStore) -> Self {
        let store = Arc::new(store);
        Self { store: store.clone(), shared: store.clone(), replicas: store.clone(), counts: store }
    }
}

/// Opens a store for this process alone, makes its tables if it is new, and brings them up to date if it is not.
pub async fn open(target: &Target) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match target {
        Target::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
        Target::Postgres(url) => Arc::new(PostgresStore::connect(url, Access::Exclusive).await?),
    })
}

/// As [`open`], for the Postgres whose URL is in a file; the file is read again while the store is open.
///
/// # Errors
/// As [`PostgresStore::connect`]; and when the file cannot be read, or holds no URL.
pub async fn open_by_file(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(PostgresStore::connect_by_file(path, Access::Exclusive).await?))
}

/// As [`open`], for the Postgres at this URL, which other replicas write to as well.
///
/// # Errors
/// As [`PostgresStore::connect`].
pub async fn open_shared(url: &str) -> Result<Shared, StoreError> {
    open_shared_listening(url, None).await
}

/// As [`open_shared`]; it is told of changes by way of `listen_url`, if there is one: a pooler at `url` may not pass them on.
///
/// # Errors
/// As [`PostgresStore::connect`].
pub async fn open_shared_listening(url: &str, listen_url: Option<&str>) -> Result<Shared, StoreError> {
    Ok(PostgresStore::connect(url, Access::Shared).await?.listening_at(listen_url)?.into())
}

/// As [`open_shared_listening`], for the Postgres whose URL is in a file; the file is read again while the store is open.
///
/// # Errors
/// As [`PostgresStore::connect`]; and when the file cannot be read, or holds no URL.
pub async fn open_shared_by_file(path: &Path, listen_url: Option<&str>) -> Result<Shared, StoreError> {
    Ok(PostgresStore::connect_by_file(path, Access::Shared).await?.listening_at(listen_url)?.into())
}
