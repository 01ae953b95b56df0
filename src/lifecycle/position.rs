//! The last position of the store, in a small file of the data folder: by this a start detects that the store has gone
//! back while no breakerd ran.
//!
//! It is not flushed to the disk. After a power cut it may be older than it was, and an older position is a true one too.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::store::{ChangeId, SeenPosition};

/// The file. One line: timeline, revision and nonce, in decimal.
#[derive(Debug)]
pub struct PositionFile {
    path: PathBuf,
    written: Option<SeenPosition>,
    failed: bool,
}

impl PositionFile {
    /// At `path`, in a folder that is there.
    pub fn at(path: PathBuf) -> Self {
        Self { path, written: None, failed: false }
    }

    /// Its content; none: nothing was recorded yet.
    ///
    /// # Errors
    /// When it cannot be read, or is malformed.
    pub fn read(&self) -> io::Result<Option<SeenPosition>> {
        match fs::read_to_string(&self.path) {
            Ok(text) => {
                let seen = parse(&text);
                seen.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a position"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes `seen`, if it is new. A failed write only makes the file older than it could be, and is logged once.
    pub async fn record(mut self, seen: Option<SeenPosition>) -> Self {
        if seen.is_none() || seen == self.written {
            return self;
        }
        let writing = tokio::task::spawn_blocking(move || {
            if let Some(seen) = &seen {
                match self.write(seen) {
                    Ok(()) => {
                        self.written = Some(*seen);
                        self.failed = false;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut self.failed, true) {
                            tracing::warn!(
                                error = &error as &dyn std::error::Error,
                                path = %self.path.display(),
                                "cannot write the store's position; a restart may not notice a restored backup"
                            );
                        }
                    }
                }
            }
            self
        });
        match writing.await {
            Ok(file) => file,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// Atomically: by a file beside it that replaces it.
    fn write(&self, seen: &SeenPosition) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let SeenPosition { timeline, change } = seen;
        fs::write(&beside, format!("{timeline} {} {}\n", change.revision, change.nonce))?;
        fs::rename(&beside, &self.path)
    }
}

fn parse(text: &str) -> Option<SeenPosition> {
    let mut words = text.split_whitespace();
    let timeline = words.next()?.parse().ok()?;
    let revision = words.next()?.parse().ok()?;
    let nonce = words.next()?.parse().ok()?;
    words.next().is_none().then_some(SeenPosition { timeline, change: ChangeId { revision, nonce } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_seen_is_read_again_and_what_is_no_position_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("position");
        let file = PositionFile::at(path.clone());
        assert_eq!(file.read().unwrap(), None);
        let seen = SeenPosition { timeline: 7, change: ChangeId { revision: 12, nonce: u64::MAX } };
        let file = file.record(None).await.record(Some(seen)).await;
        assert_eq!(file.read().unwrap(), Some(seen));
        for text in ["", "7", "7 12", "7 12 x", "7 12 1 1", "-1 2 3"] {
            fs::write(&path, text).unwrap();
            assert_eq!(file.read().unwrap_err().kind(), io::ErrorKind::InvalidData, "{text}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(file.read().is_err());
        let other = SeenPosition { timeline: 8, ..seen };
        assert!(file.record(Some(other)).await.failed);
    }
}
