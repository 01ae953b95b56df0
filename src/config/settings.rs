//! One table of every setting beside the thresholds: its key, its variable, its flag, its default, what it takes.
//!
//! The file, the environment, the command line and docs/configuration.md all go through this table, so that a
//! setting cannot have one range here and another there. (The thresholds have such a table of their own:
//! `breaker::Field`.)

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use breakerd_common::value::{InvalidValue, RawValue};

use super::envoy::{NameTemplate, RequestHeader};
use super::standard_variables::{self as standard, StandardVariable};
use super::trace_headers::TraceHeaders;
use super::traces::{ResourceAttributes, SampleRatio, TraceCompression, TraceEndpoint, TraceProtocol};
use super::value_kind::{
    DatabaseUrl, HalfOpenWithoutStore, LogFormat, PRESENCES, TIMEOUT_MAX, TIMEOUT_MIN, Take, ValueKind,
};
use crate::auth::ClientCertificate;
use crate::webhook::TargetSettings;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the file: `grpc.listen`.
    pub key: &'static str,
    /// Its variable: `BREAKERD_GRPC_LISTEN`.
    pub variable: &'static str,
    /// The variables that programs with OpenTelemetry share for it, the nearest last. What is set by ours wins over them.
    pub standard_variables: &'static [StandardVariable],
    /// Its flag of `breakerd serve`, if it has one: `grpc-listen`.
    pub flag: Option<&'static str>,
    /// What applies when nothing sets it, as a text; empty: nothing does.
    pub default: &'static str,
    /// A description of the default, where its text is not enough.
    pub default_description: Option<&'static str>,
    /// What it takes.
    pub expected: ValueKind,
    doc: &'static str,
}

macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $field:ident: $type:ty = $key:literal, $variable:literal $(also $standard:expr)?, $flag:expr,
            $default:literal $(or $words:literal)?, $expected:expr;
    )+) => {
        /// Every setting, in the order of the documents.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            key: $key,
            variable: $variable,
            standard_variables: settings!(@variables $($standard)?),
            flag: $flag,
            default: $default,
            default_description: settings!(@words $($words)?),
            expected: $expected,
            doc: concat!($($doc),+),
        }),+];

        /// How this process runs: everything but the thresholds. Read at the start; a change needs a restart.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $field: $type,)+
            /// The tables `[[notify]]`, in their order: see [`super::NOTIFY_SETTINGS`].
            pub notify: Vec<TargetSettings>,
        }

        impl Default for Settings {
            /// What applies when nothing is set. (The replica's name is then `breakerd`.)
            fn default() -> Self {
                Self {
                    $($field: <$type as Take>::take(RawValue::Text($default), $expected)
                        .expect(concat!("the default of ", $key, " is right")),)+
                    notify: Vec::new(),
                }
            }
        }

        impl Settings {
            /// Sets one by its key, from what is written as `expected`.
            pub(super) fn set(
                &mut self,
                setting: &Setting,
                expected: ValueKind,
                given: RawValue<'_>,
            ) -> Result<(), InvalidValue> {
                match setting.key {
                    $($key => self.$field = Take::take(given, expected)?,)+
                    _ => return Err(InvalidValue::OUT_OF_RANGE),
                }
                Ok(())
            }

            /// The keys of the settings that `other` has otherwise.
            pub fn differing(&self, other: &Self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if self.$field != other.$field { keys.push($key); })+
                if self.notify != other.notify {
                    keys.push(super::notify::TABLE);
                }
                keys
            }
        }
    };
    (@variables) => { &[] };
    (@variables $variables:expr) => { $variables };
    (@words) => { None };
    (@words $words:literal) => { Some($words) };
}

settings! {
    /// Directory of the journal, and of the SQLite file if no database is set. A relative path starts at the working
    /// directory.
    data_dir: PathBuf = "data_dir", "BREAKERD_DATA_DIR", Some("data-dir"), "data", ValueKind::Folder;
    /// Name of this replica in the history, the logs and the metrics. It must be unique among the replicas of a store.
    replica: String = "replica", "BREAKERD_REPLICA", None,
        "breakerd" or "the host name, else `breakerd`", ValueKind::ReplicaName;
    /// Shutdown grace period: time for RPCs in flight and the journal to finish before breakerd exits.
    shutdown_grace: Duration = "shutdown_grace", "BREAKERD_SHUTDOWN_GRACE", None,
        "10s", ValueKind::Duration { min: SECOND, max: Duration::from_mins(10) };
    /// Listen address of gRPC. Port 0 selects a free port.
    grpc_listen: SocketAddr = "grpc.listen", "BREAKERD_GRPC_LISTEN", Some("grpc-listen"),
        "127.0.0.1:50051", ValueKind::Address;
    /// Maximum size of a batch request in bytes, compressed or not. Other RPCs have lower limits. A larger request is
    /// rejected, RESOURCE_EXHAUSTED.
    grpc_message_size_max: usize = "grpc.message_size_max", "BREAKERD_GRPC_MESSAGE_SIZE_MAX", None,
        "1MiB", ValueKind::Bytes { min: 64 << 10, max: 64 << 20 };
    /// Maximum memory for RPCs and watches of all clients: requests that arrive, what is decoded from them, and unsent
    /// responses. Beyond it an RPC is rejected, RESOURCE_EXHAUSTED.
    grpc_bytes_in_flight_max: usize = "grpc.bytes_in_flight_max", "BREAKERD_GRPC_BYTES_IN_FLIGHT_MAX", None,
        "256MiB", ValueKind::Bytes { min: 64 << 20, max: 1 << 40 };
    /// Maximum memory for RPCs and watches of one client. Beyond it an RPC is rejected, RESOURCE_EXHAUSTED.
    grpc_bytes_in_flight_per_caller_max: usize = "grpc.bytes_in_flight_per_caller_max",
        "BREAKERD_GRPC_BYTES_IN_FLIGHT_PER_CALLER_MAX", None, "128MiB", ValueKind::Bytes { min: 16 << 20, max: 1 << 40 };
    /// Maximum time that a response or a watch message can stay unread. After it the stream is reset.
    grpc_write_timeout: Duration = "grpc.write_timeout", "BREAKERD_GRPC_WRITE_TIMEOUT", None,
        "30s", ValueKind::Duration { min: SECOND, max: Duration::from_mins(10) };
    /// Maximum concurrent RPCs on one connection, watches included. More wait at the client (HTTP/2).
    grpc_streams_max: u32 = "grpc.streams_max", "BREAKERD_GRPC_STREAMS_MAX", None,
        "1024", ValueKind::Count { min: 1, max: 65_536 };
    /// Maximum RPCs in flight on all connections, without watches. More are rejected, RESOURCE_EXHAUSTED.
    grpc_in_flight_max: usize = "grpc.in_flight_max", "BREAKERD_GRPC_IN_FLIGHT_MAX", None,
        "10000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// Maximum RPCs in flight of one client, without watches. A client is an identity, or an address if authentication
    /// is disabled. More are rejected, RESOURCE_EXHAUSTED.
    grpc_in_flight_per_caller_max: usize = "grpc.in_flight_per_caller_max",
        "BREAKERD_GRPC_IN_FLIGHT_PER_CALLER_MAX", None, "5000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// Maximum open watches and log streams of Envoy. Streams of health and reflection have a second limit of the same
    /// size. More are rejected, RESOURCE_EXHAUSTED.
    grpc_watches_max: usize = "grpc.watches_max", "BREAKERD_GRPC_WATCHES_MAX", None,
        "10000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// Maximum open watches of one client. More are rejected, RESOURCE_EXHAUSTED.
    grpc_watches_per_caller_max: usize = "grpc.watches_per_caller_max",
        "BREAKERD_GRPC_WATCHES_PER_CALLER_MAX", None, "2000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// Maximum connections from one address. More are closed at once.
    grpc_connections_per_address_max: usize = "grpc.connections_per_address_max",
        "BREAKERD_GRPC_CONNECTIONS_PER_ADDRESS_MAX", None, "5000", ValueKind::Count { min: 1, max: 1_000_000 };
    /// Maximum age of a connection, give or take a tenth, so that clients spread over new replicas. Beyond it the client
    /// connects anew; watches that are still open 30 s later end, and resume. 0: unlimited.
    grpc_connection_age_max: Duration = "grpc.connection_age_max", "BREAKERD_GRPC_CONNECTION_AGE_MAX", None,
        "0s" or "`0s`: unlimited", ValueKind::Duration { min: Duration::ZERO, max: Duration::from_hours(24 * 30) };
    /// Maximum concurrent reads of the history and the audit (`ListTransitions`, `ListConfigChanges`). A few are read
    /// from the store at a time, the others wait. More are rejected, RESOURCE_EXHAUSTED.
    grpc_history_reads_max: usize = "grpc.history_reads_max", "BREAKERD_GRPC_HISTORY_READS_MAX", None,
        "32", ValueKind::Count { min: 1, max: 10_000 };
    /// Maximum concurrent reads of the history and the audit by one client. More are rejected, RESOURCE_EXHAUSTED.
    grpc_history_reads_per_caller_max: usize = "grpc.history_reads_per_caller_max",
        "BREAKERD_GRPC_HISTORY_READS_PER_CALLER_MAX", None, "8", ValueKind::Count { min: 1, max: 10_000 };
    /// Listen address of metrics and health endpoints. Port 0 selects a free port.
    http_listen: SocketAddr = "http.listen", "BREAKERD_HTTP_LISTEN", Some("http-listen"),
        "127.0.0.1:8080", ValueKind::Address;
    /// Maximum time that an HTTP response can stay unread. After it the connection is closed.
    http_write_timeout: Duration = "http.write_timeout", "BREAKERD_HTTP_WRITE_TIMEOUT", None,
        "30s", ValueKind::Duration { min: SECOND, max: Duration::from_mins(10) };
    /// Whether HTTP endpoints use TLS if `tls.certificate` is set.
    http_tls: bool = "http.tls", "BREAKERD_HTTP_TLS", None, "true", ValueKind::Flag;
    /// Whether HTTP endpoints require authentication if gRPC does. `/`, `/livez` and `/readyz` never do.
    http_auth: bool = "http.auth", "BREAKERD_HTTP_AUTH", None, "true", ValueKind::Flag;
    /// Tokens file: tokens and certificates with their roles. Reloaded when it changes.
    auth_tokens_file: Option<PathBuf> = "auth.tokens_file", "BREAKERD_AUTH_TOKENS_FILE", None,
        "" or "none: authentication is disabled", ValueKind::File;
    /// Whether gRPC health and reflection require authentication if other RPCs do.
    auth_health_needs_token: bool = "auth.health_needs_token", "BREAKERD_AUTH_HEALTH_NEEDS_TOKEN", None,
        "false", ValueKind::Flag;
    /// Server certificate in PEM, followed by the intermediate certificates. Reloaded when it changes.
    tls_certificate: Option<PathBuf> = "tls.certificate", "BREAKERD_TLS_CERTIFICATE", None,
        "" or "none: TLS is disabled", ValueKind::File;
    /// Private key of the certificate in PEM. Reloaded when it changes.
    tls_key: Option<PathBuf> = "tls.key", "BREAKERD_TLS_KEY", None, "" or "none", ValueKind::File;
    /// CA certificates of clients in PEM, for mutual TLS. Reloaded when it changes.
    tls_client_ca: Option<PathBuf> = "tls.client_ca", "BREAKERD_TLS_CLIENT_CA", None,
        "" or "none: no client certificates", ValueKind::File;
    /// Whether a gRPC client must send a certificate if `tls.client_ca` is set.
    tls_client_certificate: ClientCertificate = "tls.client_certificate", "BREAKERD_TLS_CLIENT_CERTIFICATE", None,
        "required", ValueKind::Choice(PRESENCES);
    /// URL of the database. Name several hosts (`a:5432,b:5432`) for failover. It contains a password: prefer the
    /// environment variable or `store.url_file` to the config file.
    store_url: Option<DatabaseUrl> = "store.url", "DATABASE_URL", Some("database-url"),
        "" or "none: SQLite, in `data_dir`", ValueKind::DatabaseUrl;
    /// File with the URL of the database on one line, instead of `store.url`. Reloaded when it changes: a rotated
    /// password is used for the next connection.
    store_url_file: Option<PathBuf> = "store.url_file", "BREAKERD_STORE_URL_FILE", None,
        "" or "none", ValueKind::File;
    /// Whether other replicas may use the database too. All that use a database must agree. `false`: this breakerd has it for
    /// itself, and goes on by itself while it is away: open breakers become half-open.
    store_shared: Option<bool> = "store.shared", "BREAKERD_STORE_SHARED", None,
        "" or "`true` if a database is set", ValueKind::Flag;
    /// URL of the database for LISTEN, if `store.url` names a pooler in transaction mode, which cannot pass it on;
    /// replicas only (`store.shared`). It must name the server itself, or a pooler in session mode.
    store_listen_url: Option<DatabaseUrl> = "store.listen_url", "BREAKERD_STORE_LISTEN_URL", None,
        "" or "none: `store.url`", ValueKind::DatabaseUrl;
    /// Whether a replica starts while the database is away, from what it last knew of it; replicas only (`store.shared`). It keeps
    /// that in `data_dir`, with the keys of permits. Otherwise a start waits for the database.
    store_start_without_store: bool = "store.start_without_store", "BREAKERD_STORE_START_WITHOUT_STORE", None,
        "false", ValueKind::Flag;
    /// What open and half-open breakers do while the database does not answer for more than 3 s; replicas only
    /// (`store.shared`). `local`: each replica goes on by itself, with probes of its own, until it answers. `hold`: they stay.
    store_half_open_without_store: HalfOpenWithoutStore = "store.half_open_without_store",
        "BREAKERD_STORE_HALF_OPEN_WITHOUT_STORE", None, "local", ValueKind::Choice(HalfOpenWithoutStore::NAMES);
    /// Retention of the history, the audit and closed breakers without history. Postgres prunes the history by the
    /// month, up to a month later.
    store_history_retention: Duration = "store.history_retention", "BREAKERD_STORE_HISTORY_RETENTION", None,
        "2160h" or "`2160h`: 90 days", ValueKind::Duration { min: Duration::from_hours(24), max: Duration::from_hours(24 * 3_660) };
    /// Maximum size of the journal on disk. At the limit the oldest transitions of a breaker become one row of the
    /// history with the number of lost ones; its state is kept. In addition, 1 KiB for each of `limits.breakers_max` is
    /// reserved.
    journal_bytes_max: u64 = "journal.bytes_max", "BREAKERD_JOURNAL_BYTES_MAX", None,
        "1GiB", ValueKind::Bytes { min: 1 << 20, max: 1 << 40 };
    /// Maximum time that a transition can wait in the journal for the store. Beyond it, `/health` is degraded, and gRPC
    /// health reports `NOT_SERVING` for `ConfigService` and `OperationsService`.
    journal_lag_max: Duration = "journal.lag_max", "BREAKERD_JOURNAL_LAG_MAX", None,
        "30s", ValueKind::Duration { min: SECOND, max: Duration::from_hours(24) };
    /// Maximum breakers. Beyond it a request for a new one is rejected, RESOURCE_EXHAUSTED.
    breakers_max: usize = "limits.breakers_max", "BREAKERD_LIMITS_BREAKERS_MAX", None,
        "100000", ValueKind::Count { min: 1, max: 10_000_000 };
    /// Maximum breakers of one service. Beyond it a request for a new one is rejected, RESOURCE_EXHAUSTED.
    breakers_per_service_max: Option<usize> = "limits.breakers_per_service_max",
        "BREAKERD_LIMITS_BREAKERS_PER_SERVICE_MAX", None,
        "" or "half of `limits.breakers_max`", ValueKind::Count { min: 1, max: 10_000_000 };
    /// Maximum breakers that the requests of one client created. A client is an identity, or an address if
    /// authentication is disabled. Beyond it a request for a new one is rejected, RESOURCE_EXHAUSTED.
    breakers_per_caller_max: Option<usize> = "limits.breakers_per_caller_max",
        "BREAKERD_LIMITS_BREAKERS_PER_CALLER_MAX", None,
        "" or "half of `limits.breakers_max`", ValueKind::Count { min: 1, max: 10_000_000 };
    /// Time without use after which a closed breaker is evicted. A half-open one is closed first. A configured one is
    /// never evicted. The epoch of a breaker that ever changed its state is kept while the store has its row, for at
    /// most `limits.breakers_max` breakers. Beyond that, breakers are not evicted.
    idle_breaker_ttl: Duration = "limits.idle_breaker_ttl", "BREAKERD_LIMITS_IDLE_BREAKER_TTL", None,
        "1h", ValueKind::Duration { min: Duration::from_mins(1), max: Duration::from_hours(24 * 30) };
    /// Prefix of all metric names.
    metrics_namespace: String = "metrics.namespace", "BREAKERD_METRICS_NAMESPACE", None,
        "llm_incident_manager", ValueKind::MetricPrefix;
    /// Number of breakers with their own series. The others are summed up under `__other__`.
    breakers_with_own_series: usize = "metrics.breakers_with_own_series",
        "BREAKERD_METRICS_BREAKERS_WITH_OWN_SERIES", None, "1000", ValueKind::Count { min: 0, max: 100_000 };
    /// Whether traces are exported, if `tracing.endpoint` is set.
    tracing_enabled: bool = "tracing.enabled", "BREAKERD_TRACING_ENABLED" also standard::ENABLED,
        None, "true", ValueKind::Flag;
    /// URL of an OpenTelemetry collector that takes traces over OTLP: `http://HOST:4317` for gRPC, `http://HOST:4318` for
    /// HTTP, or `https`. Over HTTP, `/v1/traces` is appended to its path. Over gRPC it has no path.
    tracing_endpoint: Option<TraceEndpoint> = "tracing.endpoint", "BREAKERD_TRACING_ENDPOINT" also standard::ENDPOINT,
        None, "" or "none: tracing is disabled", ValueKind::Endpoint;
    /// Protocol of the collector.
    tracing_protocol: TraceProtocol = "tracing.protocol", "BREAKERD_TRACING_PROTOCOL" also standard::PROTOCOL,
        None, "grpc", ValueKind::Choice(TraceProtocol::NAMES);
    /// Compression of what is sent to the collector.
    tracing_compression: TraceCompression = "tracing.compression", "BREAKERD_TRACING_COMPRESSION" also standard::COMPRESSION,
        None, "none", ValueKind::Choice(TraceCompression::NAMES);
    /// Share of the RPCs without a `traceparent` that are traced; 0: none of them, 1: all. With a `traceparent` the caller
    /// decides. The same share of transitions is traced that no traced RPC caused.
    tracing_sample_ratio: SampleRatio = "tracing.sample_ratio", "BREAKERD_TRACING_SAMPLE_RATIO" also standard::SAMPLE_RATIO,
        None, "0.01" or "`0.01`: 1 %", ValueKind::Ratio;
    /// Name of the service in the traces.
    tracing_service_name: Option<String> = "tracing.service_name", "BREAKERD_TRACING_SERVICE_NAME" also standard::SERVICE_NAME,
        None, "" or "`service.name` of `tracing.resource_attributes`, else `breakerd`", ValueKind::TraceServiceName;
    /// Attributes of the resource in the traces, beside `service.name`, `service.version`, `service.instance.id` (the name of the
    /// replica) and `telemetry.sdk.*`: `key=value,key=value`, with percent-encoded values.
    tracing_resource_attributes: ResourceAttributes = "tracing.resource_attributes",
        "BREAKERD_TRACING_RESOURCE_ATTRIBUTES" also standard::RESOURCE_ATTRIBUTES,
        None, "" or "none", ValueKind::ResourceAttributes;
    /// Headers for the collector, such as `authorization=Bearer%20TOKEN`. They are secrets: prefer `tracing.headers_file`, or the
    /// environment variable.
    tracing_headers: TraceHeaders = "tracing.headers", "BREAKERD_TRACING_HEADERS" also standard::HEADERS,
        None, "" or "none", ValueKind::Headers;
    /// File with headers for the collector, such as `authorization: Bearer TOKEN`, one a line. They win over those of
    /// `tracing.headers` with the same name. Read again before each export.
    tracing_headers_file: Option<PathBuf> = "tracing.headers_file", "BREAKERD_TRACING_HEADERS_FILE", None,
        "" or "none", ValueKind::File;
    /// CA certificates in PEM that the certificate of the collector is verified with. Read again before each export.
    tracing_ca: Option<PathBuf> = "tracing.ca", "BREAKERD_TRACING_CA" also standard::CA, None,
        "" or "the CA certificates of the system", ValueKind::File;
    /// Maximum time that an export can take, connecting included.
    tracing_timeout: Duration = "tracing.timeout", "BREAKERD_TRACING_TIMEOUT" also standard::TIMEOUT, None,
        "10s", ValueKind::Duration { min: TIMEOUT_MIN, max: TIMEOUT_MAX };
    /// Maximum spans that wait for the export. More are dropped, and counted. A span takes about 2 KiB.
    tracing_queue_max: usize = "tracing.queue_max", "BREAKERD_TRACING_QUEUE_MAX", None,
        "4096", ValueKind::Count { min: 64, max: 65_536 };
    /// Whether Envoy's services `envoy.service.auth.v3.Authorization` and `envoy.service.accesslog.v3.AccessLogService` are served on
    /// the gRPC port: see [Envoy](envoy.md).
    envoy_enabled: bool = "envoy.enabled", "BREAKERD_ENVOY_ENABLED", None, "false", ValueKind::Flag;
    /// Service of a request whose route names none with `breakerd_service`: `{host}` (lower case, without the port) and `{path_1}` (the first
    /// part of the path) stand for parts of the request. What no name may have becomes `_`.
    envoy_service: NameTemplate = "envoy.service", "BREAKERD_ENVOY_SERVICE", None, "{host}", ValueKind::NameTemplate;
    /// Name of the breaker of a request whose route names neither a service nor a breaker, as `envoy.service`. Empty: the default
    /// breaker of the service.
    envoy_name: NameTemplate = "envoy.name", "BREAKERD_ENVOY_NAME", None,
        "" or "the default breaker of the service", ValueKind::NameTemplate;
    /// HTTP status of a request that is denied. A gRPC client gets UNAVAILABLE whatever it is.
    envoy_denied_status: u32 = "envoy.denied_status", "BREAKERD_ENVOY_DENIED_STATUS", None,
        "503", ValueKind::Count { min: 400, max: 599 };
    /// Whether the response to a request that is denied has a body, in JSON.
    envoy_denied_body: bool = "envoy.denied_body", "BREAKERD_ENVOY_DENIED_BODY", None, "true", ValueKind::Flag;
    /// Header with the permit, in base64, that an allowed request gets on its way to the service. With it the service can report the
    /// outcome itself.
    envoy_permit_header: Option<RequestHeader> = "envoy.permit_header", "BREAKERD_ENVOY_PERMIT_HEADER", None,
        "" or "none", ValueKind::Header;
    /// Lowest level that is logged, and levels of modules, such as `info,breakerd=debug`.
    log_level: String = "log.level", "BREAKERD_LOG_LEVEL", Some("log-level"), "info", ValueKind::LogLevel;
    /// Log format. `auto` is text on a terminal, and JSON otherwise.
    log_format: LogFormat = "log.format", "BREAKERD_LOG_FORMAT", Some("log-format"),
        "auto", ValueKind::Choice(LogFormat::NAMES);
}

impl Settings {
    /// How long calls in flight may go on after the shutdown began. Shorter than [`Self::shutdown_grace`]: the journal is
    /// written out in what is left of it.
    pub fn drain_grace(&self) -> Duration {
        self.shutdown_grace.mul_f64(0.7)
    }

    /// Whether the store is a Postgres; else it is an SQLite file.
    pub fn has_database(&self) -> bool {
        self.store_url.is_some() || self.store_url_file.is_some()
    }

    /// Where spans are sent to; none: tracing is disabled.
    pub fn traces_endpoint(&self) -> Option<&TraceEndpoint> {
        self.tracing_endpoint.as_ref().filter(|_| self.tracing_enabled)
    }

    /// Whether this process is one of several replicas, as far as it knows.
    pub fn is_replica(&self) -> bool {
        self.store_shared.unwrap_or_else(|| self.has_database())
    }
}

const SECOND: Duration = Duration::from_secs(1);

impl Setting {
    /// What it is for, a line for people.
    pub fn doc(&self) -> &'static str {
        self.doc.trim()
    }

    /// The default, for people.
    pub fn default_text(&self) -> String {
        self.default_description.map_or_else(|| format!("`{}`", self.default), str::to_owned)
    }

    /// The table that it is in, and its name there; the table is empty at the top of the file.
    pub fn path(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }

    /// What was given, for people; not when it may hold a password.
    pub(super) fn shown(&self, written: &str) -> String {
        match self.expected {
            ValueKind::DatabaseUrl => DatabaseUrl::redacted(written),
            ValueKind::Headers => "a text that is not shown".to_owned(),
            ValueKind::Endpoint if written.contains(['@', '?', '#']) => DatabaseUrl::redacted(written),
            _ => written.to_owned(),
        }
    }
}
