//! Reading files that other programs write, without ever waiting for long: the path may be a named pipe
//! without a writer, a device, a folder.

use std::fmt;
use std::fs::{FileType, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::document::Document;
use super::error::{Error, Fault, SourceLocation};

/// The interval of polling a pipe without data.
const STREAM_POLL: Duration = Duration::from_millis(20);
/// The most polls before it counts as one without a writer: 10 s, enough for a command that decrypts a file.
const STREAM_POLLS_MAX: u32 = 500;

/// The text of a file. It may hold a password, and so does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct FileText {
    text: Arc<str>,
    /// Whether it can be read again: a pipe gives what it has once.
    is_repeatable: bool,
}

impl FileText {
    /// The text, secrets and all.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether the file can be read again.
    pub(super) fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }
}

impl From<&str> for FileText {
    fn from(text: &str) -> Self {
        Self { text: text.into(), is_repeatable: true }
    }
}

impl fmt::Debug for FileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.text.len())
    }
}

/// What may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// At the start: pipes and devices too (`--config <(decrypt breakerd.toml.enc)`), for a bounded time.
    First,
    /// While breakerd runs: regular files only, which never keep a reader waiting.
    Again,
}

/// The text of the file at `path`, if there is one.
pub(super) fn read(path: &Path, bytes_max: u64, reading: Reading) -> Result<Option<FileText>, Box<Error>> {
    let unreadable = |why: String| Box::new(in_file(path, Fault::Unreadable(why)));
    // Not to block: to open a named pipe otherwise waits for a writer, for ever.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let kind = file.metadata().map_err(|error| unreadable(error.to_string()))?.file_type();
    let readable = file.take(bytes_max + 1);
    let is_stream = !kind.is_file() && !kind.is_dir();
    let bytes = match (is_stream, reading) {
        (true, Reading::Again) => Err(io::Error::other(format!("is {}, not a regular file", name_of(kind)))),
        (true, Reading::First) => read_stream(readable, kind),
        (false, _) if kind.is_dir() => Err(io::Error::other("is a directory, not a file")),
        (false, _) => read_whole(readable),
    };
    let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Box::new(in_file(path, Fault::TooLarge { bytes_max })));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(FileText { text: text.into(), is_repeatable: !is_stream })),
        Err(error) => {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            let location = Document::new(&path.display().to_string(), &valid).at(valid.len()..valid.len());
            Err(Box::new(Error { location, fault: Fault::Syntax("this is not UTF-8".to_owned()) }))
        }
    }
}

/// As [`read`], of a file that must be there.
pub(super) fn read_existing(path: &Path, bytes_max: u64) -> Result<FileText, Box<Error>> {
    read(path, bytes_max, Reading::First)?.ok_or_else(|| Box::new(missing(path)))
}

pub(super) fn missing(path: &Path) -> Error {
    in_file(path, Fault::Unreadable("there is no such file".to_owned()))
}

fn in_file(path: &Path, fault: Fault) -> Error {
    Error { location: SourceLocation::File { path: path.display().to_string().into(), at: None }, fault }
}

fn read_whole(mut file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads to the end without blocking. A pipe without data may have no writer yet: it is waited for.
fn read_stream(mut stream: impl Read, kind: FileType) -> io::Result<Vec<u8>> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 8_192]);
    for _ in 0..STREAM_POLLS_MAX {
        loop {
            match stream.read(&mut chunk) {
                Ok(0) if bytes.is_empty() && kind.is_fifo() => break,
                Ok(0) => return Ok(bytes),
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        std::thread::sleep(STREAM_POLL);
    }
    let seconds = (STREAM_POLL * STREAM_POLLS_MAX).as_secs();
    Err(io::Error::other(format!("is {} that gave no whole text within {seconds} s", name_of(kind))))
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fifo(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    #[test]
    fn what_is_no_file_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        for (path, what) in [
            (fifo(folder.path()), "is a pipe, not a regular file"),
            (folder.path().to_owned(), "is a directory, not a file"),
            ("/dev/zero".into(), "is a device, not a regular file"),
        ] {
            let error = read(&path, 100, Reading::Again).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(&path.display().to_string()), "{error}");
        }
        let error = read(Path::new("/dev/zero"), 100, Reading::First).unwrap_err();
        assert_eq!(error.fault, Fault::TooLarge { bytes_max: 100 });
    }

    #[test]
    fn a_pipe_is_read_at_the_start_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(folder.path());
        let text = "x".repeat(100_000);
        std::thread::scope(|scope| {
            scope.spawn(|| std::fs::write(&path, &text).unwrap());
            let read = read(&path, 1 << 20, Reading::First).unwrap().unwrap();
            assert_eq!((read.expose(), read.is_repeatable()), (&*text, false));
        });
    }
}
