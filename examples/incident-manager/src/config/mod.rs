//! The settings: a TOML file, and environment variables for secrets.

mod thresholds;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use breakerd_client::WhenUnreachable;
use lettre::message::Mailbox;
use serde::{Deserialize, Deserializer};

pub use thresholds::CircuitBreakerConfig;

/// Variables that win over the file, with the table and the key that they set.
const VARIABLES: [(&str, &str, &str); 6] = [
    ("BREAKERD_TOKEN", "breakerd", "token"),
    ("SENTINEL_TOKEN", "sentinel", "token"),
    ("DATABASE_URL", "store", "url"),
    ("SLACK_WEBHOOK_URL", "slack", "webhook_url"),
    ("SMTP_URL", "email", "smtp_url"),
    ("PAGERDUTY_ROUTING_KEY", "pagerduty", "routing_key"),
];

/// All settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of this program's API. Port 0: any free port.
    pub listen: SocketAddr,
    /// Where breakerd is.
    pub breakerd: BreakerdConfig,
    /// Sentinel.
    pub sentinel: SentinelConfig,
    /// The incident store.
    pub store: StoreConfig,
    /// Absent: Slack is not used.
    #[serde(default)]
    pub slack: Option<SlackConfig>,
    /// Absent: email is not used.
    #[serde(default)]
    pub email: Option<EmailConfig>,
    /// Absent: PagerDuty is not used.
    #[serde(default)]
    pub pagerduty: Option<PagerDutyConfig>,
    /// Thresholds for the time before breakerd has told its own.
    #[serde(default)]
    pub circuit_breaker: CircuitBreakerConfig,
}

/// `[breakerd]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerdConfig {
    /// One or more URLs.
    pub addresses: Vec<String>,
    /// Absent: breakerd has authentication disabled.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Label of this process in breakerd's history. Absent: chosen by the client.
    #[serde(default)]
    pub caller: Option<String>,
    /// Who decides while no breakerd can be reached.
    #[serde(default = "local", deserialize_with = "when_unreachable")]
    pub when_unreachable: WhenUnreachable,
}

/// `[sentinel]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentinelConfig {
    /// Base URL.
    pub url: String,
    /// Bearer token.
    #[serde(default)]
    pub token: Option<Secret>,
    /// For a whole call.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite:FILE` or `postgres://...`
    pub url: Secret,
    /// For a whole call.
    #[serde(default = "five_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[slack]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackConfig {
    /// URL of an incoming webhook. It is a secret.
    pub webhook_url: Secret,
    /// For a whole call.
    #[serde(default = "five_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[email]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// `smtps://user:password@host`, `smtp://host?tls=required`, or `smtp://host` for a relay without TLS.
    pub smtp_url: Secret,
    /// Author of the messages.
    pub from: Mailbox,
    /// At least one.
    pub to: Vec<Mailbox>,
    /// For a whole call.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// `[pagerduty]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDutyConfig {
    /// Integration key of a service.
    pub routing_key: Secret,
    /// Base URL.
    #[serde(default = "pagerduty_url")]
    pub url: String,
    /// For a whole call.
    #[serde(default = "five_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
}

impl Config {
    /// Reads a file, and the variables of this process.
    ///
    /// # Errors
    /// The file cannot be read or is invalid; the error names the key.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text, |variable| std::env::var(variable).ok())
            .with_context(|| format!("{} is invalid", path.display()))
    }

    /// Parses the text of a file, with the variables that `variable` knows.
    ///
    /// # Errors
    /// The text is invalid; the error names the key.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        // The first look at the text: its errors show the line.
        let mut file: toml::Table = toml::from_str(text)?;
        for (name, table, key) in VARIABLES {
            if let Some(value) = variable(name) {
                let table = file.entry(table).or_insert_with(|| toml::Table::new().into());
                let table = table
                    .as_table_mut()
                    .with_context(|| format!("{name} is set, but its key is no table"))?;
                table.insert(key.to_owned(), value.into());
            }
        }
        let config: Self = file.try_into()?;
        anyhow::ensure!(!config.breakerd.addresses.is_empty(), "breakerd.addresses: must not be empty");
        let recipients = config.email.as_ref().map(|email| email.to.len());
        anyhow::ensure!(recipients != Some(0), "email.to: must not be empty");
        Ok(config)
    }
}

/// A text that is not shown in logs and errors.
#[derive(Clone, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Units as humantime has them. Nothing waits forever, and nothing fails at once.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    use serde::de::Error;
    let text = String::deserialize(deserializer)?;
    let duration = humantime::parse_duration(&text).map_err(D::Error::custom)?;
    if !(Duration::from_millis(1)..=Duration::from_mins(5)).contains(&duration) {
        return Err(D::Error::custom(format!("invalid value {text:?}: must be 1ms to 5m")));
    }
    Ok(duration)
}

fn when_unreachable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WhenUnreachable, D::Error> {
    match &*String::deserialize(deserializer)? {
        "local" => Ok(WhenUnreachable::Local),
        "allow" => Ok(WhenUnreachable::Allow),
        "deny" => Ok(WhenUnreachable::Deny),
        other => Err(serde::de::Error::unknown_variant(other, &["local", "allow", "deny"])),
    }
}

fn local() -> WhenUnreachable {
    WhenUnreachable::Local
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn pagerduty_url() -> String {
    "https://events.pagerduty.com".to_owned()
}
