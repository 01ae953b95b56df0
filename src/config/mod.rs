//! The configuration of a process: the file, the environment variables, the flags.
//!
//! A flag wins over a variable, a variable over the file, the file over what is built in. The file may hold
//! everything; `[circuit_breaker]` is in the file only (and may be changed through the API), and is the only
//! part that a running breakerd reloads when the file changes ([`watch`]).
//!
//! A configuration is valid as a whole or rejected as a whole, with all of its errors at once: each
//! [`Error`] has its location, its key, its value and the valid values. Unknown keys are errors, so that a typo
//! does not silently leave a default in effect.

pub mod access;
mod breakers;
mod document;
mod envoy;
mod error;
mod file;
mod notify;
mod settings;
mod sources;
mod standard_variables;
mod trace_headers;
mod traces;
mod value_kind;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use breakerd_common::nearest::nearest;
use breakerd_common::value::RawValue;
use document::{Document, Item, Table};
use file::Reading;
use sources::Given;
use toml::de::DeValue;

pub use breakers::SERVICES_MAX;
pub use envoy::{NameTemplate, RequestHeader, RequestParts};
pub use error::{Error, Fault, Position, SourceLocation};
pub use file::FileText;
pub use notify::{NOTIFY_SETTINGS, NotifySetting};
pub use settings::{SETTINGS, Setting, Settings};
pub use sources::{ConfigFile, DEFAULT_FILE, Sources};
pub use standard_variables::StandardVariable;
pub use trace_headers::TraceHeaders;
pub use traces::{ResourceAttributes, SampleRatio, TraceCompression, TraceEndpoint, TraceProtocol};
pub use value_kind::{DatabaseUrl, HalfOpenWithoutStore, LogFormat, ValueKind};

use crate::auth::ClientCertificate;
use crate::catalog::Declaration;

/// The most bytes of a file. [`SERVICES_MAX`] services with a handful of fields each fit; more is a mistake.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration: checked, whole.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything but the thresholds.
    pub settings: Settings,
    /// `[circuit_breaker]`, as the store keeps it. Free of contradictions.
    pub declaration: Declaration,
    /// Warnings for the log.
    pub notes: Vec<String>,
    /// The text of the file; none: there is no file.
    text: Option<FileText>,
}

impl Config {
    /// Whether it was read from a file, rather than built in.
    pub fn has_file(&self) -> bool {
        self.text.is_some()
    }
}

/// An invalid configuration.
#[derive(Debug)]
pub struct Invalid {
    /// All errors, in the order of the file, then of the variables, then of the flags.
    pub errors: Vec<Error>,
    /// The settings as far as they are valid, so that the files that they name can be checked too. Invalid ones are as built
    /// in. None: the file cannot be read, or is no TOML.
    pub settings: Option<Box<Settings>>,
}

impl From<Error> for Invalid {
    fn from(error: Error) -> Self {
        Self { errors: vec![error], settings: None }
    }
}

/// Reads the file that `sources` names, and puts the variables and flags over it.
///
/// # Errors
/// All errors, in the order of the file, then of the variables, then of the flags. A file that
/// is not there is an error only when it was named.
pub fn load(sources: &Sources) -> Result<Config, Vec<Error>> {
    inspect(sources).map_err(|invalid| invalid.errors)
}

/// As [`load`]; with the valid part of an invalid configuration.
///
/// # Errors
/// As [`load`].
pub fn inspect(sources: &Sources) -> Result<Config, Invalid> {
    let file = sources.file();
    match file::read(&file.path, FILE_BYTES_MAX, Reading::First) {
        Ok(Some(text)) => {
            let config = assemble(Some(text.expose()), &file.path, sources)?;
            Ok(Config { text: Some(text), ..config })
        }
        Ok(None) if file.is_named => Err(file::missing(&file.path).into()),
        Ok(None) => {
            let mut config = assemble(None, &file.path, sources)?;
            config.notes.insert(0, format!("{} is not there: built-in values apply", file.path.display()));
            Ok(config)
        }
        Err(error) => Err((*error).into()),
    }
}

/// As [`load`], with the text of the file given.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, sources: &Sources) -> Result<Config, Vec<Error>> {
    assemble(Some(text), path, sources).map_err(|invalid| invalid.errors)
}

/// The text of a small file: certificates, a key, a URL, secrets.
///
/// # Errors
/// That it cannot be read.
pub fn read_small(path: &Path) -> Result<FileText, Box<Error>> {
    file::read_existing(path, FILE_BYTES_MAX)
}

fn assemble(text: Option<&str>, path: &Path, sources: &Sources) -> Result<Config, Invalid> {
    let mut settings = Settings::default();
    if let Some(hostname) = sources.hostname() {
        hostname.clone_into(&mut settings.replica);
    }
    let mut document = Document::new(&path.display().to_string(), text.unwrap_or_default());
    let mut locations = SettingLocations::default();
    let tables = document.tables();
    let declaration = breakers::read(&mut document, tables.get(breakers::TABLE));
    read_settings(&mut document, &tables, &mut settings, &mut locations);

    let mut outside = Vec::new();
    for setting in SETTINGS {
        for Given { location, text, expected } in sources.given(setting, &mut outside) {
            match settings.set(setting, expected, RawValue::Text(&text)) {
                Ok(()) => {
                    locations.set.insert(setting.key, location);
                }
                Err(invalid) => {
                    locations.refused.insert(setting.key);
                    outside.push(Error {
                        location,
                        fault: Fault::Value {
                            key: setting.key.to_owned(),
                            // Secrets are redacted first: shortened, one could not be recognized.
                            value: document::shorten(&setting.shown(&format!("\"{text}\""))),
                            expected: expected.to_string(),
                            hint: invalid.hint,
                        },
                    });
                }
            }
        }
    }
    outside.extend(conflicts(&settings, &declaration, &locations, &document.file_location()));

    outside.sort_by(|a, b| a.location.cmp(&b.location));
    let mut errors = document.into_errors();
    errors.extend(outside);
    if !errors.is_empty() {
        let is_readable = !errors.iter().any(|error| matches!(error.fault, Fault::Syntax(_)));
        return Err(Invalid { errors, settings: is_readable.then(|| Box::new(settings)) });
    }
    Ok(Config { settings, declaration, notes: sources.notes(), text: text.map(FileText::from) })
}

/// Where settings were set.
#[derive(Default)]
struct SettingLocations {
    set: BTreeMap<&'static str, SourceLocation>,
    /// Those that were given what they do not take: what that leaves open is no conflict.
    refused: BTreeSet<&'static str>,
}

impl SettingLocations {
    /// Whether a variable that programs with OpenTelemetry share has set it.
    fn is_shared(&self, key: &str) -> bool {
        let Some(SourceLocation::Variable(name)) = self.set.get(key) else { return false };
        SETTINGS.iter().flat_map(|setting| setting.standard_variables).any(|standard| standard.name == *name)
    }
}

fn read_settings<'a>(
    document: &mut Document<'a>,
    tables: &Table<'a>,
    settings: &mut Settings,
    locations: &mut SettingLocations,
) {
    for (key, item) in tables {
        let name = key.get_ref().as_ref();
        if name == breakers::TABLE {
            continue;
        }
        if name == notify::TABLE {
            settings.notify = notify::read(document, item);
            continue;
        }
        if let Some(setting) = rows("").find(|row| row.key == name) {
            take(document, setting, item, settings, locations);
        } else if rows(name).next().is_some() {
            let Some(table) = document.table(name, item) else { continue };
            for (key, item) in table {
                let within = key.get_ref().as_ref();
                match rows(name).find(|row| row.path().1 == within) {
                    Some(setting) => take(document, setting, item, settings, locations),
                    None => document.unknown(name, key, || suggestion(name, within)),
                }
            }
        } else {
            document.unknown("", key, || suggestion("", name));
        }
    }
}

/// The settings of a table of the file; of its top, when the name is empty.
fn rows(table: &str) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |row| row.path().0 == table)
}

fn take(
    document: &mut Document<'_>,
    setting: &Setting,
    item: &Item<'_>,
    settings: &mut Settings,
    locations: &mut SettingLocations,
) {
    match settings.set(setting, setting.expected, RawValue::Toml(item.get_ref())) {
        Ok(()) => {
            locations.set.insert(setting.key, document.at(item.span()));
        }
        Err(invalid) => {
            locations.refused.insert(setting.key);
            let is_table = matches!(item.get_ref(), DeValue::Table(_));
            let written = document.written(item);
            let shown = if is_table { written } else { setting.shown(&written) };
            document.invalid_shown_value(
                setting.key.to_owned(),
                item,
                shown,
                setting.expected.to_string(),
                invalid,
            );
        }
    }
}

/// The key that an unknown one probably means: of the same table first, else one of another.
fn suggestion(table: &str, key: &str) -> Option<String> {
    let here = SETTINGS.iter().map(Setting::path).filter_map(|(its, name)| match table {
        "" if !its.is_empty() => Some(its),
        _ => (its == table).then_some(name),
    });
    if let Some(near) =
        nearest(key, here.chain([breakers::TABLE, notify::TABLE].into_iter().filter(|_| table.is_empty())))
    {
        return Some(format!("did you mean `{near}`?"));
    }
    if breaker::Field::by_name(key.strip_prefix("default_").unwrap_or(key)).is_some() || key == "enabled" {
        return Some(format!("it belongs in [{}]", breakers::TABLE));
    }
    let elsewhere = SETTINGS.iter().find(|setting| setting.path().1 == key)?;
    Some(format!("did you mean `{key}` in [{}]?", elsewhere.path().0))
}

/// Settings that are each valid, and conflict.
fn conflicts(
    settings: &Settings,
    declaration: &Declaration,
    locations: &SettingLocations,
    file: &SourceLocation,
) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut at = |keys: &[&'static str], problem: String| {
        if keys.iter().any(|key| locations.refused.contains(key)) {
            return;
        }
        let location = keys.iter().find_map(|key| locations.set.get(key)).unwrap_or(file).clone();
        errors.push(Error { location, fault: Fault::Conflict { key: keys[0].to_owned(), problem } });
    };
    if settings.grpc_listen == settings.http_listen && settings.http_listen.port() != 0 {
        at(
            &["http.listen", "grpc.listen"],
            format!("{} is what grpc.listen has already", settings.http_listen),
        );
    }
    if settings.store_url.is_some() && settings.store_url_file.is_some() {
        at(&["store.url_file", "store.url"], "store.url is set too: leave one of them out".to_owned());
    }
    if settings.store_shared == Some(true) && !settings.has_database() {
        let problem =
            "needs store.url or store.url_file, which are not set: SQLite cannot be shared".to_owned();
        at(&["store.shared", "store.url"], problem);
    }
    let holds = settings.store_half_open_without_store == HalfOpenWithoutStore::Hold;
    for (is_set, key, others) in [
        (settings.store_listen_url.is_some(), "store.listen_url", "only replicas listen"),
        (settings.store_start_without_store, "store.start_without_store", "others wait for their store"),
        (holds, "store.half_open_without_store", "others go on by themselves"),
    ] {
        if is_set && !settings.is_replica() {
            let problem = format!("needs a database that is shared (store.url, store.shared): {others}");
            at(&[key, "store.shared"], problem);
        }
    }
    for (needed, key, by, by_key) in [
        (&settings.tls_certificate, "tls.certificate", &settings.tls_key, "tls.key"),
        (&settings.tls_key, "tls.key", &settings.tls_certificate, "tls.certificate"),
        (&settings.tls_certificate, "tls.certificate", &settings.tls_client_ca, "tls.client_ca"),
    ] {
        if needed.is_none() && by.is_some() {
            at(&[by_key, key], format!("needs {key}, which is not set"));
        }
    }
    // A shared variable may be meant for other programs.
    let is_https = settings.tracing_endpoint.as_ref().is_some_and(TraceEndpoint::is_https);
    if settings.tracing_ca.is_some() && !is_https && !locations.is_shared("tracing.ca") {
        at(&["tracing.ca", "tracing.endpoint"], "needs tracing.endpoint with https://".to_owned());
    }
    // A gRPC call has a path of its own, and would go to the port alone. OTLP gives a path a meaning over HTTP only.
    if let Some(endpoint) = settings.traces_endpoint()
        && settings.tracing_protocol == TraceProtocol::Grpc
        && endpoint.has_path()
    {
        let (uri, path, http) = (endpoint.uri(), endpoint.uri().path(), TraceProtocol::Http.name());
        let problem = format!(
            "{uri} has a path, which OTLP over gRPC does not have: leave out {path}, or set tracing.protocol = \"{http}\""
        );
        at(&["tracing.endpoint", "tracing.protocol"], problem);
    }
    let certificates_alone = settings.tls_client_ca.is_some() && settings.auth_tokens_file.is_none();
    if certificates_alone && settings.tls_client_certificate == ClientCertificate::Optional {
        let problem = "without auth.tokens_file every client needs a certificate: leave this out";
        at(&["tls.client_certificate", "tls.client_ca", "auth.tokens_file"], problem.to_owned());
    }
    if certificates_alone && settings.http_auth && !settings.http_tls {
        let problem = "without auth.tokens_file the pages know only certificates, which need TLS: set http.auth = false \
                       to show them to everybody";
        at(&["http.tls", "tls.client_ca", "auth.tokens_file", "http.auth"], problem.to_owned());
    }
    let services = declaration.services.len();
    if services > settings.breakers_max {
        let problem = format!(
            "{} is less than the {services} services of [{}]",
            settings.breakers_max,
            breakers::TABLE
        );
        at(&["limits.breakers_max", breakers::TABLE], problem);
    }
    errors
}
