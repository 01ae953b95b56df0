//! The data folder, which one process has for itself.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A data folder, held until this is dropped. The lock is the operating system's on an open file: a process that
/// died does not hold it, whatever the file says.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a data folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written.
    #[error("the data folder {} cannot be used; data_dir (BREAKERD_DATA_DIR, --data-dir) names another", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("another breakerd{} has the data folder {}; stop it, or name another folder with data_dir (BREAKERD_DATA_DIR, --data-dir)", of(holder), path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The process that has it, by its own word.
        holder: String,
    },
}

fn of(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(" (process {holder})") }
}

impl DataDir {
    /// Makes the folder if need be, and takes it.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(|source| {
            // The system says of a file there only that it exists.
            let is_no_folder = source.kind() == io::ErrorKind::AlreadyExists;
            unusable(if is_no_folder { io::Error::other("it is no folder") } else { source })
        })?;
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("breakerd.lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only to be helpful: the lock itself has spoken.
                let _ = lock.take(16).read_to_string(&mut holder);
                let holder = holder.trim().to_owned();
                return Err(DataDirError::Taken { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The SQLite file.
    pub fn database(&self) -> PathBuf {
        self.path.join("breakerd.db")
    }

    /// The journal of a store. One folder a store: what was decided on one is never written to another.
    pub fn journal(&self, store_id: u64) -> PathBuf {
        self.path.join(format!("journal-{store_id:016x}"))
    }
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
        let me = format!("another breakerd (process {}) has the data folder", std::process::id());
        assert!(second.starts_with(&me), "{second}");
        drop(first);
        assert!(DataDir::take(&path).is_ok(), "whoever is gone holds nothing");
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
