//! The kinds of settings that are about Envoy.

use std::fmt;

use breaker::KEY_PART_BYTES_MAX;
use breakerd_common::value::{self, InvalidValue, RawValue};
use http::header::HeaderName;

use super::value_kind::{TEMPLATE_MAX, Take, ValueKind};

/// What the names of breakers are made of, for requests whose route names none: text, and parts of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Host,
    FirstSegment,
}

/// What a template takes of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestParts<'a> {
    host: &'a str,
    path: &'a str,
}

impl<'a> RequestParts<'a> {
    /// Of a request of HTTP: its host, perhaps with a port, and its path, perhaps with a query.
    pub fn of_http(host: &'a str, path: &'a str) -> Self {
        Self { host: without_port(host), path }
    }

    /// Of a connection of TCP: where it goes, a name, or an address with its port.
    pub fn of_connection(destination: &'a str) -> Self {
        Self { host: destination, path: "" }
    }
}

impl NameTemplate {
    /// The name for a request: at most 128 bytes. What no name may have is `_` in it. Empty where the request has none of the parts.
    pub fn fill(&self, request: RequestParts<'_>) -> String {
        let mut name = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Host => {
                    name.extend(request.host.chars().map(|part| allowed(part.to_ascii_lowercase())));
                }
                Piece::FirstSegment => {
                    name.extend(first_segment(request.path).chars().map(allowed));
                }
            }
            // All of it is ASCII by now.
            name.truncate(KEY_PART_BYTES_MAX);
        }
        name
    }
}

/// Without the brackets of an IPv6 address as well.
fn without_port(host: &str) -> &str {
    if let Some(address) = host.strip_prefix('[') {
        return address.split_once(']').map_or(address, |(address, _)| address);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    }
}

fn first_segment(path: &str) -> &str {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

/// As names of services have them.
fn allowed(character: char) -> char {
    if character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | ':' | '-') {
        character
    } else {
        '_'
    }
}

impl Take for NameTemplate {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        let mut rest = value::text(given)?;
        if rest.len() > TEMPLATE_MAX {
            return Err(InvalidValue::OUT_OF_RANGE);
        }
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (text, behind) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if !text.is_empty() {
                if text.chars().any(|character| allowed(character) != character) {
                    return Err(InvalidValue::with_hint("names have letters, digits and . _ : -"));
                }
                pieces.push(Piece::Text(text.to_owned()));
            }
            let Some(part) = behind.strip_prefix('{') else { break };
            let Some((part, after)) = part.split_once('}') else {
                return Err(InvalidValue::with_hint("a { has no }"));
            };
            pieces.push(match part {
                "host" => Piece::Host,
                "path_1" => Piece::FirstSegment,
                _ => return Err(InvalidValue::with_hint("the parts are {host} and {path_1}")),
            });
            rest = after;
        }
        Ok(Self(pieces))
    }
}

/// The name of a header that requests get; lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader(HeaderName);

impl RequestHeader {
    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Take for Option<RequestHeader> {
    fn take(given: RawValue<'_>, _: ValueKind) -> Result<Self, InvalidValue> {
        let name = value::text(given)?;
        if name.is_empty() {
            return Ok(None);
        }
        let name = HeaderName::try_from(name).map_err(|_| InvalidValue::OUT_OF_RANGE)?;
        Ok(Some(RequestHeader(name)))
    }
}

impl fmt::Display for RequestHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<NameTemplate, InvalidValue> {
        NameTemplate::take(RawValue::Text(text), ValueKind::NameTemplate)
    }

    #[test]
    fn a_template_is_filled_with_parts_of_the_request_and_is_a_valid_name() {
        let long = "x".repeat(300);
        for (text, host, path, name) in [
            ("{host}", "Pay.Example.org:8443", "/", "pay.example.org"),
            ("{host}", "[2001:db8::1]:80", "/", "2001:db8::1"),
            ("{host}", "10.0.0.7", "/", "10.0.0.7"),
            ("edge:{host}:{path_1}", "shop", "/v1%20/orders?x=/", "edge:shop:v1_20"),
            ("{path_1}", "shop", "/?a=b", ""),
            ("{host}", "straße/{path_1}\n", "/", "stra_e__path_1__"),
            ("{host}-x", &long, "/", &long[..128]),
            ("", "shop", "/orders", ""),
        ] {
            let filled = template(text).unwrap().fill(RequestParts::of_http(host, path));
            assert_eq!(filled, name, "{text} of {host}{path}");
            assert!(filled.is_empty() || breaker::check_service(&filled).is_ok());
        }
    }

    #[test]
    fn a_connection_is_named_by_where_it_goes() {
        let filled =
            template("tcp:{host}{path_1}").unwrap().fill(RequestParts::of_connection("10.0.0.7:5432"));
        assert_eq!(filled, "tcp:10.0.0.7:5432");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["{cluster}", "{host", "a b", "a/b", "\u{e9}", &"x".repeat(257)] {
            assert!(template(text).is_err(), "{text}");
        }
    }
}
