//! What the drivers' errors mean to the rest of breakerd.

use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqliteError;

use super::StoreError;

/// Tells a database that failed, and may answer later, from one that holds what it should not.
pub(super) fn fault(act: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| match &source {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::TypeNotFound { .. } => corrupt(act, source),
        sqlx::Error::Database(error) => match error.try_downcast_ref::<SqliteError>() {
            Some(_) => sqlite_fault(act, source),
            None => postgres_fault(act, source),
        },
        _ => StoreError::Unavailable { act, source },
    }
}

/// No answer within the time that a caller is willing to wait for one.
pub(super) fn too_slow(act: &'static str) -> StoreError {
    StoreError::Unavailable { act, source: sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()) }
}

/// Why the tables could not be brought to this program's form. `place` names the database.
pub(super) fn migration_fault(place: &str, error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            fault("create the tables")(source)
        }
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            StoreError::Refused(format!(
                "{place} was written by a newer breakerd (this one does not know migration {version}): run that \
                 one, or restore a backup from before"
            ))
        }
        error => StoreError::Refused(format!("{place} cannot be brought up to date: {error}")),
    }
}

fn corrupt(act: &'static str, source: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { act, problem: source.to_string() }
}

/// No fault of a row: whoever has something to write waits with it, until somebody has seen to the database. While a
/// backup is restored, its tables are not there for a moment.
fn not_as_made(act: &'static str, source: &sqlx::Error) -> StoreError {
    StoreError::Refused(format!("{act}: {source}; the database is not as breakerd has made it: restore it"))
}

fn sqlite_fault(act: &'static str, source: sqlx::Error) -> StoreError {
    // The low byte is the kind, the rest says more about it (https://sqlite.org/rescode.html).
    let kind = code(&source).and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    match kind {
        // CONSTRAINT, MISMATCH
        Some(19 | 20) => corrupt(act, source),
        // ERROR (no such table), CORRUPT, NOTADB
        Some(1 | 11 | 26) => not_as_made(act, &source),
        _ => StoreError::Unavailable { act, source },
    }
}

fn postgres_fault(act: &'static str, source: sqlx::Error) -> StoreError {
    // SQLSTATE: two characters of class, three of particulars.
    match code(&source).as_deref() {
        // Two transactions wrote the same id at once: the next attempt finds it known.
        Some("23505") => StoreError::Unavailable { act, source },
        Some("42501") => StoreError::Refused(format!("{act}: {source}; grant it to the role in the URL")),
        // Values that do not fit, constraints.
        Some(code) if ["22", "23"].iter().any(|class| code.starts_with(class)) => corrupt(act, source),
        // Tables that are not there or not as they should be.
        Some(code) if code.starts_with("42") => not_as_made(act, &source),
        _ => StoreError::Unavailable { act, source },
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}
