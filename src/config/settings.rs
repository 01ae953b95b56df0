//! One table of every setting beside the thresholds: its key, its variable, its flag, its default, what it takes.
//!
//! The file, the environment, the command line and docs/configuration.md all go through this table, so that a
//! setting cannot have one range here and another there. (The thresholds have such a table of their own:
//! `breaker::Field`.)

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::value::{self, Given, Refusal};
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
    pub takes: Takes,
    doc: &'static str,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// An address and a port.
    Address,
    /// The URL of a Postgres database.
    DatabaseUrl,
    /// The path of a folder.
    Folder,
    /// The path of a file.
    File,
    /// True or false.
    Flag,
    /// A whole number.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A number of bytes.
    Bytes {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A length of time.
    Duration {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A level of the log, or several with what they are for.
    LogLevel,
    /// What names of metrics begin with.
    MetricPrefix,
    /// The name of a replica.
    ReplicaName,
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
    data_dir: PathBuf = "data_dir", "BREAKERD_DATA_DIR", Some("data-dir"), "data", Takes::Folder;
    /// The name of this replica in the history, the logs and the metrics. No two replicas of one store may share it.
    replica: String = "replica", "BREAKERD_REPLICA", None,
        "breakerd" or "the name of the host, else `breakerd`", Takes::ReplicaName;
    /// How long a stopping breakerd lets calls end, before it ends itself.
    shutdown_grace: Duration = "shutdown_grace", "BREAKERD_SHUTDOWN_GRACE", None,
        "10s", Takes::Duration { min: SECOND, max: Duration::from_mins(10) };
    /// Where gRPC is served. Port 0 takes any that is free.
    grpc_listen: SocketAddr = "grpc.listen", "BREAKERD_GRPC_LISTEN", Some("grpc-listen"),
        "127.0.0.1:50051", Takes::Address;
    /// The most bytes of one message, either way. A longer request is refused, RESOURCE_EXHAUSTED.
    grpc_message_size_max: usize = "grpc.message_size_max", "BREAKERD_GRPC_MESSAGE_SIZE_MAX", None,
        "4MiB", Takes::Bytes { min: 64 << 10, max: 64 << 20 };
    /// The most calls at work at once on one connection, watches included. More wait at the client (HTTP/2).
    grpc_streams_max: u32 = "grpc.streams_max", "BREAKERD_GRPC_STREAMS_MAX", None,
        "1024", Takes::Count { min: 1, max: 65_536 };
    /// The most calls at work at once on all connections, watches not included. More are refused,
    /// RESOURCE_EXHAUSTED.
    grpc_in_flight_max: usize = "grpc.in_flight_max", "BREAKERD_GRPC_IN_FLIGHT_MAX", None,
        "10000", Takes::Count { min: 1, max: 1_000_000 };
    /// The most calls that one caller has at work at once, watches not included. A caller is an identity, or an address
    /// where nobody is asked who they are. More are refused, RESOURCE_EXHAUSTED.
    grpc_in_flight_per_caller_max: usize = "grpc.in_flight_per_caller_max",
        "BREAKERD_GRPC_IN_FLIGHT_PER_CALLER_MAX", None, "5000", Takes::Count { min: 1, max: 1_000_000 };
    /// The most watches that are open at once. More are refused, RESOURCE_EXHAUSTED.
    grpc_watches_max: usize = "grpc.watches_max", "BREAKERD_GRPC_WATCHES_MAX", None,
        "10000", Takes::Count { min: 1, max: 1_000_000 };
    /// The most watches that one caller has open at once. More are refused, RESOURCE_EXHAUSTED.
    grpc_watches_per_caller_max: usize = "grpc.watches_per_caller_max",
        "BREAKERD_GRPC_WATCHES_PER_CALLER_MAX", None, "2000", Takes::Count { min: 1, max: 1_000_000 };
    /// The most connections from one address. More are closed at once.
    grpc_connections_per_address_max: usize = "grpc.connections_per_address_max",
        "BREAKERD_GRPC_CONNECTIONS_PER_ADDRESS_MAX", None, "5000", Takes::Count { min: 1, max: 1_000_000 };
    /// Where metrics and health pages are served. Port 0 takes any that is free.
    http_listen: SocketAddr = "http.listen", "BREAKERD_HTTP_LISTEN", Some("http-listen"),
        "127.0.0.1:8080", Takes::Address;
    /// Whether the pages are served over TLS, when there is a certificate.
    http_tls: bool = "http.tls", "BREAKERD_HTTP_TLS", None, "true", Takes::Flag;
    /// Whether the pages ask who comes, when gRPC does. `/`, `/livez` and `/readyz` never do.
    http_auth: bool = "http.auth", "BREAKERD_HTTP_AUTH", None, "true", Takes::Flag;
    /// Who may do what: the file of tokens and certificates. Taken anew when it changes.
    auth_tokens_file: Option<PathBuf> = "auth.tokens_file", "BREAKERD_AUTH_TOKENS_FILE", None,
        "" or "none: nobody is asked who they are", Takes::File;
    /// Whether health and reflection of gRPC take only those who are known, when everything else does.
    auth_health_needs_token: bool = "auth.health_needs_token", "BREAKERD_AUTH_HEALTH_NEEDS_TOKEN", None,
        "false", Takes::Flag;
    /// The server's certificate in PEM, and behind it those between it and its authority. Taken anew when it changes.
    tls_certificate: Option<PathBuf> = "tls.certificate", "BREAKERD_TLS_CERTIFICATE", None,
        "" or "none: no TLS", Takes::File;
    /// The certificate's key in PEM. Taken anew when it changes.
    tls_key: Option<PathBuf> = "tls.key", "BREAKERD_TLS_KEY", None, "" or "none", Takes::File;
    /// The authorities of clients' certificates in PEM: mutual TLS. Taken anew when it changes.
    tls_client_ca: Option<PathBuf> = "tls.client_ca", "BREAKERD_TLS_CLIENT_CA", None,
        "" or "none: no certificate is asked for", Takes::File;
    /// Whether a client of gRPC must show a certificate, when there is `tls.client_ca`.
    tls_client_certificate: ClientCertificate = "tls.client_certificate", "BREAKERD_TLS_CLIENT_CERTIFICATE", None,
        "required", Takes::Word(PRESENCES);
    /// The database. It holds a password: a variable is the better place for it than the file.
    store_url: Option<DatabaseUrl> = "store.url", "DATABASE_URL", Some("database-url"),
        "" or "none: SQLite, in `data_dir`", Takes::DatabaseUrl;
    /// How long the history, the audit and closed breakers without history are kept. In Postgres the history goes by
    /// the month, and so stays for up to a month longer.
    store_history_retention: Duration = "store.history_retention", "BREAKERD_STORE_HISTORY_RETENTION", None,
        "2160h" or "`2160h`: 90 days", Takes::Duration { min: Duration::from_hours(24), max: Duration::from_hours(24 * 3_660) };
    /// The most transitions the journal holds while the store is away. When it is full the oldest are dropped and
    /// counted, and a row of the history says how many.
    journal_capacity: usize = "journal.capacity", "BREAKERD_JOURNAL_CAPACITY", None,
        "65536", Takes::Count { min: 1_024, max: 4_194_304 };
    /// The most breakers. Beyond it a call for a new one is refused, RESOURCE_EXHAUSTED.
    breakers_max: usize = "limits.breakers_max", "BREAKERD_LIMITS_BREAKERS_MAX", None,
        "100000", Takes::Count { min: 1, max: 10_000_000 };
    /// How long nobody must have used a breaker before it may be retired to make room. One that ever tripped, or that
    /// is configured, never is.
    idle_breaker_ttl: Duration = "limits.idle_breaker_ttl", "BREAKERD_LIMITS_IDLE_BREAKER_TTL", None,
        "1h", Takes::Duration { min: Duration::from_mins(1), max: Duration::from_hours(24 * 30) };
    /// What the names of all metrics begin with.
    metrics_namespace: String = "metrics.namespace", "BREAKERD_METRICS_NAMESPACE", None,
        "llm_incident_manager", Takes::MetricPrefix;
    /// How many breakers have series of their own; the rest count under `__other__`.
    breakers_with_own_series: usize = "metrics.breakers_with_own_series",
        "BREAKERD_METRICS_BREAKERS_WITH_OWN_SERIES", None, "1000", Takes::Count { min: 0, max: 100_000 };
    /// What is logged: the least level, and levels of parts of the program, such as `info,breakerd=debug`.
    log_level: String = "log.level", "BREAKERD_LOG_LEVEL", Some("log-level"), "info", Takes::LogLevel;
    /// How it is logged: `auto` is text on a terminal, and JSON otherwise.
    log_format: LogFormat = "log.format", "BREAKERD_LOG_FORMAT", Some("log-format"),
        "auto", Takes::Word(LogFormat::WORDS);
}

const SECOND: Duration = Duration::from_secs(1);
const PRESENCES: &[&str] = &["required", "optional"];

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
            Takes::DatabaseUrl => DatabaseUrl::redacted(written),
            _ => written.to_owned(),
        }
    }
}

impl fmt::Display for Takes {
    /// For people: `1..=1000`, `an address and a port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("an address and a port, such as 127.0.0.1:50051 or [::]:50051"),
            Self::DatabaseUrl => f.write_str("a URL postgres://user:password@host/database"),
            Self::Folder => f.write_str("the path of a folder"),
            Self::File => f.write_str("the path of a file"),
            Self::Flag => f.write_str("true or false"),
            Self::Count { min, max } => write!(f, "{min}..={max}"),
            Self::Bytes { min, max } => write!(f, "{}KiB..={}MiB", min >> 10, max >> 20),
            Self::Duration { min, max } => {
                write!(f, "{}..={}", breaker::Value::Duration(*min), breaker::Value::Duration(*max))
            }
            Self::Word(words) => f.write_str(&words.join(" or ")),
            Self::LogLevel => {
                f.write_str("off, error, warn, info, debug or trace; or several, such as info,breakerd=debug")
            }
            Self::MetricPrefix => {
                write!(f, "1 to {NAME_MAX} letters, digits and _, the first no digit")
            }
            Self::ReplicaName => write!(f, "1 to {NAME_MAX} letters, digits and . _ : -"),
        }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// JSON, an object a line.
    Json,
}

impl LogFormat {
    const WORDS: &'static [&'static str] = &["auto", "text", "json"];
}

/// The URL of a database. It may hold a password, and so does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL, password and all.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL without what stands between its scheme and its host, or behind a `?`: for logs.
    pub fn shown(&self) -> String {
        Self::redacted(&self.0)
    }

    fn redacted(written: &str) -> String {
        let Some((scheme, rest)) = written.split_once("://") else {
            return "a text that is not shown".to_owned();
        };
        let (before, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        // A question mark in a password, or an at sign behind one: no telling where the secret ends.
        if before.contains('?') {
            return format!("{scheme}://...");
        }
        let host = host.split_once('?').map_or(host, |(host, _)| host);
        format!("{scheme}://{host}")
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// The most characters of a replica's name, and of the prefix of the metrics. Linux lets a host's name have so many.
const NAME_MAX: usize = 64;

/// A type that a setting can have.
trait Take: Sized {
    fn take(given: Given<'_>, takes: Takes) -> Result<Self, Refusal>;
}

impl Take for SocketAddr {
    fn take(given: Given<'_>, _: Takes) -> Result<Self, Refusal> {
        value::text(given)?.parse().map_err(|_| Refusal::PLAIN)
    }
}

impl Take for Option<DatabaseUrl> {
    fn take(given: Given<'_>, _: Takes) -> Result<Self, Refusal> {
        let url = value::text(given)?;
        if url.is_empty() {
            return Ok(None);
        }
        if url.starts_with("sqlite:") {
            return Err(Refusal::because("without a URL breakerd keeps an SQLite file in data_dir"));
        }
        match url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")) {
            Some(rest) if !rest.is_empty() => Ok(Some(DatabaseUrl(url.to_owned()))),
            _ => Err(Refusal::PLAIN),
        }
    }
}

impl Take for PathBuf {
    fn take(given: Given<'_>, _: Takes) -> Result<Self, Refusal> {
        match value::text(given)? {
            path if path.is_empty() || path.contains('\0') => Err(Refusal::PLAIN),
            path => Ok(path.into()),
        }
    }
}

impl Take for Option<PathBuf> {
    fn take(given: Given<'_>, takes: Takes) -> Result<Self, Refusal> {
        match value::text(given)? {
            "" => Ok(None),
            path => PathBuf::take(Given::Text(path), takes).map(Some),
        }
    }
}

impl Take for bool {
    fn take(given: Given<'_>, _: Takes) -> Result<Self, Refusal> {
        value::flag(given)
    }
}

impl Take for ClientCertificate {
    fn take(given: Given<'_>, _: Takes) -> Result<Self, Refusal> {
        Ok(if value::word(given, PRESENCES)? == "optional" { Self::Optional } else { Self::Required })
    }
}

impl Take for u64 {
    fn take(given: Given<'_>, takes: Takes) -> Result<Self, Refusal> {
        let (number, min, max) = match takes {
            Takes::Count { min, max } => (value::count(given)?, min, max),
            Takes::Bytes { min, max } => (value::bytes(given)?, min, max),
            _ => return Err(Refusal::PLAIN),
        };
        if (min..=max).contains(&number) { Ok(number) } else { Err(Refusal::PLAIN) }
    }
}

impl Take for usize {
    fn take(given: Given<'_>, takes: Takes) -> Result<Self, Refusal> {
        Self::try_from(u64::take(given, takes)?).map_err(|_| Refusal::PLAIN)
    }
}

impl Take for u32 {
    fn take(given: Given<'_>, takes: Takes) -> Result<Self, Refusal> {
        Self::try_from(u64::take(given, takes)?).map_err(|_| Refusal::PLAIN)
    }
}

impl Take for Duration {
    fn take(given: Given<'_>, takes: Takes) -> Result<Self, Refusal> {
        let duration = value::duration(given)?;
        match takes {
            Takes::Duration { min, max } if (min..=max).contains(&duration) => Ok(duration),
            _ => Err(Refusal::PLAIN),
        }
    }
}

impl Take for LogFormat {
    fn take(given: Given<'_>, _: Takes) -> Result<Self, Refusal> {
        match value::word(given, Self::WORDS)? {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Ok(Self::Auto),
        }
    }
}

impl Take for String {
    fn take(given: Given<'_>, takes: Takes) -> Result<Self, Refusal> {
        let text = value::text(given)?;
        let right = match takes {
            Takes::LogLevel => is_log_level(text),
            Takes::MetricPrefix => is_metric_prefix(text),
            Takes::ReplicaName => is_replica_name(text),
            _ => false,
        };
        if right { Ok(text.to_owned()) } else { Err(Refusal::PLAIN) }
    }
}

/// Stricter than the log itself, which takes a misspelt level for the name of a target and then logs nothing.
fn is_log_level(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    text.split(',').all(|part| match part.split_once('=') {
        None => LEVELS.contains(&part),
        Some((target, level)) => {
            LEVELS.contains(&level)
                && !target.is_empty()
                && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
        }
    })
}

/// As Prometheus has it, without the colon, which is kept for recording rules.
fn is_metric_prefix(text: &str) -> bool {
    text.len() <= NAME_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.starts_with(|first: char| !first.is_ascii_digit())
}

/// What may be the name of a replica: it stands in keys, rows and labels, as a service does.
pub(super) fn is_replica_name(text: &str) -> bool {
    text.len() <= NAME_MAX && breaker::check_service(text).is_ok()
}
