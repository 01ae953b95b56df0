//! Whether the file that is open is still the file that is there.
//!
//! A file that was deleted or replaced stays open: SQLite writes into it without an error, and the next start finds nothing
//! of it. So its device and inode are looked at before each write, after each commit, at each new connection and at
//! each ping. While another file, or none, is there, nothing is reported as written. Only the very same file makes that
//! end: what was written meanwhile went into it. The same goes for the write-ahead log beside it.

use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::store::StoreError;

/// The file that a store was opened with.
#[derive(Debug)]
pub(super) struct FileIdentity {
    path: PathBuf,
    wal_path: PathBuf,
    database: FileId,
    /// The write-ahead log of the connection that writes; none: not looked at since it was opened.
    wal: Mutex<Option<FileId>>,
}

const LOOK: &str = "look at the database's file";

/// What tells a file from every other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Takes note of the file at `path`, which is there.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let mut wal_path = path.as_os_str().to_owned();
        wal_path.push("-wal");
        let database = file_id(path)
            .and_then(|id| id.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(|error| StoreError::unavailable(LOOK, error))?;
        Ok(Self { path: path.to_owned(), wal_path: wal_path.into(), database, wal: Mutex::new(None) })
    }

    /// Whether the database is the file that it was.
    ///
    /// # Errors
    /// [`StoreError::Replaced`], [`StoreError::Unavailable`] when that cannot be found out.
    pub(super) fn check_database(&self) -> Result<(), StoreError> {
        check(&self.path, self.database)
    }

    /// Whether the database and the write-ahead log are the files that they were. To be called while a connection that
    /// writes is open: with the last connection the log goes, as it should.
    ///
    /// # Errors
    /// As [`FileIdentity::check_database`].
    pub(super) fn check_both(&self) -> Result<(), StoreError> {
        self.check_database()?;
        let mut wal = self.wal.lock();
        if let Some(known) = *wal {
            return check(&self.wal_path, known);
        }
        *wal = file_id(&self.wal_path).unwrap_or_default();
        Ok(())
    }

    /// A connection that writes was opened, and with it perhaps a new write-ahead log.
    pub(super) fn forget_wal(&self) {
        *self.wal.lock() = None;
    }
}

fn check(path: &Path, known: FileId) -> Result<(), StoreError> {
    let became = match file_id(path) {
        Ok(Some(id)) if id == known => return Ok(()),
        Ok(Some(_)) => "replaced by another file",
        Ok(None) => "deleted or moved away",
        Err(error) => return Err(StoreError::unavailable(LOOK, error)),
    };
    Err(StoreError::Replaced(format!(
        "the file {} was {became} while breakerd runs; nothing is recorded in it any more, and changes are kept in the \
         journal: put the very same file back, or restart breakerd to go on with what is there now",
        path.display()
    )))
}

/// None: there is no file.
#[cfg(unix)]
fn file_id(path: &Path) -> io::Result<Option<FileId>> {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(path) {
        Ok(file) => Ok(Some(FileId { device: file.dev(), inode: file.ino() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Elsewhere an open file cannot be deleted or replaced.
#[cfg(not(unix))]
fn file_id(path: &Path) -> io::Result<Option<FileId>> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(Some(FileId { device: 0, inode: 0 })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
