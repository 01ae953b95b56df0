//! The kinds of settings: the range that messages name, and the type of the value.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use breakerd_common::value::{self, InvalidValue, RawValue};

use crate::auth::ClientCertificate;
use crate::store::PostgresUrl;

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
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
    /// One of a few values.
    Choice(&'static [&'static str]),
    /// A level of the log, or several with what they are for.
    LogLevel,
    /// What names of metrics begin with.
    MetricPrefix,
    /// The name of a replica.
    ReplicaName,
    /// A number of milliseconds.
    Milliseconds {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// True or false, of what is the opposite of the setting.
    NegatedFlag,
    /// `none`, or the exporter of traces that there is.
    TracesExporter,
    /// The URL of a collector.
    Endpoint,
    /// The URL that a collector takes traces at.
    TracesEndpoint,
    /// Headers with their values.
    Headers,
    /// A share, from 0 to 1.
    Ratio,
    /// The name of a service in traces.
    TraceServiceName,
    /// Attributes of a resource in traces.
    ResourceAttributes,
    /// What the names of breakers are made of.
    NameTemplate,
    /// The name of a header.
    Header,
    /// The URL of a webhook.
    WebhookUrl,
    /// Patterns for names of services, or of breakers.
    Patterns,
    /// States of breakers.
    States,
}

impl fmt::Display for ValueKind {
    /// For people: `1..=1000`, `an address and a port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("an address and a port, such as 127.0.0.1:50051 or [::]:50051"),
            Self::DatabaseUrl => f.write_str(
                "a URL postgres://user:password@host/database, or with several hosts host:port,host:port",
            ),
            Self::Folder => f.write_str("the path of a folder"),
            Self::File => f.write_str("the path of a file"),
            Self::Flag | Self::NegatedFlag => f.write_str("true or false"),
            Self::TracesExporter => f.write_str("otlp or none"),
            Self::Count { min, max } => write!(f, "{min}..={max}"),
            Self::Bytes { min, max } => write!(f, "{}KiB..={}MiB", min >> 10, max >> 20),
            Self::Duration { min, max } => {
                write!(f, "{}..={}", breaker::Value::Duration(*min), breaker::Value::Duration(*max))
            }
            Self::Milliseconds { min, max } => {
                write!(f, "{}..={} (milliseconds)", min.as_millis(), max.as_millis())
            }
            Self::Choice(words) => f.write_str(&words.join(" or ")),
            Self::LogLevel => {
                f.write_str("off, error, warn, info, debug or trace; or several, such as info,breakerd=debug")
            }
            Self::MetricPrefix => {
                write!(f, "1 to {NAME_MAX} letters, digits and _, the first no digit")
            }
            Self::ReplicaName => write!(f, "1 to {NAME_MAX} letters, digits and . _ : -"),
            Self::Endpoint => {
                f.write_str("a URL such as http://127.0.0.1:4317, without user, password and query")
            }
            Self::TracesEndpoint => {
                f.write_str("a URL such as http://127.0.0.1:4318/v1/traces, without user, password and query")
            }
            Self::Headers => write!(
                f,
                "name=value,name=value: at most {HEADERS_MAX}, percent-encoded, none that the protocol sets"
            ),
            Self::Ratio => f.write_str("0..=1, up to 6 decimals"),
            Self::TraceServiceName => write!(f, "1 to {TEXT_MAX} characters, no control characters"),
            Self::ResourceAttributes => write!(
                f,
                "key=value,key=value: at most {ATTRIBUTES_MAX} keys, each and its value of 1 to {TEXT_MAX} bytes"
            ),
            Self::NameTemplate => {
                write!(f, "up to {TEMPLATE_MAX} characters, {{host}} and {{path_1}} among them")
            }
            Self::Header => f.write_str("the name of a header"),
            Self::WebhookUrl => f.write_str("a URL https://host/path, or with http"),
            Self::Patterns => write!(f, "a list of 1 to {PATTERNS_MAX} names, with * for any characters"),
            Self::States => {
                let states: Vec<_> = breaker::State::ALL.iter().map(|state| state.as_str()).collect();
                write!(f, "a list of {}", states.join(", "))
            }
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
    pub(super) const NAMES: &'static [&'static str] = &["auto", "text", "json"];
}

/// What a replica that is alone does with breakers that only the store would let go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfOpenWithoutStore {
    /// They stay as they are.
    Hold,
    /// It goes on by itself, with probes of its own.
    Local,
}

impl HalfOpenWithoutStore {
    pub(super) const NAMES: &'static [&'static str] = &["hold", "local"];
}

/// The URL of a database. It may hold a password, and so does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL, password and all.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL without what is between its scheme and its host, or after a `?`: for logs.
    pub fn shown(&self) -> String {
        Self::redacted(&self.0)
    }

    /// What was written, in quotes if it was, without what may be secret.
    pub(super) fn redacted(written: &str) -> String {
        let bare = written.trim_matches(['"', '\'']);
        let quote = if bare == written { "" } else { "\"" };
        let Some((scheme, rest)) = bare.split_once("://") else {
            return "a text that is not shown".to_owned();
        };
        let (before, behind) = rest.rsplit_once('@').unwrap_or(("", rest));
        let host = behind.split_once('?').map_or(behind, |(host, _)| host);
        // A question mark in a password, or an at sign after one: it is unknown where the secret ends. And without an at
        // sign, the part where a port should be may be a password.
        if before.contains('?') || host.contains('#') || !has_ports(host) {
            return format!("{quote}{scheme}://...{quote}");
        }
        format!("{quote}{scheme}://{host}{quote}")
    }
}

/// Whether the part after the colon of each host may be a port.
fn has_ports(hosts_and_database: &str) -> bool {
    let hosts = hosts_and_database.split_once('/').map_or(hosts_and_database, |(hosts, _)| hosts);
    hosts.split(',').all(|host| {
        // The colons of an IPv6 address are in brackets.
        let host = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
        host.split_once(':')
            .is_none_or(|(_, port)| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

pub(super) const PRESENCES: &[&str] = &["required", "optional"];

/// The most bytes of a template.
pub(super) const TEMPLATE_MAX: usize = 256;

/// The most patterns of one list.
pub(super) const PATTERNS_MAX: usize = 64;

/// The most characters of a replica's name, and of the prefix of the metrics. Linux lets a host's name have so many.
const NAME_MAX: usize = 64;

/// The least time for an export of traces, and the most.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(100);
pub(super) const TIMEOUT_MAX: Duration = Duration::from_mins(1);

/// The most bytes of a text in traces.
pub(super) const TEXT_MAX: usize = 255;
/// The most attributes of a resource.
pub(super) const ATTRIBUTES_MAX: usize = 64;
/// The most headers for a collector.
pub(super) const HEADERS_MAX: usize = 32;

/// A type that a setting can have.
pub(super) trait Take: Sized {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue>;
}

impl Take for SocketAddr {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        value::text(given)?.parse().map_err(|_| InvalidValue::OUT_OF_RANGE)
    }
}

impl Take for Option<DatabaseUrl> {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        let url = value::text(given)?;
        if url.is_empty() {
            return Ok(None);
        }
        if url.starts_with("sqlite:") {
            return Err(InvalidValue::with_hint("without a URL breakerd keeps an SQLite file in data_dir"));
        }
        match PostgresUrl::parse(url) {
            Ok(_) => Ok(Some(DatabaseUrl(url.to_owned()))),
            Err(problem) => Err(InvalidValue::with_hint(problem)),
        }
    }
}

impl Take for PathBuf {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        match value::text(given)? {
            path if path.is_empty() || path.contains('\0') => Err(InvalidValue::OUT_OF_RANGE),
            path => Ok(path.into()),
        }
    }
}

impl Take for Option<PathBuf> {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        match value::text(given)? {
            "" => Ok(None),
            path => PathBuf::take(RawValue::Text(path), expected).map(Some),
        }
    }
}

impl Take for bool {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        match expected {
            ValueKind::NegatedFlag => value::flag(given).map(|flag| !flag),
            ValueKind::TracesExporter => Ok(value::choice(given, &["otlp", "none"])? == "otlp"),
            _ => value::flag(given),
        }
    }
}

impl Take for Option<bool> {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        match given {
            RawValue::Text("") => Ok(None),
            given => value::flag(given).map(Some),
        }
    }
}

impl Take for ClientCertificate {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        Ok(if value::choice(given, PRESENCES)? == "optional" { Self::Optional } else { Self::Required })
    }
}

impl Take for u64 {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        let (number, min, max) = match expected {
            ValueKind::Count { min, max } => (value::count(given)?, min, max),
            ValueKind::Bytes { min, max } => (value::bytes(given)?, min, max),
            _ => return Err(InvalidValue::OUT_OF_RANGE),
        };
        if (min..=max).contains(&number) { Ok(number) } else { Err(InvalidValue::OUT_OF_RANGE) }
    }
}

impl Take for usize {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        Self::try_from(u64::take(given, expected)?).map_err(|_| InvalidValue::OUT_OF_RANGE)
    }
}

impl Take for Option<usize> {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        match given {
            RawValue::Text("") => Ok(None),
            given => usize::take(given, expected).map(Some),
        }
    }
}

impl Take for u32 {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        Self::try_from(u64::take(given, expected)?).map_err(|_| InvalidValue::OUT_OF_RANGE)
    }
}

impl Take for Duration {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        let duration = match expected {
            ValueKind::Milliseconds { .. } => Duration::from_millis(value::count(given)?),
            _ => value::duration(given)?,
        };
        match expected {
            ValueKind::Duration { min, max } | ValueKind::Milliseconds { min, max }
                if (min..=max).contains(&duration) =>
            {
                Ok(duration)
            }
            _ => Err(InvalidValue::OUT_OF_RANGE),
        }
    }
}

impl Take for LogFormat {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        match value::choice(given, Self::NAMES)? {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Ok(Self::Auto),
        }
    }
}

impl Take for HalfOpenWithoutStore {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        Ok(if value::choice(given, Self::NAMES)? == "hold" { Self::Hold } else { Self::Local })
    }
}

impl Take for String {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        let text = value::text(given)?;
        let right = match expected {
            ValueKind::LogLevel => is_log_level(text),
            ValueKind::MetricPrefix => is_metric_prefix(text),
            ValueKind::ReplicaName => is_replica_name(text),
            ValueKind::TraceServiceName => is_text(text),
            _ => false,
        };
        if right { Ok(text.to_owned()) } else { Err(InvalidValue::OUT_OF_RANGE) }
    }
}

impl Take for Option<String> {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        match value::text(given)? {
            "" => Ok(None),
            text => String::take(RawValue::Text(text), expected).map(Some),
        }
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

/// Whether this may be a text in traces.
pub(super) fn is_text(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Whether this may be the name of a replica: it is used in keys, rows and labels, as a service is.
pub(super) fn is_replica_name(text: &str) -> bool {
    text.len() <= NAME_MAX && breaker::check_service(text).is_ok()
}
