//! One table of every setting beside the thresholds: its key, its variable, its flag, its default, what it takes.
//!
//! The file, the environment, the command line and docs/configuration.md all go through this table, so that a
//! setting cannot have one range here and another there. (The thresholds have such a table of their own:
//! `breaker::Field`.)

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::value::{Given, Refusal};
use super::value_kind::{DatabaseUrl, LogFormat, PRESENCES, Take, ValueKind};
use crate::auth::ClientCertificate;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its place in the file: `grpc.listen`.
    pub key: &'static str,
    /// Its variable: `BREAKERD_GRPC_LISTEN`.
    pub variable: &'static str,
    /// Its flag of `breakerd serve`, if it has one: `grpc-listen`.
    pub flag: Option<&'static str>,
    /// What applies when nothing sets it, as a text; empty: nothing does.
    pub default: &'static str,
    /// The default in words, where the text does not say all.
    pub default_words: Option<&'static str>,
    /// What it takes.
    pub takes: ValueKind,
    doc: &'static str,
}

macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $field:ident: $type:ty = $key:literal, $variable:literal, $flag:expr,
            $default:literal $(or $words:literal)?, $takes:expr;
    )+) => {
        /// Every setting, in the order of the documents.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            key: $key,
            variable: $variable,
            flag: $flag,
            default: $default,
            default_words: settings!(@words $($words)?),
            takes: $takes,
            doc: concat!($($doc),+),
        }),+];

        /// How this process runs: everything but the thresholds. Read at the start; a change needs a restart.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for Settings {
            /// What applies when nothing is set. (The replica's name is then `breakerd`.)
            fn default() -> Self {
                Self {
                    $($field: <$type as Take>::take(Given::Text($default), $takes)
                        .expect(concat!("the default of ", $key, " is right")),)+
                }
            }
        }

        impl Settings {
            /// Sets one by its key.
            pub(super) fn set(&mut self, setting: &Setting, given: Given<'_>) -> Result<(), Refusal> {
                match setting.key {
                    $($key => self.$field = Take::take(given, setting.takes)?,)+
                    _ => return Err(Refusal::PLAIN),
                }
                Ok(())
            }

            /// The keys of the settings that `other` has otherwise.
            pub fn differing(&self, other: &Self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if self.$field != other.$field { keys.push($key); })+
                keys
            }
        }
    };
    (@words) => { None };
    (@words $words:literal) => { Some($words) };
}

settings! {
    /// Where state is kept: the SQLite file when there is no database, and the journal. A path that is not absolute
    /// starts at the working directory.
    data_dir: PathBuf = "data_dir", "BREAKERD_DATA_DIR", Some("data-dir"), "data", ValueKind::Folder;
    /// The name of this replica in the history, the logs and the metrics. No two replicas of one store may share it.
    replica: String = "replica", "BREAKERD_REPLICA", None,
        "breakerd" or "the name of the host, else `breakerd`", ValueKind::ReplicaName;
    /// How long a stopping breakerd lets calls end, before it ends itself.
    shutdown_grace: Duration = "shutdown_grace", "BREAKERD_SHUTDOWN_GRACE", None,
        "10s", ValueKind::Duration { min: SECOND, max: Duration::from_mins(10) };
    /// Where gRPC is served. Port 0 takes any that is free.
    grpc_listen: SocketAddr = "grpc.listen", "BREAKERD_GRPC_LISTEN", Some("grpc-listen"),
        "127.0.0.1:50051", ValueKind::Address;
    /// The most bytes of the largest request, a batch; compressed or not. Other methods take less. A longer request is
    /// refused, RESOURCE_EXHAUSTED.
    grpc_message_size_max: usize = "grpc.message_size_max", "BREAKERD_GRPC_MESSAGE_SIZE_MAX", None,
        "1MiB", ValueKind::Bytes { min: 64 << 10, max: 64 << 20 };
    /// The most bytes that are kept for the calls and watches of all clients: requests as they arrive, what is made of
    /// them, and answers that are not sent. Beyond it a call is refused, RESOURCE_EXHAUSTED.
    grpc_bytes_in_flight_max: usize = "grpc.bytes_in_flight_max", "BREAKERD_GRPC_BYTES_IN_FLIGHT_MAX", None,
        "256MiB", ValueKind::Bytes { min: 64 << 20, max: 1 << 40 };
    /// The most bytes that are kept for the calls and watches of one caller. Beyond it a call is refused,
    /// RESOURCE_EXHAUSTED.
    grpc_bytes_in_flight_per_caller_max: usize = "grpc.bytes_in_flight_per_caller_max",
        "BREAKERD_GRPC_BYTES_IN_FLIGHT_PER_CALLER_MAX", None, "128MiB", ValueKind::Bytes { min: 16 << 20, max: 1 << 40 };
    /// How long an answer, or a message of a watch, may wait for its client without any of it being read. Then its
    /// stream is reset.
    grpc_write_timeout: Duration = "grpc.write_timeout", "BREAKERD_GRPC_WRITE_TIMEOUT", None,
        "30s", ValueKind::Duration { min: SECOND, max: Duration::from_mins(10) };
    /// The most calls at work at once on one connection, watches included. More wait at the client (HTTP/2).
    grpc_streams_max: u32 = "grpc.streams_max", "BREAKERD_GRPC_STREAMS_MAX", None,
        "1024", ValueKind::Count { min: 1, max: 65_536 };
    /// The most calls at work at once on all connections, watches not included. More are refused,
    /// RESOURCE_EXHAUSTED.
    grpc_in_flight_max: usize = "grpc.in_flight_max", "BREAKERD_GRPC_IN_FLIGHT_MAX", None,
        "10000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// The most calls that one caller has at work at once, watches not included. A caller is an identity, or an address
    /// where nobody is asked who they are. More are refused, RESOURCE_EXHAUSTED.
    grpc_in_flight_per_caller_max: usize = "grpc.in_flight_per_caller_max",
        "BREAKERD_GRPC_IN_FLIGHT_PER_CALLER_MAX", None, "5000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// The most watches that are open at once; and as many streams of health and reflection. More are refused,
    /// RESOURCE_EXHAUSTED.
    grpc_watches_max: usize = "grpc.watches_max", "BREAKERD_GRPC_WATCHES_MAX", None,
        "10000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// The most watches that one caller has open at once. More are refused, RESOURCE_EXHAUSTED.
    grpc_watches_per_caller_max: usize = "grpc.watches_per_caller_max",
        "BREAKERD_GRPC_WATCHES_PER_CALLER_MAX", None, "2000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// The most connections from one address. More are closed at once.
    grpc_connections_per_address_max: usize = "grpc.connections_per_address_max",
        "BREAKERD_GRPC_CONNECTIONS_PER_ADDRESS_MAX", None, "5000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// The most reads of the history and the audit (`ListTransitions`, `ListConfigChanges`) at once. A few are read from the
    /// store at a time, the others wait. More are rejected, RESOURCE_EXHAUSTED.
    grpc_history_reads_max: usize = "grpc.history_reads_max", "BREAKERD_GRPC_HISTORY_READS_MAX", None,
        "32", ValueKind::Count { min: 1, max: 10_000 };
    /// The most reads of the history and the audit that one caller has at once. More are rejected, RESOURCE_EXHAUSTED.
    grpc_history_reads_per_caller_max: usize = "grpc.history_reads_per_caller_max",
        "BREAKERD_GRPC_HISTORY_READS_PER_CALLER_MAX", None, "8", ValueKind::Count { min: 1, max: 10_000 };
    /// Where metrics and health pages are served. Port 0 takes any that is free.
    http_listen: SocketAddr = "http.listen", "BREAKERD_HTTP_LISTEN", Some("http-listen"),
        "127.0.0.1:8080", ValueKind::Address;
    /// How long a page may wait for its client without any of it being read. Then its connection is closed.
    http_write_timeout: Duration = "http.write_timeout", "BREAKERD_HTTP_WRITE_TIMEOUT", None,
        "30s", ValueKind::Duration { min: SECOND, max: Duration::from_mins(10) };
    /// Whether the pages are served over TLS, when there is a certificate.
    http_tls: bool = "http.tls", "BREAKERD_HTTP_TLS", None, "true", ValueKind::Flag;
    /// Whether the pages ask who comes, when gRPC does. `/`, `/livez` and `/readyz` never do.
    http_auth: bool = "http.auth", "BREAKERD_HTTP_AUTH", None, "true", ValueKind::Flag;
    /// Who may do what: the file of tokens and certificates. Taken anew when it changes.
    auth_tokens_file: Option<PathBuf> = "auth.tokens_file", "BREAKERD_AUTH_TOKENS_FILE", None,
        "" or "none: nobody is asked who they are", ValueKind::File;
    /// Whether health and reflection of gRPC take only those who are known, when everything else does.
    auth_health_needs_token: bool = "auth.health_needs_token", "BREAKERD_AUTH_HEALTH_NEEDS_TOKEN", None,
        "false", ValueKind::Flag;
    /// The server's certificate in PEM, and behind it those between it and its authority. Taken anew when it changes.
    tls_certificate: Option<PathBuf> = "tls.certificate", "BREAKERD_TLS_CERTIFICATE", None,
        "" or "none: no TLS", ValueKind::File;
    /// The certificate's key in PEM. Taken anew when it changes.
    tls_key: Option<PathBuf> = "tls.key", "BREAKERD_TLS_KEY", None, "" or "none", ValueKind::File;
    /// The authorities of clients' certificates in PEM: mutual TLS. Taken anew when it changes.
    tls_client_ca: Option<PathBuf> = "tls.client_ca", "BREAKERD_TLS_CLIENT_CA", None,
        "" or "none: no certificate is asked for", ValueKind::File;
    /// Whether a client of gRPC must show a certificate, when there is `tls.client_ca`.
    tls_client_certificate: ClientCertificate = "tls.client_certificate", "BREAKERD_TLS_CLIENT_CERTIFICATE", None,
        "required", ValueKind::Word(PRESENCES);
    /// The database; several hosts (`a:5432,b:5432`) for one that is switched over. It holds a password: a variable, or
    /// `store.url_file`, is the better place for it than the file.
    store_url: Option<DatabaseUrl> = "store.url", "DATABASE_URL", Some("database-url"),
        "" or "none: SQLite, in `data_dir`", ValueKind::DatabaseUrl;
    /// A file that holds the database's URL on one line, in place of `store.url`. Reloaded when it changes: a rotated
    /// password is used for the next connection.
    store_url_file: Option<PathBuf> = "store.url_file", "BREAKERD_STORE_URL_FILE", None,
        "" or "none", ValueKind::File;
    /// How long the history, the audit and closed breakers without history are kept. In Postgres the history goes by
    /// the month, and so stays for up to a month longer.
    store_history_retention: Duration = "store.history_retention", "BREAKERD_STORE_HISTORY_RETENTION", None,
        "2160h" or "`2160h`: 90 days", ValueKind::Duration { min: Duration::from_hours(24), max: Duration::from_hours(24 * 3_660) };
    /// Maximum size of the journal on disk. At the limit the oldest transitions of a breaker become one row of the history
    /// that says how many are missing; its state is kept. Beside it, 1 KiB for each of `limits.breakers_max` is reserved.
    journal_bytes_max: u64 = "journal.bytes_max", "BREAKERD_JOURNAL_BYTES_MAX", None,
        "1GiB", ValueKind::Bytes { min: 1 << 20, max: 1 << 40 };
    /// How long a transition may wait in the journal for the store. Longer, and `/health` is degraded, and gRPC health
    /// reports `NOT_SERVING` for `ConfigService` and `OperationsService`.
    journal_lag_max: Duration = "journal.lag_max", "BREAKERD_JOURNAL_LAG_MAX", None,
        "30s", ValueKind::Duration { min: SECOND, max: Duration::from_hours(24) };
    /// The most breakers. Beyond it a call for a new one is refused, RESOURCE_EXHAUSTED.
    breakers_max: usize = "limits.breakers_max", "BREAKERD_LIMITS_BREAKERS_MAX", None,
        "100000", ValueKind::Count { min: 1, max: 10_000_000 };
    /// The most breakers of one service. Beyond it a call for a new one is refused, RESOURCE_EXHAUSTED.
    breakers_per_service_max: Option<usize> = "limits.breakers_per_service_max",
        "BREAKERD_LIMITS_BREAKERS_PER_SERVICE_MAX", None,
        "" or "half of `limits.breakers_max`", ValueKind::Count { min: 1, max: 10_000_000 };
    /// The most breakers that the calls of one caller have created. A caller is an identity, or an address where nobody is
    /// asked who they are. Beyond it a call for a new one is refused, RESOURCE_EXHAUSTED.
    breakers_per_caller_max: Option<usize> = "limits.breakers_per_caller_max",
        "BREAKERD_LIMITS_BREAKERS_PER_CALLER_MAX", None,
        "" or "half of `limits.breakers_max`", ValueKind::Count { min: 1, max: 10_000_000 };
    /// How long nobody must have used a closed breaker before it is retired. A half-open one is closed first. One that is
    /// configured never is. Of one that ever changed its state the epoch is remembered as long as the store has its row, for
    /// at most as many as `limits.breakers_max`; beyond that it stays.
    idle_breaker_ttl: Duration = "limits.idle_breaker_ttl", "BREAKERD_LIMITS_IDLE_BREAKER_TTL", None,
        "1h", ValueKind::Duration { min: Duration::from_mins(1), max: Duration::from_hours(24 * 30) };
    /// What the names of all metrics begin with.
    metrics_namespace: String = "metrics.namespace", "BREAKERD_METRICS_NAMESPACE", None,
        "llm_incident_manager", ValueKind::MetricPrefix;
    /// How many breakers have series of their own; the rest count under `__other__`.
    breakers_with_own_series: usize = "metrics.breakers_with_own_series",
        "BREAKERD_METRICS_BREAKERS_WITH_OWN_SERIES", None, "1000", ValueKind::Count { min: 0, max: 100_000 };
    /// What is logged: the least level, and levels of parts of the program, such as `info,breakerd=debug`.
    log_level: String = "log.level", "BREAKERD_LOG_LEVEL", Some("log-level"), "info", ValueKind::LogLevel;
    /// How it is logged: `auto` is text on a terminal, and JSON otherwise.
    log_format: LogFormat = "log.format", "BREAKERD_LOG_FORMAT", Some("log-format"),
        "auto", ValueKind::Word(LogFormat::WORDS);
}

const SECOND: Duration = Duration::from_secs(1);

impl Setting {
    /// What it is for, a line for people.
    pub fn doc(&self) -> &'static str {
        self.doc.trim()
    }

    /// The default, for people.
    pub fn default_text(&self) -> String {
        self.default_words.map_or_else(|| format!("`{}`", self.default), str::to_owned)
    }

    /// The table it stands in, and its name there; the table is empty at the top of the file.
    pub fn path(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }

    /// What was given, for people; not when it may hold a password.
    pub(super) fn shown(&self, written: &str) -> String {
        match self.takes {
            ValueKind::DatabaseUrl => DatabaseUrl::redacted(written),
            _ => written.to_owned(),
        }
    }
}
