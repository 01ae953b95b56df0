//! Where a database is, without the secrets of its URL.

use std::fmt;

use sqlx::postgres::PgConnectOptions;

/// A database of a server, and the role that is used.
#[derive(Debug, Clone)]
pub(in crate::store) struct Address {
    pub(in crate::store) database: String,
    pub(in crate::store) role: String,
    host: String,
    port: u16,
}

impl Address {
    pub(super) fn of(options: &PgConnectOptions) -> Self {
        let socket = options.get_socket().map(|socket| socket.display().to_string());
        let host = socket.unwrap_or_else(|| match options.get_host() {
            // As it is written in a URL.
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_owned(),
        });
        Self {
            database: options.get_database().unwrap_or(options.get_username()).to_owned(),
            role: options.get_username().to_owned(),
            host,
            port: options.get_port(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {} at {}:{}", self.database, self.host, self.port)
    }
}
