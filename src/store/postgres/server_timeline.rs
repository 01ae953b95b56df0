//! Which timeline Postgres is on. A promoted standby is on another one than the server that it followed, and so is a server
//! that was restored from a base backup: it may lack what was committed.
//!
//! The store keeps the one that was checked last. On another, replicas write nothing until one of them has begun a new timeline
//! of the store: none can know that nothing was lost, as claims of probes leave no trace in the revisions.

use std::io;

use sqlx::postgres::PgConnection;

use crate::store::StoreError;
use crate::store::sqlx_error::fault;

/// The timeline of the server that a statement runs on: an error on a standby.
macro_rules! present {
    () => {
        "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
    };
}

/// Whether the timeline of the server is the one that was checked last. An error on a standby.
pub(super) const IS_CHECKED: &str =
    concat!("(SELECT COALESCE(postgres_timeline = ", present!(), ", true) FROM meta)");

/// The same, for statements that a standby would answer: none there.
pub(super) const IS_CHECKED_UNLESS_STANDBY: &str = concat!(
    "CASE WHEN pg_is_in_recovery() THEN NULL
          ELSE (SELECT COALESCE(postgres_timeline = ",
    present!(),
    ", true) FROM meta) END"
);

/// Begins another timeline of the store, `$1`, unless it is not in `$2` any more. The revision is locked.
pub(super) const BEGIN: &str = concat!(
    "UPDATE meta SET timeline = $1, timeline_revision = revision.n + 1, postgres_timeline = ",
    present!(),
    "
     FROM revision WHERE timeline = $2"
);

/// Takes note of the timeline that the server is on, if none was ever checked.
pub(super) async fn note_first(connection: &mut PgConnection) -> Result<(), StoreError> {
    let note =
        concat!("UPDATE meta SET postgres_timeline = ", present!(), " WHERE postgres_timeline IS NULL");
    sqlx::query(note).execute(connection).await.map_err(fault("note the timeline of the server"))?;
    Ok(())
}

/// What a write says while the timeline of the server is not checked. A poll checks it, within a second.
pub(super) fn unchecked(act: &'static str) -> StoreError {
    let source = io::Error::other("Postgres is on a timeline that no replica has checked yet");
    StoreError::Unavailable { act, problem: "the database may have gone back", source: source.into() }
}
