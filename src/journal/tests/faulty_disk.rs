//! A disk that fails when a test says so.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::journal::disk::{AppendFile, Disk, RealDisk};

/// The real file system, which fails when it is told to.
#[derive(Debug, Default)]
pub(super) struct FaultyDisk {
    fault: Arc<Mutex<Option<Fault>>>,
    /// Files cannot be cut off, whether they take bytes or not.
    keeps_length: Arc<AtomicBool>,
    /// Files keep their names.
    keeps_names: AtomicBool,
    /// Bytes that are free on a disk without a fault; none: more than anybody needs.
    free: Mutex<Option<u64>>,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    kind: io::ErrorKind,
    /// Bytes that are still written before it shows, by all files.
    after: usize,
    /// Files that were reserved take bytes all the same, and files can be cut off.
    spares_reserved: bool,
}

impl FaultyDisk {
    pub(super) fn fails(&self, kind: io::ErrorKind, after: usize) {
        *self.fault.lock() = Some(Fault { kind, after, spares_reserved: false });
    }

    /// Only what was reserved takes anything.
    pub(super) fn is_full(&self) {
        let kind = io::ErrorKind::StorageFull;
        *self.fault.lock() = Some(Fault { kind, after: 0, spares_reserved: true });
    }

    pub(super) fn works(&self) {
        *self.fault.lock() = None;
    }

    /// No file can be cut off from now on.
    pub(super) fn keeps_length(&self) {
        self.keeps_length.store(true, Ordering::Relaxed);
    }

    /// No file can be renamed from now on, or all can again.
    pub(super) fn keeps_names(&self, keeps: bool) {
        self.keeps_names.store(keeps, Ordering::Relaxed);
    }

    /// Has so many bytes left.
    pub(super) fn has_free(&self, bytes: u64) {
        *self.free.lock() = Some(bytes);
    }
}

impl FaultyDisk {
    fn file(&self, file: Box<dyn AppendFile>, is_reserved: bool) -> Box<dyn AppendFile> {
        let (fault, keeps_length) = (Arc::clone(&self.fault), Arc::clone(&self.keeps_length));
        Box::new(FaultyFile { file, fault, keeps_length, is_reserved })
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn AppendFile>,
    fault: Arc<Mutex<Option<Fault>>>,
    keeps_length: Arc<AtomicBool>,
    is_reserved: bool,
}

impl Disk for FaultyDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.create_folder(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(folder)
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        RealDisk.length(path)
    }

    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Box<dyn BufRead + Send>> {
        RealDisk.read_from(path, offset)
    }

    fn append_to(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        if let Some(Fault { kind: io::ErrorKind::ReadOnlyFilesystem, .. }) = *self.fault.lock() {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let file = RealDisk.append_to(path)?;
        Ok(self.file(file, false))
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn AppendFile>> {
        if let Some(fault) = *self.fault.lock() {
            return Err(fault.kind.into());
        }
        let file = RealDisk.reserve(path, bytes).or_else(|_| RealDisk.append_to(path))?;
        Ok(self.file(file, true))
    }

    fn available(&self, _folder: &Path) -> Option<u64> {
        Some(if self.fault.lock().is_some() { 0 } else { self.free.lock().unwrap_or(u64::MAX) })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.keeps_names.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        RealDisk.rename(from, to)
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(fault) = *self.fault.lock() {
            return Err(fault.kind.into());
        }
        RealDisk.overwrite(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
}

impl AppendFile for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut fault = self.fault.lock();
        let Some(fault) = fault.as_mut().filter(|fault| !(fault.spares_reserved && self.is_reserved)) else {
            return self.file.write(bytes);
        };
        if fault.after == 0 {
            return Err(fault.kind.into());
        }
        let written = self.file.write(&bytes[..bytes.len().min(fault.after)])?;
        fault.after -= written;
        Ok(written)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        match *self.fault.lock() {
            _ if self.keeps_length.load(Ordering::Relaxed) => Err(io::ErrorKind::Other.into()),
            Some(fault) if !fault.spares_reserved => Err(fault.kind.into()),
            _ => self.file.truncate(length),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}
