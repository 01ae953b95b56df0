//! The kinds of settings that are about traces.

use std::fmt;

use breakerd_common::value::{self, InvalidValue, RawValue};
use http::Uri;
use percent_encoding::percent_decode_str;
use toml::de::DeValue;

use super::value_kind::{ATTRIBUTES_MAX, Take, ValueKind, is_text};

/// The URL of a collector, `http` or `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEndpoint(Uri);

impl TraceEndpoint {
    /// The URL.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it is reached over TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl Take for Option<TraceEndpoint> {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        let text = value::text(given)?;
        if text.is_empty() {
            return Ok(None);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidValue::OUT_OF_RANGE)?;
        let Some(authority) = uri.authority() else {
            return Err(InvalidValue::with_hint("it begins with http:// or https://"));
        };
        if authority.as_str().contains('@') {
            return Err(InvalidValue::with_hint("put secrets into tracing.headers_file"));
        }
        if uri.query().is_some() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(InvalidValue::OUT_OF_RANGE);
        }
        Ok(Some(TraceEndpoint(uri)))
    }
}

/// How traces are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceProtocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, in protobuf.
    Http,
}

impl TraceProtocol {
    /// As `OTEL_EXPORTER_OTLP_PROTOCOL` has them.
    pub(super) const NAMES: &'static [&'static str] = &["grpc", "http/protobuf"];
}

impl Take for TraceProtocol {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        Ok(if value::choice(given, Self::NAMES)? == "grpc" { Self::Grpc } else { Self::Http })
    }
}

/// A share from 0 to 1, exactly.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SampleRatio {
    per_million: u32,
}

impl SampleRatio {
    /// In millionths, up to 1,000,000.
    pub fn per_million(self) -> u32 {
        self.per_million
    }
}

impl fmt::Debug for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/1000000", self.per_million)
    }
}

impl Take for SampleRatio {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        let text = match given {
            RawValue::Text(text) => text,
            RawValue::Toml(DeValue::Float(float)) => float.as_str(),
            RawValue::Toml(DeValue::Integer(integer)) => integer.as_str(),
            RawValue::Toml(DeValue::String(_)) => {
                return Err(InvalidValue::with_hint("write it without quotes"));
            }
            RawValue::Toml(_) => return Err(InvalidValue::OUT_OF_RANGE),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(fraction) {
            return Err(InvalidValue::OUT_OF_RANGE);
        }
        // Trailing zeros are insignificant.
        let fraction = fraction.trim_end_matches('0');
        if !is_digits(whole) || whole.len() > 1 || fraction.len() > 6 {
            return Err(InvalidValue::OUT_OF_RANGE);
        }
        let per_million: u32 =
            format!("{whole}{fraction:0<6}").parse().map_err(|_| InvalidValue::OUT_OF_RANGE)?;
        if per_million > 1_000_000 {
            return Err(InvalidValue::OUT_OF_RANGE);
        }
        Ok(Self { per_million })
    }
}

/// Attributes of the resource in traces: keys with their values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceAttributes(Vec<(String, String)>);

impl ResourceAttributes {
    /// Each with its value, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl Take for ResourceAttributes {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        let mut attributes = Vec::new();
        let text = value::text(given)?;
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| missing(pair))?;
            let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(String::from);
            let (Ok(key), Ok(value)) = (decoded(key), decoded(value)) else {
                return Err(InvalidValue::with_hint("a percent-encoded value is no UTF-8"));
            };
            if !is_text(&key) || !is_text(&value) || attributes.len() == ATTRIBUTES_MAX {
                return Err(InvalidValue::OUT_OF_RANGE);
            }
            attributes.push((key, value));
        }
        Ok(Self(attributes))
    }
}

fn missing(pair: &str) -> InvalidValue {
    let shown: String = pair.chars().take(40).collect();
    InvalidValue::with_hint(format!("{shown} has no ="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take<T: Take>(text: &str) -> Result<T, InvalidValue> {
        T::take(RawValue::Text(text), ValueKind::Flag)
    }

    #[test]
    fn a_ratio_is_read_exactly() {
        for (text, per_million) in [
            ("0", 0),
            ("1", 1_000_000),
            ("1.0", 1_000_000),
            ("0.01", 10_000),
            ("0.000001", 1),
            ("0.5000000", 500_000),
        ] {
            assert_eq!(take::<SampleRatio>(text).unwrap().per_million(), per_million, "{text}");
        }
        for text in ["", "1.000001", "2", "-1", "0.0000001", "1e-2", ".5", "0.", "nan", "00.5"] {
            assert!(take::<SampleRatio>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_without_secrets() {
        for text in ["http://collector:4317", "https://[::1]/otlp", "https://a.example"] {
            assert!(take::<Option<TraceEndpoint>>(text).unwrap().is_some(), "{text}");
        }
        assert_eq!(take::<Option<TraceEndpoint>>("").unwrap(), None);
        for text in
            ["collector", "collector:4317", "ftp://a", "http://", "http://u:p@a", "http://a?b=c", "/a"]
        {
            assert!(take::<Option<TraceEndpoint>>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn attributes_are_decoded_and_bounded() {
        let attributes = take::<ResourceAttributes>("a=1, b=x%2Cy%3D ,").unwrap();
        assert_eq!(attributes.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "x,y=")]);
        let many: Vec<_> = (0..65).map(|key| format!("k{key}=1")).collect();
        for text in ["a", "a=", "=1", "a=%ff", &format!("a={}", "x".repeat(256)), &many.join(",")] {
            assert!(take::<ResourceAttributes>(text).is_err(), "{text}");
        }
    }
}
