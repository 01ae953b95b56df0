//! What the drivers' errors mean to the rest of breakerd, and to the person who reads the log: the cause as the database
//! has it, and what to do about it. What the codes of Postgres mean stands in [`super::sqlstate`].

use std::time::Duration;

use breaker::HumanDuration;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqliteError;

use super::StoreError;
use super::failures::{corrupt, not_as_made};
use super::postgres::Address;
use super::sqlstate;

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
            None => sqlstate::fault(act, source),
        },
        _ => unavailable(act, source),
    }
}

/// A database that did not answer, and may later.
pub(super) fn unavailable(act: &'static str, source: sqlx::Error) -> StoreError {
    StoreError::Unavailable { act, problem: problem(&source), source: Box::new(source) }
}

/// What [`StoreError::Unavailable`] says before its cause.
fn problem(source: &sqlx::Error) -> &'static str {
    match source {
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
            "no database server accepts writes"
        }
        sqlx::Error::Database(error) => match error.try_downcast_ref::<SqliteError>() {
            Some(_) => sqlite_problem(sqlite_kind(source)),
            None => sqlstate::problem(error.code().as_deref().unwrap_or_default()),
        },
        sqlx::Error::BeginFailed | sqlx::Error::InvalidSavePointStatement => {
            "cannot begin a transaction on a failed connection"
        }
        // Whether it is away or busy, who waited cannot tell.
        _ => "store unavailable",
    }
}

/// No answer within the time that a caller is willing to wait for one.
pub(super) fn too_slow(act: &'static str) -> StoreError {
    unavailable(act, sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}

/// No server takes writes: what each of them said.
pub(super) fn not_writable(act: &'static str, message: String) -> StoreError {
    let error = std::io::Error::new(std::io::ErrorKind::ReadOnlyFilesystem, message);
    unavailable(act, sqlx::Error::Io(error))
}

/// What the driver said of a database that did not answer; none: the error is of another kind, or not the driver's.
fn driver_error(error: &StoreError) -> Option<&sqlx::Error> {
    let StoreError::Unavailable { source, .. } = error else { return None };
    source.downcast_ref()
}

/// Whether a write failed because the server takes none.
pub(super) fn is_read_only(error: &StoreError) -> bool {
    let Some(source) = driver_error(error) else { return false };
    source.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref()
        == Some(sqlstate::READ_ONLY)
}

/// Whether the connection to Postgres that failed so is worth nothing any more. One that Postgres answers on is well,
/// unless the answer is that the server goes away, or takes no writes.
pub(super) fn is_lost(error: &StoreError) -> bool {
    let Some(source) = driver_error(error) else { return false };
    match source {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            code == sqlstate::READ_ONLY || code.starts_with("57P") || code.starts_with("08")
        }
        _ => false,
    }
}

/// Why a connection to Postgres could not be made.
pub(super) fn connect_fault(address: &Address, act: &'static str, error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => {
            StoreError::Refused(format!("cannot connect to {address}: {error}; correct the URL"))
        }
        sqlx::Error::Database(_) => sqlstate::connect_fault(address, act, error),
        // The system's own words do not say where.
        sqlx::Error::Io(io) => {
            let io = std::io::Error::new(io.kind(), format!("{address}: {io}"));
            fault(act)(sqlx::Error::Io(io))
        }
        _ => fault(act)(error),
    }
}

/// As [`too_slow`], of a server that does not answer who wants to connect.
pub(super) fn too_slow_to_connect(address: &Address, act: &'static str, waited: Duration) -> StoreError {
    let message = format!("{address}: no answer within {}", HumanDuration(waited));
    let error = std::io::Error::new(std::io::ErrorKind::TimedOut, message);
    unavailable(act, sqlx::Error::Io(error))
}

/// As [`migration_fault`], with what only Postgres has: rights, schemas, and tables of other programs.
pub(super) fn postgres_migration_fault(address: &Address, error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            let act = "create the tables";
            sqlstate::migration_fault(address, act, &source).unwrap_or_else(|| fault(act)(source))
        }
        error => migration_fault(&address.to_string(), error),
    }
}

/// Why the tables could not be brought to this program's form. `location` names the database.
pub(super) fn migration_fault(location: &str, error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            fault("create the tables")(source)
        }
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            StoreError::Refused(format!(
                "{location} was written by a newer breakerd (unknown migration {version}): run the newer version, or \
                 restore an older backup; if another program keeps its migrations there, use another database"
            ))
        }
        MigrateError::VersionMismatch(version) => StoreError::Refused(format!(
            "migration {version} of {location} differs from this build: another program keeps its migrations there (use \
             another database), or another build of breakerd created it"
        )),
        error => StoreError::Refused(format!("cannot migrate {location}: {error}")),
    }
}

fn sqlite_fault(act: &'static str, source: sqlx::Error) -> StoreError {
    match sqlite_kind(&source) {
        // CONSTRAINT, MISMATCH
        Some(19 | 20) => corrupt(act, source),
        // ERROR (no such table), CORRUPT, NOTADB
        Some(1 | 11 | 26) => not_as_made(act, &source),
        _ => unavailable(act, source),
    }
}

/// The low byte is the kind, the rest says more about it (<https://sqlite.org/rescode.html>).
fn sqlite_kind(source: &sqlx::Error) -> Option<u32> {
    let code = source.as_database_error()?.code()?;
    Some(code.parse::<u32>().ok()? & 0xff)
}

fn sqlite_problem(kind: Option<u32>) -> &'static str {
    match kind {
        // BUSY, LOCKED
        Some(5 | 6) => "database file is locked by another program",
        // PERM, READONLY, CANTOPEN
        Some(3 | 8 | 14) => "database file or its directory is not writable",
        // IOERR
        Some(10) => "I/O error on the database file",
        // FULL
        Some(13) => "disk full for the database file",
        _ => "database error",
    }
}
