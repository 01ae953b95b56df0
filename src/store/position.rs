//! Where a store is: its timeline, its newest revision, and whether it is still the history that was seen before.
//!
//! A revision is only a number: a store that was restored from a backup gives the numbers of what it lost to other
//! changes. So each revision has a random nonce, and one that was seen with another nonce is of a history that is gone.

use sqlx::FromRow;

use super::StoreError;
use super::columns::{Reader, random};

/// A revision of one history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangeId {
    /// The revision; 0: nothing was changed yet.
    pub revision: u64,
    /// Random, drawn by the transaction that made the revision; 0 of revision 0.
    pub nonce: u64,
}

/// Where a store is, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Another number after each time that the store was found to have gone back, and a larger one.
    pub timeline: u32,
    /// The newest revision.
    pub newest: ChangeId,
    /// The nonce of the revision that was asked about; none: there is no such revision, or it is so old that its
    /// nonce was pruned.
    pub nonce: Option<u64>,
}

impl Position {
    /// Whether the store is in another history than `seen`, or before it: a backup was restored. `seen` is the change
    /// whose revision was asked about.
    pub fn went_back_behind(&self, seen: ChangeId) -> bool {
        self.newest.revision < seen.revision || self.nonce.is_some_and(|nonce| nonce != seen.nonce)
    }
}

/// How both stores ask. `$1`: the revision to find the nonce of.
pub(super) const POSITION: &str = "SELECT (SELECT timeline FROM meta) AS timeline, revision.n AS newest,
        (SELECT nonce FROM change WHERE rev = revision.n) AS newest_nonce,
        (SELECT nonce FROM change WHERE rev = $1) AS nonce
 FROM revision";

/// How both stores start a new timeline.
pub(super) const RENEW_TIMELINE: &str = "UPDATE meta SET timeline = $1 WHERE timeline = $2";

/// The answer to [`POSITION`].
#[derive(FromRow)]
pub(super) struct PositionRow {
    timeline: i64,
    newest: i64,
    newest_nonce: Option<i64>,
    nonce: Option<i64>,
}

impl PositionRow {
    pub(super) fn position(self) -> Result<Position, StoreError> {
        let reader = Reader { act: "read the revision", row: "revision" };
        let newest = ChangeId {
            revision: reader.number("n", self.newest)?,
            nonce: self.newest_nonce.map_or(0, i64::cast_unsigned),
        };
        let timeline = reader.number("timeline", self.timeline)?;
        Ok(Position { timeline, newest, nonce: self.nonce.map(i64::cast_unsigned) })
    }
}

/// A timeline after `past`: larger, and random, so that two stores that are restored from the same backup do not go on
/// under the same one.
pub(super) fn timeline_after(past: u32) -> Result<i64, StoreError> {
    let step: [u8; 2] = random("draw a timeline")?;
    // 2^32 in steps of 2^15 on average: for more restores than a store sees.
    Ok(i64::from(past.saturating_add(1 + u32::from(u16::from_le_bytes(step)))))
}
