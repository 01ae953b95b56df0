//! How far the store has come, in a small file beside the segments: after a crash the segment that was written to is
//! neither acknowledged nor pending as a whole, and only what the store has not acknowledged counts.
//!
//! It serves what is counted and shown, and says which changes of an earlier life a process that starts without its store lets stand
//! until it answers. What it covers is sent to the store again all the same. So it need not be synced: one that is missing, damaged
//! or behind only has too much counted, or stand.

use std::io::{self, Read as _};
use std::path::Path;

use super::disk::Disk;

const NAME: &str = "acknowledged";

/// Behind the last record that the store has acknowledged: the number of its segment, and an offset in it.
#[derive(Debug, Default)]
pub(super) struct AcknowledgedMark(Option<(u64, u64)>);

impl AcknowledgedMark {
    /// The one in `folder`.
    pub(super) fn read(folder: &Path, disk: &dyn Disk) -> Self {
        let mut text = String::new();
        let read = disk.read_from(&folder.join(NAME), 0).and_then(|mut file| file.read_to_string(&mut text));
        if read.is_err() {
            return Self::default();
        }
        let numbers = text.trim_end().split_once(' ');
        Self(numbers.and_then(|(number, offset)| Some((number.parse().ok()?, offset.parse().ok()?))))
    }

    /// Whether the store has acknowledged the record that begins there.
    pub(super) fn covers(&self, number: u64, offset: u64) -> bool {
        self.0.is_some_and(|mark| (number, offset) < mark)
    }

    /// Segments count up to `number`: a mark beyond them is of others. Its file goes too, as segments will be of that number
    /// again.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn forget_beyond(&mut self, number: u64, folder: &Path, disk: &dyn Disk) -> io::Result<()> {
        if self.0.is_some_and(|(marked, _)| marked > number) {
            disk.remove(&folder.join(NAME))?;
            self.0 = None;
        }
        Ok(())
    }

    /// The store has come to there. What is sent again does not take it back.
    pub(super) fn advance(&mut self, folder: &Path, disk: &dyn Disk, number: u64, offset: u64) {
        if self.0.is_some_and(|mark| mark >= (number, offset)) {
            return;
        }
        // Of a fixed length, so that nothing of an earlier one stays behind it.
        let text = format!("{number:020} {offset:020}\n");
        match disk.overwrite(&folder.join(NAME), text.as_bytes()) {
            Ok(()) => self.0 = Some((number, offset)),
            Err(error) => tracing::debug!(%error, "journal cannot note what the store has acknowledged"),
        }
    }
}
