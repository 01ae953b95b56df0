//! The data folder, which one process has for itself.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// The lock file of the folder.
const LOCK_FILE: &str = "breakerd.lock";

/// A data folder, held until this is dropped. The lock is the operating system's on an open file: a process that
/// died does not hold it, whatever the content of the file.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: Mutex<File>,
}

/// Why a data folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written.
    #[error("cannot use data directory {}: change data_dir (BREAKERD_DATA_DIR, --data-dir)", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("data directory {} is locked by another breakerd{}: stop it or change data_dir (BREAKERD_DATA_DIR, \
             --data-dir)", path.display(), of(holder))]
    LockedByAnother {
        /// The folder.
        path: PathBuf,
        /// The process that has it, as the lock file names it.
        holder: String,
    },
}

fn of(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(" (process {holder})") }
}

impl DataDir {
    /// Whether the path can be a data folder, without making or locking anything: one that is not there yet can.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn check(path: &Path) -> Result<(), DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(there) if there.is_dir() => Ok(()),
            Ok(_) => Err(unusable(io::Error::other("not a directory"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(unusable(error)),
        }
    }

    /// Makes the folder if need be, and takes it.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        Self::check(path)?;
        fs::create_dir_all(path)
            .map_err(|source| DataDirError::Unusable { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), lock: Mutex::new(take_lock(path)?) })
    }

    /// Checks that the folder's lock is still this process's. A lock file that was deleted or replaced (a folder that
    /// was restored, say) is locked again, so that no other process can use the folder unnoticed.
    ///
    /// # Errors
    /// [`DataDirError::LockedByAnother`] when another process has locked the file that is there now.
    pub fn hold(&self) -> Result<(), DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: self.path.clone(), source };
        let mut lock = self.lock.lock();
        let ours = lock.metadata().map_err(unusable)?;
        match fs::metadata(self.path.join(LOCK_FILE)) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(error)),
        }
        *lock = take_lock(&self.path)?;
        tracing::warn!(
            data_dir = %self.path.display(),
            "lock file of the data directory was deleted or replaced, locked again"
        );
        Ok(())
    }

    /// The SQLite file.
    pub fn database(&self) -> PathBuf {
        self.path.join("breakerd.db")
    }

    /// What was last seen of a store.
    pub fn position(&self, store_id: u64) -> PathBuf {
        self.path.join(format!("position-{store_id:016x}"))
    }

    /// What was last known of the store, to start from while that is away. One file, of the store that was used last.
    pub fn snapshot(&self) -> PathBuf {
        self.path.join("store-snapshot")
    }

    /// The journal of a store. One folder a store: what was decided on one is never written to another.
    pub fn journal(&self, store_id: u64) -> PathBuf {
        self.path.join(format!("{JOURNAL}{store_id:016x}"))
    }

    /// The folders of the journals of other stores that may hold changes which their stores do not have.
    ///
    /// # Errors
    /// The operating system's error when a folder cannot be read.
    pub fn other_journals(&self, store_id: u64) -> io::Result<Vec<PathBuf>> {
        let own = self.journal(store_id);
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let is_journal =
                path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(JOURNAL));
            if is_journal && path != own && path.is_dir() && holds_segments(&path)? {
                others.push(path);
            }
        }
        others.sort();
        Ok(others)
    }
}

/// How the folders of journals begin.
const JOURNAL: &str = "journal-";

/// Whether a journal has a segment that its store has not acknowledged.
fn holds_segments(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_pending = entry.path().extension() == Some(OsStr::new("journal"));
        if is_pending && entry.metadata()?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Locks the lock file in `folder`, and writes this process's id into it.
fn take_lock(folder: &Path) -> Result<File, DataDirError> {
    let unusable = |source| DataDirError::Unusable { path: folder.to_owned(), source };
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(folder.join(LOCK_FILE))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only to be helpful: the lock itself has spoken.
            let _ = lock.take(16).read_to_string(&mut holder);
            let holder = holder.trim().to_owned();
            return Err(DataDirError::LockedByAnother { path: folder.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(unusable)?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_had_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/data");
        let first = DataDir::take(&path).unwrap();
        let second = DataDir::take(&path).unwrap_err().to_string();
        let me = format!("is locked by another breakerd (process {})", std::process::id());
        assert!(second.contains(&me), "{second}");
        drop(first);
        assert!(DataDir::take(&path).is_ok(), "whoever is gone holds nothing");
    }

    #[test]
    fn a_lock_file_that_was_replaced_is_locked_again_unless_another_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataDir::take(&path).unwrap();
        first.hold().unwrap();
        fs::remove_file(path.join(LOCK_FILE)).unwrap();
        first.hold().unwrap();
        assert!(matches!(DataDir::take(&path), Err(DataDirError::LockedByAnother { .. })), "held again");

        fs::rename(&path, folder.path().join("moved")).unwrap();
        let second = DataDir::take(&path).unwrap();
        assert!(matches!(first.hold(), Err(DataDirError::LockedByAnother { .. })), "another has it");
        second.hold().unwrap();
    }

    #[test]
    fn the_journal_of_another_store_is_named_while_it_holds_something() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::take(folder.path()).unwrap();
        for store_id in [1, 2, 3] {
            fs::create_dir(data.journal(store_id)).unwrap();
            fs::write(data.journal(store_id).join("000000000001.journal"), "").unwrap();
        }
        assert!(data.other_journals(1).unwrap().is_empty());
        for store_id in [1, 3] {
            fs::write(data.journal(store_id).join("000000000002.journal"), "a line").unwrap();
        }
        assert_eq!(data.other_journals(1).unwrap(), [data.journal(3)]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("file/data");
        let error = DataDir::take(&path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains("--data-dir"), "{error}");
    }
}
