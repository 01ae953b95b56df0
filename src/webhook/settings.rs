//! What a target is: checked values, as the configuration makes them.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::filter::Filter;

/// The most targets: each has a task, a queue and series of its own.
pub const TARGETS_MAX: usize = 16;
/// How long one attempt may take.
pub const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);
/// How old a notification may become.
pub const GIVE_UP_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// How many notifications wait: each has about a kilobyte, which targets share.
pub const QUEUE: RangeInclusive<u64> = 1..=10_000;
/// The most bytes of a URL.
pub const URL_BYTES_MAX: usize = 2_048;

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// Its name in the log and in the metrics.
    pub name: String,
    /// Where to post.
    pub url: UrlSource,
    /// What is posted.
    pub format: Format,
    /// Which transitions.
    pub filter: Filter,
    /// The file of the secrets that notifications are signed with; none: they are not signed.
    pub secret_file: Option<PathBuf>,
    /// The file of the authorities that are trusted; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How old a notification may become.
    pub give_up_after: Duration,
    /// How many wait.
    pub queue_max: usize,
}

/// Where the URL stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlSource {
    /// In the configuration.
    Given(SecretUrl),
    /// In a file of its own.
    File(PathBuf),
}

/// What is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The API's own message of a transition.
    #[default]
    Json,
    /// What incoming webhooks of Slack take, and of others that understand them.
    Slack,
}

impl Format {
    /// The names in the configuration.
    pub const NAMES: &'static [&'static str] = &["json", "slack"];

    /// As it is set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
        }
    }
}

/// A URL, which may be a secret, or hold one, and so does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, without the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("it has {} bytes, the limit is {URL_BYTES_MAX}", text.len()));
        }
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        // The parser would take the first part of the path for the host.
        if text.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/')) {
            return Err("empty host".to_owned());
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err("its scheme is neither http nor https".to_owned());
        }
        Ok(Self(url))
    }

    /// The URL, secrets and all.
    pub(super) fn expose(&self) -> &Url {
        &self.0
    }

    /// Whether it is posted to over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether it names this machine by its address, or as `localhost`.
    pub fn is_local(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for SecretUrl {
    /// Scheme, host and port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
        f.write_str("/...")
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_not_shown() {
        let url =
            SecretUrl::parse("https://user:pass@hooks.example:8443/services/T0/B0/secret?key=x#y").unwrap();
        assert_eq!(
            (format!("{url}"), format!("{url:?}")),
            ("https://hooks.example:8443/...".to_owned(), url.to_string())
        );
        assert!(url.is_encrypted() && !url.is_local());
        for local in ["http://127.0.0.1:1/a", "http://[::1]/a", "http://localhost/"] {
            assert!(SecretUrl::parse(local).unwrap().is_local(), "{local}");
        }
        for (wrong, why) in [
            ("", "relative URL"),
            ("hooks.example/secret", "relative URL"),
            ("ftp://hooks.example/secret", "scheme"),
            ("http:///secret", "empty host"),
            (&format!("http://a/{}", "secret".repeat(400)), "the limit is 2048"),
        ] {
            let error = SecretUrl::parse(wrong).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{wrong}: {error}");
        }
    }
}
