//! A disk in memory: a simulation opens journals by the hundred thousand, and would mostly wait for files.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{AppendFile, Disk};

/// A disk in memory. It outlives the journals on it, as a disk outlives a process. Each clone is the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<PathBuf, MemoryFile>>>,
}

/// What a file has, whatever its name is by now. Each clone is the same one.
#[derive(Debug, Clone, Default)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryDisk {
    /// Removes everything.
    pub(crate) fn clear(&self) {
        self.files.lock().clear();
    }

    fn find(&self, path: &Path) -> io::Result<MemoryFile> {
        self.files.lock().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, path: &Path) -> MemoryFile {
        self.files.lock().entry(path.to_owned()).or_default().clone()
    }
}

impl Disk for MemoryDisk {
    /// A folder is there as soon as a file is in it.
    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.files.lock();
        Ok(files.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(self.find(path)?.0.lock().len() as u64)
    }

    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Box<dyn BufRead + Send>> {
        let file = self.find(path)?;
        let bytes = file.0.lock();
        let begin = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        Ok(Box::new(Cursor::new(bytes[begin..].to_vec())))
    }

    fn append_to(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(self.create(path)))
    }

    fn reserve(&self, path: &Path, _bytes: u64) -> io::Result<Box<dyn AppendFile>> {
        let file = self.create(path);
        file.0.lock().clear();
        Ok(Box::new(file))
    }

    fn available(&self, _folder: &Path) -> Option<u64> {
        None
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.create(path);
        let mut content = file.0.lock();
        let behind = content.len().min(bytes.len());
        content.splice(..behind, bytes.iter().copied());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().remove(path);
        Ok(())
    }
}

impl AppendFile for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.lock().resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What each step answers, and what a disk has in the end, whichever it is.
fn check(disk: &dyn Disk, folder: &Path) {
    let path = |name: &str| folder.join(name);
    let read = |name: &str, offset| {
        let mut text = String::new();
        disk.read_from(&path(name), offset)?.read_to_string(&mut text).map(|_| text)
    };
    let is_missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    disk.create_folder(folder).unwrap();
    assert!(is_missing(disk.length(&path("a")).unwrap_err()) && is_missing(read("a", 0).unwrap_err()));
    let mut file = disk.append_to(&path("a")).unwrap();
    file.write_whole(b"first\n").unwrap();
    disk.rename(&path("a"), &path("b")).unwrap();
    assert!(is_missing(disk.rename(&path("a"), &path("c")).unwrap_err()));
    // It is the same file under its new name.
    file.write_whole(b"second\n").unwrap();
    disk.append_to(&path("b")).unwrap().write_whole(b"third\n").unwrap();
    assert_eq!(read("b", 6).unwrap(), "second\nthird\n");
    assert_eq!(read("b", 100).unwrap(), "");
    file.truncate(6).unwrap();
    assert_eq!((read("b", 0).unwrap().as_str(), disk.length(&path("b")).unwrap()), ("first\n", 6));
    for text in ["one", "sixteen", "two"] {
        disk.overwrite(&path("mark"), text.as_bytes()).unwrap();
    }
    assert_eq!(read("mark", 0).unwrap(), "twoteen");
    let mut reserved = disk.reserve(&path("mark"), 4096).unwrap();
    assert_eq!(disk.length(&path("mark")).unwrap(), 0);
    reserved.write_whole(b"x").unwrap();
    reserved.sync().unwrap();
    // Over another file.
    disk.rename(&path("mark"), &path("b")).unwrap();
    assert_eq!(read("b", 0).unwrap(), "x");
    assert_eq!(disk.list(folder).unwrap(), [path("b")]);
    disk.remove(&path("b")).unwrap();
    disk.remove(&path("b")).unwrap();
    assert!(disk.list(folder).unwrap().is_empty());
}

#[test]
fn a_disk_in_memory_does_as_the_file_system_does() {
    let folder = tempfile::tempdir().unwrap();
    check(&super::disk::RealDisk, &folder.path().join("journal"));
    let disk = MemoryDisk::default();
    check(&disk, Path::new("journal"));
    disk.append_to(Path::new("journal/a")).unwrap();
    disk.clear();
    assert!(disk.list(Path::new("journal")).unwrap().is_empty());
}
