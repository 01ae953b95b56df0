//! What the names of metrics begin with.

/// What the names of metrics begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// The default.
    pub const DEFAULT: &'static str = "llm_incident_manager";
    /// The most bytes it may have: names stay readable, and a scrape of many series small.
    pub const BYTES_MAX: usize = 64;

    /// Checks it: a name of Prometheus' without a colon, which is kept for recording rules. Empty: names
    /// begin with `circuit_breaker` and `breakerd`.
    ///
    /// # Errors
    /// [`NamespaceError`].
    pub fn new(text: &str) -> Result<Self, NamespaceError> {
        let first_is_digit = text.starts_with(|c: char| c.is_ascii_digit());
        let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if text.len() > Self::BYTES_MAX || first_is_digit || !fits {
            return Err(NamespaceError(text.chars().take(Self::BYTES_MAX + 1).collect()));
        }
        Ok(Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole name of a metric that is called `name` in this namespace.
    pub fn name(&self, name: &str) -> String {
        if self.0.is_empty() { name.to_owned() } else { format!("{}_{name}", self.0) }
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

/// Why a text is not a namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot begin the names of metrics: it takes at most 64 of A-Z a-z 0-9 _, the first of them no digit"
)]
pub struct NamespaceError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_the_beginning_of_a_metric_name() {
        for good in ["", "breakerd", "_a", "A1", Namespace::DEFAULT, &"a".repeat(64)] {
            assert_eq!(Namespace::new(good).unwrap().as_str(), good);
        }
        for wrong in ["1a", "a-b", "a:b", "ä", "a b", "a\n", &"a".repeat(65)] {
            assert!(Namespace::new(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Namespace::new("").unwrap().name("x_total"), "x_total");
        assert_eq!(Namespace::default().name("x_total"), "llm_incident_manager_x_total");
    }
}
