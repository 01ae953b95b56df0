//! What a replica knows of its store, in a file: so that it can start while the store is away.
//!
//! The file is replaced as a whole: it is written beside the old one, flushed to the disk, and then takes its name. It holds the keys
//! of permits, so that only its owner may read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use breaker::RowVersion;
use breakerd_common::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::engine::{Engine, KnownRow, SealingKey};
use crate::feed::Feeds;
use crate::permit_keys::PermitKeys;
use crate::replica::ReadPosition;
use crate::store::{EncodedSnapshot, LocalSnapshot, Meta, SnapshotError, SnapshotKey, StoredBreaker};

/// The largest file: some hundred thousand breakers. Beyond it closed breakers are left out.
const BYTES_MAX: usize = 64 << 20;
/// A larger file was not written here.
const READ_BYTES_MAX: u64 = 2 * BYTES_MAX as u64;
/// Between two files, if anything changed.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// After a file that took long to make, so many times that long.
const REST: u32 = 20;

/// Why there is no snapshot to start from.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("snapshot {} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what was written, or another version wrote it.
    #[error("snapshot {} {problem}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: SnapshotError,
    },
    /// It is of another database than the one that is set.
    #[error("snapshot {} is of the database {found}, and store.url names {expected}", .path.display())]
    OtherDatabase {
        /// The file.
        path: PathBuf,
        /// The database that it is of.
        found: String,
        /// The database that is set.
        expected: String,
    },
}

/// Reads the snapshot of the database at `store_address`; none: there is no file.
///
/// # Errors
/// [`ReadError`].
pub fn read(path: &Path, store_address: &str) -> Result<Option<LocalSnapshot>, ReadError> {
    let unreadable = |source| ReadError::Unreadable { path: path.to_owned(), source };
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(unreadable)?.len(),
    };
    let unusable = |problem| ReadError::Unusable { path: path.to_owned(), problem };
    if bytes > READ_BYTES_MAX {
        let problem = format!("it has {bytes} bytes, and the limit is {READ_BYTES_MAX}");
        return Err(unusable(SnapshotError::Damaged(problem)));
    }
    let text = String::from_utf8(fs::read(path).map_err(unreadable)?);
    let text = text.map_err(|error| unusable(SnapshotError::Damaged(error.utf8_error().to_string())))?;
    let snapshot = LocalSnapshot::decode(&text).map_err(unusable)?;
    if snapshot.store_address != store_address {
        return Err(ReadError::OtherDatabase {
            path: path.to_owned(),
            found: snapshot.store_address,
            expected: store_address.to_owned(),
        });
    }
    Ok(Some(snapshot))
}

/// Removes what an earlier run kept, if there is anything: it grows old, and holds the keys of permits.
pub fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "removed the local snapshot: store.start_without_store is off");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, path = %path.display(), "cannot remove the local snapshot");
        }
    }
}

/// Writes the snapshot, and answers how many breakers it has no room for.
fn write(path: &Path, snapshot: &LocalSnapshot) -> anyhow::Result<usize> {
    let EncodedSnapshot { text, left_out } = snapshot.encode(BYTES_MAX)?;
    let beside = path.with_extension("new");
    // One that a crash left may have other rights.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(left_out)
}

/// What a snapshot is taken of.
pub struct Source {
    /// The breakers.
    pub engine: Arc<Engine>,
    /// What they are judged by.
    pub control: Arc<Control>,
    /// The keys of permits.
    pub permit_keys: Arc<PermitKeys>,
    /// The store that they are of.
    pub feeds: Arc<Feeds>,
    /// What was read of it.
    pub read: Arc<ReadPosition>,
    /// What it is.
    pub meta: Meta,
    /// Where it is, without its secrets.
    pub store_address: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What was in a snapshot, in short: if none of this changed, it would be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    timeline: u32,
    rows: u64,
    configuration: u64,
    keys: (Vec<u32>, u32),
}

impl Source {
    fn content(&self) -> Content {
        Content {
            timeline: *self.feeds.timeline().borrow(),
            rows: self.read.revision(),
            configuration: self.control.configuration().revision(),
            keys: self.permit_keys.numbers(),
        }
    }

    fn snapshot(&self) -> LocalSnapshot {
        let timeline = *self.feeds.timeline().borrow();
        let (permit_keys, sealing_key) = self.permit_keys.held();
        let key = |key: SealingKey| SnapshotKey { number: key.number, secret: key.secret };
        let breaker = |row: KnownRow| {
            let KnownRow { key, snapshot, version: RowVersion { revision, .. }, entered_by } = row;
            // An earlier life has kept what it read.
            StoredBreaker { key, snapshot, entered_by, decided_by: None, revision }
        };
        LocalSnapshot {
            meta: Meta { timeline, ..self.meta.clone() },
            store_address: self.store_address.clone(),
            taken_at: self.clock.wall(),
            permit_keys: permit_keys.into_iter().map(key).collect(),
            sealing_key,
            configuration: self.control.configuration().stored().clone(),
            breakers: self.engine.known_rows().into_iter().map(breaker).collect(),
        }
    }
}

/// Writes a snapshot each time that something has changed, once a second at the most, until `stop`; then once more. Nothing is
/// written before the store was read.
pub async fn run(source: Arc<Source>, path: PathBuf, stop: CancellationToken) {
    let (mut written, mut failed, mut left_out) = (None, false, 0);
    let mut next = source.clock.now();
    loop {
        let is_last = stop.run_until_cancelled(source.clock.sleep_until(next)).await.is_none();
        let began = source.clock.now();
        let content = source.content();
        if source.read.is_read() && written.as_ref() != Some(&content) {
            let (taken, to) = (Arc::clone(&source), path.clone());
            // Off the threads that decide: with many breakers it takes a second.
            let write = tokio::task::spawn_blocking(move || write(&to, &taken.snapshot()));
            match write.await.unwrap_or_else(|error| Err(error.into())) {
                Ok(now_left_out) => {
                    (written, failed) = (Some(content), false);
                    if now_left_out > 0 && left_out == 0 {
                        tracing::warn!(
                            left_out = now_left_out,
                            bytes_max = BYTES_MAX,
                            "local snapshot is full: closed breakers are left out"
                        );
                    }
                    left_out = now_left_out;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        let error: &dyn std::error::Error = error.as_ref();
                        tracing::warn!(error, path = %path.display(), "cannot write the local snapshot, retrying");
                    }
                }
            }
        }
        if is_last {
            return;
        }
        let now = source.clock.now();
        next = now + WRITE_EVERY.max(now.since(began) * REST);
    }
}
