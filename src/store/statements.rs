//! Statements that are the same for SQLite and Postgres, and their rows.

use sqlx::FromRow;

use super::columns::{Reader, random};
use super::{ChangeId, Position, StoreError};

/// Touches every table that breakerd writes to while it runs, and changes nothing: fails where one is gone, or may not be
/// written.
pub(super) const TOUCH_TABLES: &str = "
    UPDATE breaker SET service = service WHERE false;
    UPDATE transition SET service = service WHERE false;
    UPDATE receipt SET revision = revision WHERE false;
    UPDATE change SET rev = rev WHERE false;
    UPDATE file_config SET revision = revision WHERE false;
    UPDATE audit SET service = service WHERE false;
    UPDATE episode SET service = service WHERE false;
    UPDATE open_time SET service = service WHERE false;
    UPDATE config_head SET revision = revision WHERE false;
    UPDATE service_config SET service = service WHERE false;
    UPDATE service_override SET service = service WHERE false;
    UPDATE permit_key SET number = number WHERE false;
    UPDATE config_request SET digest = digest WHERE false";

/// The newest revision, its timeline and nonces. `$1`: the revision to find the nonce of.
pub(super) const POSITION: &str = "SELECT (SELECT timeline FROM meta) AS timeline, revision.n AS newest,
        (SELECT nonce FROM change WHERE rev = revision.n) AS newest_nonce,
        (SELECT nonce FROM change WHERE rev = $1) AS nonce
 FROM revision";

/// Starts a new timeline.
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
        Ok(Position { timeline, newest, nonce: self.nonce.map(i64::cast_unsigned), is_checked: true })
    }
}

/// A step to another timeline.
pub(super) fn random_step() -> Result<u16, StoreError> {
    random("draw a timeline").map(u16::from_le_bytes)
}
