//! What the journal asks of the file system: a trait, so that tests can have a disk that fails in the middle of a line.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The file system under the journal.
pub(super) trait Disk: Debug + Send + Sync {
    /// Creates a folder, if need be.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// The paths of what is in a folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// How many bytes a file has.
    fn length(&self, path: &Path) -> io::Result<u64>;

    /// Opens a file to read it from `offset` on.
    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Box<dyn BufRead + Send>>;

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

/// Bytes that are read in one system call.
const READ_BYTES: usize = 64 * 1024;

/// The file system of the operating system.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Box<dyn BufRead + Send>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(BufReader::with_capacity(READ_BYTES, file)))
    }

    fn append_to(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(open(path)?))
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn AppendFile>> {
        let file = open(path)?;
        file.set_len(0)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes)?;
        Ok(Box::new(file))
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&self, _path: &Path, _bytes: u64) -> io::Result<Box<dyn AppendFile>> {
        Err(io::ErrorKind::Unsupported.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time, and is interrupted before each.
    #[derive(Debug, Default)]
    struct Slow {
        taken: Vec<u8>,
        is_interrupted: bool,
    }

    impl AppendFile for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.is_interrupted = !self.is_interrupted;
            if self.is_interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.taken.len() >= 9 {
                return Ok(0);
            }
            let count = bytes.len().min(3);
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn truncate(&mut self, _length: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_is_written_however_little_the_file_takes_at_one_time() {
        let mut file = Slow::default();
        (&mut file as &mut dyn AppendFile).write_whole(b"12345678").unwrap();
        assert_eq!(file.taken, b"12345678");
    }

    #[test]
    fn a_file_that_takes_no_more_says_how_much_it_has_taken() {
        let mut file = Slow::default();
        let (written, error) = (&mut file as &mut dyn AppendFile).write_whole(b"123456789abc").unwrap_err();
        assert_eq!((written, error.kind()), (9, io::ErrorKind::WriteZero));
    }

    #[test]
    fn only_a_lack_of_room_is_one() {
        use io::ErrorKind::{
            FileTooLarge, Other, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        };
        let is = |kind: io::ErrorKind| is_out_of_space(&kind.into());
        assert!([StorageFull, QuotaExceeded, FileTooLarge].into_iter().all(is));
        assert!(![ReadOnlyFilesystem, PermissionDenied, Other].into_iter().any(is));
    }

    #[test]
    fn the_file_system_says_how_much_it_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let free = RealDisk.available(folder.path()).unwrap();
        assert!(free > 1_000_000, "{free} bytes: a test needs more as well");
        assert_eq!(RealDisk.available(&folder.path().join("none")), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_removed_and_one_that_stays_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        RealDisk.remove(&path).unwrap();
        assert!(!path.exists());
        RealDisk.remove(&path).unwrap();
        // A folder is no file.
        RealDisk.remove(folder.path()).unwrap_err();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_reserved_takes_its_room_at_once_and_is_empty() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reserved");
        fs::write(&path, "of an earlier life").unwrap();
        let _file = RealDisk.reserve(&path, 1 << 20).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 0);
        assert!(metadata.blocks() * 512 >= 1 << 20, "{} blocks", metadata.blocks());
    }
}
