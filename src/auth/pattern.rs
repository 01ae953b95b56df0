//! Names of services with holes: `payments`, `billing.*`, `*`.

use std::fmt;

/// The most characters of a pattern, as a service has at most; the time that a match takes is then bounded too.
const CHARS_MAX: usize = 128;

/// A pattern for service names: `*` matches any characters, or none; all else matches itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// The one that every service is like.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// None: it has a character that no service has, or none, or too many.
    pub fn new(text: &str) -> Option<Self> {
        Self::of(text, |byte| byte == b'*' || is_service_byte(byte))
    }

    /// As [`Pattern::new`], for names of breakers, which may have a `/` too.
    pub fn of_names(text: &str) -> Option<Self> {
        Self::of(text, |byte| matches!(byte, b'*' | b'/') || is_service_byte(byte))
    }

    fn of(text: &str, fits: fn(u8) -> bool) -> Option<Self> {
        let right = !text.is_empty() && text.len() <= CHARS_MAX && text.bytes().all(fits);
        right.then(|| Self(text.into()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every service is like it.
    pub fn is_any(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether `service` is like it.
    ///
    /// The first part is at the beginning, the last one at the end, and each between them is looked for from
    /// left to right: the leftmost place of each leaves the most room for those behind it.
    pub fn matches(&self, service: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return *self.0 == *service };
        let Some(mut left) = service.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*') {
            match left.find(part) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last)
    }
}

fn is_service_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_characters_or_none() {
        for (pattern, yes, no) in [
            ("payments", &["payments"][..], &["payments2", "payment", "", "xpayments"][..]),
            ("billing.*", &["billing.", "billing.eu", "billing.eu.west"], &["billing", "xbilling.eu"]),
            ("*.eu", &[".eu", "billing.eu"], &["eu", "billing.eu2"]),
            ("a*b*c", &["abc", "a1b2c", "abbcc", "abcbc"], &["ab", "ac", "acb", "abcd"]),
            ("aba*aba", &["abaaba", "aba1aba"], &["aba", "ababa"]),
            ("*", &["", "anything"], &[]),
            ("**", &["", "anything"], &[]),
        ] {
            let pattern = Pattern::new(pattern).unwrap();
            for service in yes {
                assert!(pattern.matches(service), "{pattern:?} {service}");
            }
            for service in no {
                assert!(!pattern.matches(service), "{pattern:?} {service}");
            }
        }
    }

    #[test]
    fn what_no_service_has_is_no_pattern() {
        for wrong in ["", "a b", "a/b", "ä", "a\n", &"a".repeat(129)] {
            assert_eq!(Pattern::new(wrong), None, "{wrong}");
        }
        assert!(Pattern::of_names("eu/*").is_some_and(|pattern| pattern.matches("eu/west")));
        assert_eq!(Pattern::of_names("eu west"), None);
    }

    /// By trying everything.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            Some((byte, rest)) => text.first() == Some(byte) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_match_is_what_trying_everything_finds(pattern in "[ab*]{1,8}", text in "[ab]{0,10}") {
            let expected = naive(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Pattern::new(&pattern).unwrap().matches(&text), expected);
        }
    }
}
