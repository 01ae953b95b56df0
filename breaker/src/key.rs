//! What a breaker is called.

use std::fmt;
use std::sync::Arc;

/// The most bytes that a service, or a name, may have.
///
/// Long enough for a host name with a port and a path; short enough that a key fits a metric label, an
/// index and a line of a table.
pub const KEY_PART_BYTES_MAX: usize = 128;

/// The key of one breaker: a service, whose thresholds it is judged by, and a name within it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    service: Arc<str>,
    name: Arc<str>,
}

impl Key {
    /// Checks both parts; an empty `name` stands for the service's own breaker.
    ///
    /// # Errors
    /// [`KeyError`] when a part is empty (the service only), longer than [`KEY_PART_BYTES_MAX`], or has a
    /// character other than `A-Z a-z 0-9 . _ : -` (and `/`, in a name).
    pub fn new(service: &str, name: &str) -> Result<Self, KeyError> {
        check_service(service)?;
        let service: Arc<str> = service.into();
        if name.is_empty() || *name == *service {
            return Ok(Self { name: Arc::clone(&service), service });
        }
        check_part("name", name, |byte| is_service_byte(byte) || byte == b'/')?;
        Ok(Self { service, name: name.into() })
    }

    /// The same key, with `service` as the text of its service when it is the same text: many breakers of one
    /// service then keep it once.
    #[must_use]
    pub fn sharing(self, service: Arc<str>) -> Self {
        if *service != *self.service {
            return self;
        }
        let name = if *self.name == *service { Arc::clone(&service) } else { self.name };
        Self { service, name }
    }

    /// The service.
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// The name within the service; the service's own when none was given.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

/// Whether `service` can be one.
///
/// # Errors
/// As [`Key::new`].
pub fn check_service(service: &str) -> Result<(), KeyError> {
    check_part("service", service, is_service_byte)
}

fn is_service_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

fn check_part(field: &'static str, text: &str, allowed: fn(u8) -> bool) -> Result<(), KeyError> {
    if text.is_empty() {
        return Err(KeyError { field, problem: KeyProblem::Empty });
    }
    if text.len() > KEY_PART_BYTES_MAX {
        return Err(KeyError { field, problem: KeyProblem::TooLong { bytes: text.len() } });
    }
    if text.bytes().all(allowed) {
        return Ok(());
    }
    let (at, found) = text
        .char_indices()
        .find(|(_, c)| !c.is_ascii() || !allowed(*c as u8))
        .unwrap_or((0, char::REPLACEMENT_CHARACTER));
    Err(KeyError { field, problem: KeyProblem::Character { found, at } })
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// `service` or `name`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: KeyProblem,
}

/// What is wrong with a part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyProblem {
    /// There is nothing in it.
    Empty,
    /// It has more than [`KEY_PART_BYTES_MAX`] bytes.
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A character that may not stand in it.
    Character {
        /// The character.
        found: char,
        /// Its place, in bytes from 0.
        at: usize,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.field == "name" { " /" } else { "" };
        match self.problem {
            KeyProblem::Empty => {
                write!(f, "{}: must not be empty (1 to {KEY_PART_BYTES_MAX} characters)", self.field)
            }
            KeyProblem::TooLong { bytes } => {
                write!(f, "{}: too long: {bytes} bytes, the limit is {KEY_PART_BYTES_MAX}", self.field)
            }
            KeyProblem::Character { found, at } => write!(
                f,
                "{}: invalid character {found:?} at byte {at}: allowed are letters, digits and . _ : -{slash}",
                self.field
            ),
        }
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_a_name_is_the_services_own() {
        let key = Key::new("sentinel", "").unwrap();
        assert_eq!(key, Key::new("sentinel", "sentinel").unwrap());
        assert_eq!(key.to_string(), "sentinel/sentinel");
        assert_eq!(format!("{key:?}"), "Key(sentinel/sentinel)");
    }

    #[test]
    fn a_wrong_key_says_which_part_and_why() {
        let text = |service: &str, name: &str| Key::new(service, name).unwrap_err().to_string();
        assert_eq!(text("", "x"), "service: must not be empty (1 to 128 characters)");
        assert_eq!(
            text("a/b", ""),
            "service: invalid character '/' at byte 1: allowed are letters, digits and . _ : -"
        );
        assert_eq!(
            text("a", "b\n"),
            "name: invalid character '\\n' at byte 1: allowed are letters, digits and . _ : - /"
        );
        assert_eq!(
            text("a", "bé"),
            "name: invalid character 'é' at byte 1: allowed are letters, digits and . _ : - /"
        );
        assert_eq!(text(&"a".repeat(129), ""), "service: too long: 129 bytes, the limit is 128");
        assert!(Key::new(&"a".repeat(128), "eu/west:1._-").is_ok());
    }

    #[test]
    fn keys_of_one_service_share_its_text() {
        let service: Arc<str> = "sentinel".into();
        let named = Key::new("sentinel", "eu").unwrap().sharing(Arc::clone(&service));
        assert_eq!(named, Key::new("sentinel", "eu").unwrap());
        assert!(Arc::ptr_eq(named.service(), &service));
        let own = Key::new("sentinel", "").unwrap().sharing(Arc::clone(&service));
        assert!(Arc::ptr_eq(own.service(), &service) && Arc::ptr_eq(own.name(), &service));
        let other = Key::new("database", "eu").unwrap();
        assert_eq!(other.clone().sharing(service), other, "another service's text is not taken");
    }
}
