//! What the codes of Postgres mean (SQLSTATE: two characters of class, three of particulars), and what to do about them.

use std::borrow::Cow;

use super::StoreError;
use super::failures::{corrupt, not_as_made};
use super::postgres::Address;

/// A write on a server that takes none.
pub(super) const READ_ONLY: &str = "25006";

/// What a failed statement means.
pub(super) fn fault(act: &'static str, source: sqlx::Error) -> StoreError {
    match &*code(&source) {
        // Two transactions wrote the same id at once: the next attempt finds it known.
        "23505" => StoreError::Unavailable { act, source },
        "42501" => StoreError::Refused(format!("{act}: {source}; grant it to the role in the URL")),
        // A statement that another session has prepared, or that this one should have.
        "26000" | "42P05" => StoreError::Refused(format!(
            "{act}: {source}; a pooler in transaction mode (PgBouncer: pool_mode = transaction) stands between: connect \
             to Postgres directly, or set pool_mode = session for this database"
        )),
        // Values that do not fit, constraints.
        code if code.starts_with("22") || code.starts_with("23") => corrupt(act, source),
        // Tables that are not there or not as they should be.
        code if code.starts_with("42") => not_as_made(act, &source),
        _ => StoreError::Unavailable { act, source },
    }
}

/// What [`StoreError::Unavailable`] says before what Postgres says.
pub(super) fn unavailable(code: &str) -> &'static str {
    match code {
        READ_ONLY => "the server of the database is read-only",
        "53300" => {
            "the server has no connection left for breakerd: raise its max_connections, or the CONNECTION LIMIT of the \
             role or the database"
        }
        "53100" => "the disk of the database is full",
        "53200" => "the server of the database has no memory left",
        "55P03" => "another transaction holds a lock for too long",
        "57014" => "the database took too long, and gave up",
        "57P01" | "57P02" => "the server of the database is shutting down",
        "57P03" => "the server of the database takes no connections yet",
        code if code.starts_with("28") => "the database refuses the role, or its password",
        code if code.starts_with("40") => "the database undid the transaction for another one",
        _ => "the database fails",
    }
}

/// Why a connection could not be made. What the server says names the role and the database, never the password.
pub(super) fn connect_fault(address: &Address, act: &'static str, error: sqlx::Error) -> StoreError {
    let said = error.as_database_error().map(|error| error.message().to_owned()).unwrap_or_default();
    let Address { database, role, .. } = address;
    let advice = match &*code(&error) {
        "28P01" => "correct the password in the URL (store.url, store.url_file) or in the file of PGPASSFILE",
        code if code.starts_with("28") => {
            "correct the role in the URL, or let pg_hba.conf of the server take it (with TLS, if it asks for that)"
        }
        "3D000" => {
            return StoreError::Refused(format!(
                "{address} refuses the connection: {said}; create it (CREATE DATABASE {database} OWNER {role}), or \
                 correct the URL"
            ));
        }
        "42501" => {
            return StoreError::Refused(format!(
                "{address} refuses the connection: {said}; GRANT CONNECT ON DATABASE {database} TO {role}"
            ));
        }
        // A pooler that is asked for what it does not pass on.
        _ if said.starts_with("unsupported startup parameter") => {
            "a pooler stands between: leave the parameter out of the URL, or name it in PgBouncer's \
             ignore_startup_parameters"
        }
        _ if said.contains("statement pooling") => {
            "a pooler in statement mode (PgBouncer: pool_mode = statement) stands between: connect to Postgres directly, \
             or set pool_mode = session for this database"
        }
        _ if said.starts_with("no such database") || said.starts_with("no such user") => {
            "a pooler stands between and does not know it: add it to PgBouncer's [databases] or auth_file, or correct \
             the URL"
        }
        _ => return fault(act, error),
    };
    StoreError::Refused(format!("{address} refuses the connection: {said}; {advice}"))
}

/// Why the tables could not be made; none: the code says nothing of that.
pub(super) fn migration_fault(
    address: &Address,
    act: &'static str,
    error: &sqlx::Error,
) -> Option<StoreError> {
    let said = error.as_database_error()?.message();
    let Address { database, role, .. } = address;
    let advice = match &*code(error) {
        // A table, a view or a type of that name.
        "42P07" | "42710" | "42723" => {
            "another program has a table of this name there: give breakerd a database of its own, or a schema \
             (?options=-csearch_path%3Dbreakerd in the URL)"
                .to_owned()
        }
        "42501" => format!(
            "make the role owner of the database (ALTER DATABASE {database} OWNER TO {role}), or GRANT USAGE, CREATE ON \
             SCHEMA public TO {role}"
        ),
        "3F000" => format!(
            "no schema of the role's search_path is there: CREATE SCHEMA one and let {role} use it, or correct \
             search_path (SHOW search_path)"
        ),
        _ => return None,
    };
    Some(StoreError::Refused(format!("{address}: {act}: {said}; {advice}")))
}

fn code(error: &sqlx::Error) -> Cow<'_, str> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default()
}
