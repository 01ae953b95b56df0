//! The sources of a configuration beside the file: flags, environment variables, the host's name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use breakerd_common::nearest::nearest;

use super::error::{Error, Fault, SourceLocation};
use super::settings::{SETTINGS, Setting};
use super::standard_variables::StandardVariable;
use super::value_kind::{ValueKind, is_replica_name};

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "breakerd.toml";

const FILE_VARIABLE: &str = "BREAKERD_CONFIG";
const PREFIX: &str = "BREAKERD_";
/// The variables that the client commands read: in a container they are set beside the server's.
const CLIENT_VARIABLES: [&str; 5] =
    ["BREAKERD_ADDRESS", "BREAKERD_TOKEN", "BREAKERD_CA", "BREAKERD_CERT", "BREAKERD_KEY"];

/// The file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its path, as it was given.
    pub path: PathBuf,
    /// Whether a flag or variable named it. [`DEFAULT_FILE`] may be missing; a file that was named may not.
    pub is_named: bool,
}

/// Everything that says how this process runs, beside the file. Taken once: a configuration that is read again
/// later has the same flags and variables.
#[derive(Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    flags: BTreeMap<&'static str, String>,
    variables: BTreeMap<OsString, OsString>,
    hostname: Option<String>,
}

/// What a variable or a flag gives a setting.
pub(super) struct Given {
    /// Which of them.
    pub(super) location: SourceLocation,
    /// The text.
    pub(super) text: String,
    /// How it is written.
    pub(super) expected: ValueKind,
}

impl Sources {
    /// Nothing but the file, whoever the host is: what `check-config` and most tests want.
    pub fn none() -> Self {
        Self::default()
    }

    /// The variables of this process, and the name of its host.
    pub fn of_process() -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .or_else(|| std::env::var("HOSTNAME").ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| is_replica_name(name));
        Self { hostname, ..Self::none() }.with_variables(std::env::vars_os())
    }

    /// With the file that `--config` names.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// With the text of a flag; `flag` is a [`Setting::flag`], without its dashes.
    #[must_use]
    pub fn with_flag(mut self, flag: &'static str, text: impl Into<String>) -> Self {
        self.flags.insert(flag, text.into());
        self
    }

    /// With these variables; those that are not ours are left out, and those that are empty count as not set.
    #[must_use]
    pub fn with_variables<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let is_ours = |name: &OsStr| {
            name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
                || SETTINGS.iter().flat_map(variables_of).any(|variable| variable == name)
        };
        self.variables.extend(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .filter(|(name, value)| is_ours(name) && !value.is_empty()),
        );
        self
    }

    /// The file to read: `--config`, else `BREAKERD_CONFIG`, else [`DEFAULT_FILE`].
    pub fn file(&self) -> ConfigFile {
        let named =
            self.file.clone().or_else(|| self.variables.get(OsStr::new(FILE_VARIABLE)).map(PathBuf::from));
        ConfigFile { is_named: named.is_some(), path: named.unwrap_or_else(|| DEFAULT_FILE.into()) }
    }

    pub(super) fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    /// What a setting is given, the nearest last. A variable that is no text is an error.
    pub(super) fn given(&self, setting: &'static Setting, errors: &mut Vec<Error>) -> Vec<Given> {
        let mut given = Vec::new();
        for standard in setting.standard_variables.iter().filter(|it| self.counts(it)) {
            let text = self.variable(standard.name, setting, standard.expected, errors);
            given.extend(text.map(|text| Given {
                location: SourceLocation::Variable(standard.name),
                text: standard.normalized(text),
                expected: standard.expected,
            }));
        }
        let own =
            |location, text: &str| Given { location, text: text.to_owned(), expected: setting.expected };
        let text = self.variable(setting.variable, setting, setting.expected, errors);
        given.extend(text.map(|text| own(SourceLocation::Variable(setting.variable), text)));
        if let Some((flag, text)) = setting.flag.and_then(|flag| self.flags.get_key_value(flag)) {
            given.push(own(SourceLocation::Flag(flag), text));
        }
        given
    }

    /// Whether a shared variable says anything.
    fn counts(&self, standard: &StandardVariable) -> bool {
        let is = |name: &str, value: &str| {
            self.variables.get(OsStr::new(name)).is_some_and(|it| it.eq_ignore_ascii_case(value))
        };
        !is(standard.name, standard.unset) && standard.only_with.is_none_or(|(name, value)| is(name, value))
    }

    /// The text of a variable, if it is set.
    fn variable(
        &self,
        name: &'static str,
        setting: &Setting,
        expected: ValueKind,
        errors: &mut Vec<Error>,
    ) -> Option<&str> {
        let text = self.variables.get(OsStr::new(name))?.to_str();
        if text.is_none() {
            errors.push(Error {
                location: SourceLocation::Variable(name),
                fault: Fault::Value {
                    key: setting.key.to_owned(),
                    value: "no UTF-8".to_owned(),
                    expected: expected.to_string(),
                    hint: None,
                },
            });
        }
        text
    }

    /// Variables that look like a typo of one of breakerd's. No errors: Kubernetes sets variables for every service it
    /// knows, and a service that is called `breakerd` gets names with our prefix.
    pub(super) fn notes(&self) -> Vec<String> {
        let ours = || {
            let settings = SETTINGS.iter().flat_map(variables_of);
            settings.chain([FILE_VARIABLE]).chain(CLIENT_VARIABLES)
        };
        self.variables
            .keys()
            .filter_map(|name| name.to_str())
            .filter(|name| !ours().any(|known| known == *name) && !is_of_kubernetes(name))
            .map(|name| match nearest(name, ours()) {
                Some(near) => format!("the variable {name} sets nothing: did you mean {near}?"),
                None => format!("the variable {name} sets nothing"),
            })
            .collect()
    }
}

/// The variables of a setting, the nearest last.
fn variables_of(setting: &'static Setting) -> impl Iterator<Item = &'static str> {
    setting.standard_variables.iter().map(|standard| standard.name).chain([setting.variable])
}

/// `BREAKERD_SERVICE_HOST`, `BREAKERD_PORT_50051_TCP_ADDR`, `BREAKERD_POSTGRES_SERVICE_PORT`, ...
fn is_of_kubernetes(name: &str) -> bool {
    ["SERVICE_HOST", "SERVICE_PORT", "PORT"].iter().any(|part| {
        name.split_once(&format!("_{part}")).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('_'))
    })
}

impl fmt::Debug for Sources {
    /// Names only: a value may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("flags", &self.flags.keys())
            .field("variables", &self.variables.keys())
            .field("hostname", &self.hostname)
            .finish()
    }
}
