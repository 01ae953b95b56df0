//! The files of the journal: segments of lines, appended to, and removed when the store has all of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A segment that reached this is closed, and the next begun: what the store has can then be removed in parts.
const SEGMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The segments in one folder. Lines are appended to the newest.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    /// The closed ones, oldest first, each with the place of its last line.
    closed: Vec<(PathBuf, u64)>,
    open: File,
    open_number: u64,
    open_bytes: u64,
    closed_bytes: u64,
}

/// A segment's path, and what is in it.
pub(super) type Content = (PathBuf, Vec<u8>);

impl Segments {
    /// Opens the folder, made if need be, for appending to a new segment. Answers the content of those that are
    /// there, the oldest first; they stay until [`Segments::start_over`].
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Content>)> {
        fs::create_dir_all(folder)?;
        let mut found: Vec<(u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if let Some(number) = number_of(&path) {
                found.push((number, path));
            }
        }
        found.sort();
        let open_number = found.last().map_or(1, |(number, _)| number + 1);
        let mut contents = Vec::with_capacity(found.len());
        let mut closed = Vec::with_capacity(found.len());
        let mut closed_bytes = 0;
        for (_, path) in found {
            let mut content = Vec::new();
            File::open(&path)?.read_to_end(&mut content)?;
            closed_bytes += content.len() as u64;
            closed.push((path.clone(), 0));
            contents.push((path, content));
        }
        let open = create(folder, open_number)?;
        let folder = folder.to_owned();
        Ok((Self { folder, closed, open, open_number, open_bytes: 0, closed_bytes }, contents))
    }

    /// Appends whole lines. `place` counts lines up; it says later what may be removed.
    pub(super) fn append(&mut self, lines: &[u8], place: u64) -> io::Result<()> {
        // One write: another process that reads after a crash sees all of it, or a torn end.
        self.open.write_all(lines)?;
        self.open_bytes += lines.len() as u64;
        if self.open_bytes >= SEGMENT_BYTES_MAX {
            self.rotate(place)?;
        }
        Ok(())
    }

    /// Removes the closed segments that hold only lines up to `place`; with `empty`, when nothing in the
    /// files is needed any more, the lines of the open one too.
    pub(super) fn remove_until(&mut self, place: u64, empty: bool) -> io::Result<()> {
        while let Some((path, last)) = self.closed.first() {
            if *last > place {
                break;
            }
            let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
            remove(path)?;
            self.closed_bytes = self.closed_bytes.saturating_sub(bytes);
            self.closed.remove(0);
        }
        if empty && self.open_bytes > 0 {
            self.open.set_len(0)?;
            self.open_bytes = 0;
        }
        Ok(())
    }

    /// Puts `lines` in the place of everything. A crash in between leaves both, and nothing is written twice,
    /// since the store knows every entry by its id.
    pub(super) fn start_over(&mut self, lines: &[u8], place: u64) -> io::Result<()> {
        let old: Vec<PathBuf> =
            self.closed.iter().map(|(path, _)| path.clone()).chain([self.open_path()]).collect();
        let number = self.open_number + 1;
        let mut open = create(&self.folder, number)?;
        open.write_all(lines)?;
        self.open = open;
        self.open_number = number;
        self.open_bytes = lines.len() as u64;
        self.closed.clear();
        self.closed_bytes = 0;
        for path in old {
            remove(&path)?;
        }
        if self.open_bytes >= SEGMENT_BYTES_MAX {
            self.rotate(place)?;
        }
        Ok(())
    }

    /// Bytes in all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.closed_bytes + self.open_bytes
    }

    fn rotate(&mut self, place: u64) -> io::Result<()> {
        let next = create(&self.folder, self.open_number + 1)?;
        self.closed.push((self.open_path(), place));
        self.closed_bytes += self.open_bytes;
        self.open = next;
        self.open_number += 1;
        self.open_bytes = 0;
        Ok(())
    }

    fn open_path(&self) -> PathBuf {
        path_of(&self.folder, self.open_number)
    }
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.journal"))
}

fn number_of(path: &Path) -> Option<u64> {
    if path.extension()? != "journal" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

fn create(folder: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path_of(folder, number))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
