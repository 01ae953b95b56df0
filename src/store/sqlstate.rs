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
        "23505" => unavailable(act, source),
        "42501" => StoreError::Refused(format!("{act}: {source}; grant it to the role in the URL")),
        // A statement that another session has prepared, or that this one should have.
        "26000" | "42P05" => StoreError::Refused(format!(
            "{act}: {source}; connected through a pooler in transaction mode (PgBouncer: pool_mode = transaction) that \
             does not follow prepared statements: use PgBouncer 1.21 or later with max_prepared_statements, connect to \
             Postgres directly, or set pool_mode = session for this database"
        )),
        // Values that do not fit, constraints.
        code if code.starts_with("22") || code.starts_with("23") => corrupt(act, source),
        // Tables that are not there or not as they should be.
        code if code.starts_with("42") => not_as_made(act, &source),
        _ => unavailable(act, source),
    }
}

/// A server that failed, and may answer later.
fn unavailable(act: &'static str, source: sqlx::Error) -> StoreError {
    StoreError::Unavailable { act, problem: problem(&code(&source)), source: Box::new(source) }
}

/// What [`StoreError::Unavailable`] says before what Postgres says.
pub(super) fn problem(code: &str) -> &'static str {
    match code {
        READ_ONLY => "database server is read-only",
        "53300" => {
            "too many connections to the database server: increase max_connections, or the CONNECTION LIMIT of the \
             role or the database"
        }
        "53100" => "disk of the database is full",
        "53200" => "database server is out of memory",
        "55P03" => "lock timeout: another transaction holds a lock",
        "57014" => "statement timeout",
        "57P01" | "57P02" => "database server is shutting down",
        "57P03" => "database server does not accept connections yet",
        code if code.starts_with("28") => "database rejected the role or its password",
        code if code.starts_with("40") => "transaction aborted in favor of another",
        _ => "database error",
    }
}

/// Why a connection could not be made. What the server says names the role and the database, never the password.
pub(super) fn connect_fault(address: &Address, act: &'static str, error: sqlx::Error) -> StoreError {
    let said = error.as_database_error().map(|error| error.message().to_owned()).unwrap_or_default();
    let Address { database, role, .. } = address;
    let advice = match &*code(&error) {
        "28P01" => "correct the password in the URL (store.url, store.url_file) or in the file of PGPASSFILE",
        code if code.starts_with("28") => {
            "correct the role in the URL, or allow it in pg_hba.conf of the server (with TLS, if required)"
        }
        "3D000" => {
            return StoreError::Refused(format!(
                "{address} rejected the connection: {said}; create it (CREATE DATABASE {database} OWNER {role}), or \
                 correct the URL"
            ));
        }
        "42501" => {
            return StoreError::Refused(format!(
                "{address} rejected the connection: {said}; GRANT CONNECT ON DATABASE {database} TO {role}"
            ));
        }
        // A pooler that is asked for what it does not pass on.
        _ if said.starts_with("unsupported startup parameter") => {
            "connected through a pooler: remove the parameter from the URL, or add it to PgBouncer's \
             ignore_startup_parameters"
        }
        _ if said.contains("statement pooling") => {
            "connected through a pooler in statement mode (PgBouncer: pool_mode = statement): connect to Postgres \
             directly, or set pool_mode = session for this database"
        }
        _ if said.starts_with("no such database") || said.starts_with("no such user") => {
            "connected through a pooler that does not know it: add it to PgBouncer's [databases] or auth_file, or \
             correct the URL"
        }
        _ => return fault(act, error),
    };
    StoreError::Refused(format!("{address} rejected the connection: {said}; {advice}"))
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
            "another program has a table of this name: use another database, or a schema of its own \
             (?options=-csearch_path%3Dbreakerd in the URL)"
                .to_owned()
        }
        "42501" => format!(
            "make the role owner of the database (ALTER DATABASE {database} OWNER TO {role}), or GRANT USAGE, CREATE \
             ON \
             SCHEMA public TO {role}"
        ),
        "3F000" => format!(
            "no schema of search_path exists: run CREATE SCHEMA and grant it to {role}, or correct \
             search_path (SHOW search_path)"
        ),
        _ => return None,
    };
    Some(StoreError::Refused(format!("{address}: {act}: {said}; {advice}")))
}

fn code(error: &sqlx::Error) -> Cow<'_, str> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default()
}
