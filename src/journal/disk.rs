//! What the journal asks of the file system: a trait, so that tests can have a disk that fails in the middle of a line.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The file system under the journal. Reading goes past it.
pub(super) trait Disk: Debug + Send + Sync {
    /// Opens a file to append to, created if need be.
    fn append_to(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;

    /// Creates an empty file with `bytes` allocated behind its end, so that a full disk can still take as much.
    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn AppendFile>>;

    /// Bytes that this process could still write to the file system of `folder`; none: not known.
    fn available(&self, folder: &Path) -> Option<u64>;

    /// Renames a file, over another if there is one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Writes the first bytes of a small file, in one system call; it is created if need be.
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file. One that is not there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A file that is appended to.
pub(super) trait AppendFile: Debug + Send {
    /// Appends some of `bytes` in one system call, and answers how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Cuts the file off behind `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Waits until the content is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl dyn AppendFile {
    /// Appends all of `bytes`. On an error, answers how many bytes were appended before it.
    pub(super) fn write_whole(&mut self, bytes: &[u8]) -> Result<(), (u64, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write(&bytes[written..]) {
                Ok(0) => return Err((written as u64, io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written as u64, error)),
            }
        }
        Ok(())
    }
}

/// Whether a write failed because there is no room, rather than because the disk is broken or read-only.
pub(super) fn is_out_of_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The file system of the operating system.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn append_to(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(open(path)?))
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn AppendFile>> {
        let file = open(path)?;
        file.set_len(0)?;
        allocate(&file, bytes)?;
        Ok(Box::new(file))
    }

    fn available(&self, folder: &Path) -> Option<u64> {
        let free = rustix::fs::statvfs(folder).ok()?;
        Some(free.f_bavail.saturating_mul(free.f_frsize))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // Not truncated before: nothing of it is missing when the process dies between the two.
        OpenOptions::new().write(true).create(true).truncate(false).open(path)?.write_all(bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl AppendFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
