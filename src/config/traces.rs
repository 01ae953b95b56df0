//! The kinds of settings that are about traces.

use std::fmt;

use breakerd_common::value::{self, InvalidValue, RawValue};
use http::Uri;
use percent_encoding::percent_decode_str;
use toml::de::DeValue;

use super::value_kind::{ATTRIBUTES_MAX, Take, ValueKind, is_text};

/// The URL of a collector, `http` or `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEndpoint {
    uri: Uri,
    /// Whether it is that of traces alone, and not that which the paths of all signals are below.
    is_of_traces: bool,
}

/// The path of traces below that of a collector.
const TRACES_PATH: &str = "/v1/traces";

impl TraceEndpoint {
    /// The URL.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether it is reached over TLS.
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether it names a path.
    pub(super) fn has_path(&self) -> bool {
        !matches!(self.uri.path(), "" | "/")
    }

    /// The path that traces are posted to over HTTP: that of an endpoint of traces as it is, and otherwise `/v1/traces` below that of
    /// the collector, unless that names it already.
    pub fn http_path(&self) -> String {
        let path = self.uri.path();
        if self.is_of_traces {
            return path.to_owned();
        }
        let path = path.trim_end_matches('/');
        format!("{}{TRACES_PATH}", path.strip_suffix(TRACES_PATH).unwrap_or(path))
    }
}

impl Take for Option<TraceEndpoint> {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        let text = value::text(given)?;
        if text.is_empty() {
            return Ok(None);
        }
        // The parser leaves it out.
        if text.contains('#') {
            return Err(InvalidValue::with_hint("leave out the # and what follows it"));
        }
        let uri: Uri = text.parse().map_err(|_| InvalidValue::OUT_OF_RANGE)?;
        let Some(authority) = uri.authority() else {
            return Err(InvalidValue::with_hint("it begins with http:// or https://"));
        };
        if authority.as_str().contains('@') {
            return Err(InvalidValue::with_hint("put secrets into tracing.headers_file"));
        }
        if uri.query().is_some() {
            return Err(InvalidValue::with_hint(
                "leave out the query, and put secrets into tracing.headers_file",
            ));
        }
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(InvalidValue::OUT_OF_RANGE);
        }
        Ok(Some(TraceEndpoint { uri, is_of_traces: expected == ValueKind::TracesEndpoint }))
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

    /// As it is set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

impl Take for TraceProtocol {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        Ok(if value::choice(given, Self::NAMES)? == "grpc" { Self::Grpc } else { Self::Http })
    }
}

/// How traces are compressed on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceCompression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
}

impl TraceCompression {
    /// As `OTEL_EXPORTER_OTLP_COMPRESSION` has them.
    pub(super) const NAMES: &'static [&'static str] = &["none", "gzip"];
}

impl Take for TraceCompression {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        Ok(if value::choice(given, Self::NAMES)? == "none" { Self::None } else { Self::Gzip })
    }
}

/// The samplers of `OTEL_TRACES_SAMPLER` that breakerd has: those that do as the caller does, where there is one.
pub(super) const SAMPLERS: &[&str] =
    &["parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"];

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

impl SampleRatio {
    /// Of a sampler by its name. That of a ratio samples all until its argument says otherwise, as the specification has it.
    fn of_sampler(given: RawValue<'_>, samplers: &'static [&'static str]) -> Result<Self, InvalidValue> {
        let sampler = value::choice(given, samplers).map_err(|invalid| match value::text(given) {
            Ok("always_off") => InvalidValue::with_hint("to disable traces, set OTEL_TRACES_EXPORTER=none"),
            Ok("always_on" | "traceidratio") => {
                InvalidValue::with_hint("breakerd samples what its caller samples")
            }
            _ => invalid,
        })?;
        Ok(Self { per_million: if sampler == "parentbased_always_off" { 0 } else { 1_000_000 } })
    }
}

impl fmt::Debug for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/1000000", self.per_million)
    }
}

impl Take for SampleRatio {
    fn take(given: RawValue<'_>, expected: ValueKind) -> Result<Self, InvalidValue> {
        if let ValueKind::Choice(samplers) = expected {
            return Self::of_sampler(given, samplers);
        }
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
        for text in [
            "collector",
            "collector:4317",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a?b=c",
            "http://a#b",
            "/a",
        ] {
            assert!(take::<Option<TraceEndpoint>>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn traces_go_below_the_path_of_a_collector_and_to_an_endpoint_of_traces_as_it_is() {
        for (endpoint, below, as_it_is) in [
            ("http://a:4318", "/v1/traces", "/"),
            ("https://a/", "/v1/traces", "/"),
            ("https://a/otlp/", "/otlp/v1/traces", "/otlp/"),
            ("https://a/otlp/v1/traces", "/otlp/v1/traces", "/otlp/v1/traces"),
        ] {
            for (kind, path) in [(ValueKind::Endpoint, below), (ValueKind::TracesEndpoint, as_it_is)] {
                let taken = <Option<TraceEndpoint> as Take>::take(RawValue::Text(endpoint), kind);
                assert_eq!(taken.unwrap().unwrap().http_path(), path, "{endpoint}");
            }
        }
    }

    #[test]
    fn samplers_that_follow_the_caller_are_ratios_and_others_are_refused() {
        let take = |text| SampleRatio::take(RawValue::Text(text), ValueKind::Choice(SAMPLERS));
        for (text, per_million) in [
            ("parentbased_always_on", 1_000_000),
            ("parentbased_always_off", 0),
            ("parentbased_traceidratio", 1_000_000),
        ] {
            assert_eq!(take(text).unwrap().per_million(), per_million, "{text}");
        }
        for (text, hint) in [
            ("always_on", Some("breakerd samples what its caller samples")),
            ("traceidratio", Some("breakerd samples what its caller samples")),
            ("always_off", Some("to disable traces, set OTEL_TRACES_EXPORTER=none")),
            ("xray", None),
        ] {
            assert_eq!(take(text).unwrap_err().hint.as_deref(), hint, "{text}");
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
