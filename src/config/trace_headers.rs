//! The headers that are sent to a collector. They hold secrets.

use breakerd_common::value::{self, InvalidValue, RawValue};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::value_kind::{HEADERS_MAX, Take, ValueKind};

/// What the protocols set by themselves.
const RESERVED: [&str; 8] = [
    "content-type",
    "content-length",
    "content-encoding",
    "te",
    "host",
    "connection",
    "transfer-encoding",
    "user-agent",
];

/// Headers with their values, which do not show themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceHeaders(HeaderMap);

impl TraceHeaders {
    /// All of them.
    pub fn map(&self) -> &HeaderMap {
        &self.0
    }

    /// Adds one, also beside others of its name.
    ///
    /// # Errors
    /// What is wrong with it, without the value.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) else {
            return Err("the name must be letters, digits and -".to_owned());
        };
        let is_reserved = RESERVED.contains(&name.as_str()) || name.as_str().starts_with("grpc-");
        // gRPC wants the values of the last in Base64.
        if is_reserved || name.as_str().ends_with("-bin") {
            return Err(format!("{name} is set by the protocol"));
        }
        let Ok(mut value) = HeaderValue::from_str(value.trim()) else {
            return Err(format!("the value of {name} must be visible ASCII characters"));
        };
        if self.0.len() == HEADERS_MAX {
            return Err(format!("too many headers, the limit is {HEADERS_MAX}"));
        }
        value.set_sensitive(true);
        self.0.append(name, value);
        Ok(())
    }

    /// With those of `other`, which win over those of the same name.
    #[must_use]
    pub fn overridden_by(mut self, other: &Self) -> Self {
        for name in other.0.keys() {
            self.0.remove(name);
        }
        for (name, value) in &other.0 {
            self.0.append(name.clone(), value.clone());
        }
        self
    }
}

impl Take for TraceHeaders {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        let mut headers = Self::default();
        let pairs = value::text(given)?.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        for (at, pair) in (1..).zip(pairs) {
            // The pair may be a secret, and is not shown.
            let wrong = |problem: &str| InvalidValue::with_hint(format!("header {at}: {problem}"));
            let (name, value) = pair.split_once('=').ok_or_else(|| wrong("has no ="))?;
            let value = percent_decode_str(value.trim()).decode_utf8();
            let value = value.map_err(|_| wrong("the percent-encoded value is no UTF-8"))?;
            headers.add(name, &value).map_err(|problem| wrong(&problem))?;
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<TraceHeaders, InvalidValue> {
        TraceHeaders::take(RawValue::Text(text), ValueKind::Headers)
    }

    #[test]
    fn headers_are_decoded_and_show_no_values() {
        let headers = take("authorization=Basic%20YTpi==, x-tenant = a%2Cb ,").unwrap();
        assert_eq!(headers.map()["authorization"], "Basic YTpi==");
        assert_eq!(headers.map()["x-tenant"], "a,b");
        assert!(!format!("{headers:?}").contains("YTpi"), "{headers:?}");
        assert_eq!(take("").unwrap(), TraceHeaders::default());
    }

    #[test]
    fn wrong_headers_are_named_without_their_values() {
        for (text, problem) in [
            ("x=1,secret", "header 2: has no ="),
            ("a b=secret", "header 1: the name must be letters, digits and -"),
            ("grpc-timeout=secret", "header 1: grpc-timeout is set by the protocol"),
            ("content-encoding=secret", "header 1: content-encoding is set by the protocol"),
            ("a=secret%00", "header 1: the value of a must be visible ASCII characters"),
            ("a=secret%ff", "header 1: the percent-encoded value is no UTF-8"),
            (&"a=secret,".repeat(33), "header 33: too many headers, the limit is 32"),
        ] {
            assert_eq!(take(text).unwrap_err().hint.as_deref(), Some(problem), "{text}");
        }
    }

    #[test]
    fn later_headers_replace_those_of_their_name() {
        let both = take("a=1,a=2,b=3").unwrap().overridden_by(&take("a=4,A=5").unwrap());
        let values: Vec<_> = both.map().get_all("a").iter().collect();
        assert_eq!(values, ["4", "5"]);
        assert_eq!(both.map()["b"], "3");
    }
}
