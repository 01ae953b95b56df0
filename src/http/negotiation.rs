//! What a client says it takes, by `Accept` and `Accept-Encoding` (RFC 9110, section 12.5).

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

use crate::metrics::Format;

/// How a page of metrics is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Representation {
    pub(super) format: Format,
    pub(super) gzip: bool,
}

impl Representation {
    /// Every one of them.
    pub(super) const ALL: [Self; 4] = [
        Self { format: Format::Text, gzip: false },
        Self { format: Format::Text, gzip: true },
        Self { format: Format::OpenMetrics, gzip: false },
        Self { format: Format::OpenMetrics, gzip: true },
    ];

    /// The one that a client prefers. Who says nothing, or names nothing that there is, gets plain text: a page that a person can read is better
    /// than a refusal.
    pub(super) fn preferred(headers: &HeaderMap) -> Self {
        let weight_of = |matches: &dyn Fn(&Entry<'_>) -> bool| {
            entries(headers, &ACCEPT).filter(matches).map(|entry| entry.weight).fold(0.0, f32::max)
        };
        let open_metrics = weight_of(&|entry| {
            entry.name.eq_ignore_ascii_case("application/openmetrics-text")
                && entry.parameter("version").is_none_or(|version| version == "1.0.0")
        });
        let text = weight_of(&|entry| {
            entry.name.eq_ignore_ascii_case("text/plain")
                && entry.parameter("version").is_none_or(|version| version == "0.0.4")
        });
        let format = if open_metrics > text { Format::OpenMetrics } else { Format::Text };
        // The first that names gzip counts, and then the wildcard.
        let gzip = |name: &str| {
            entries(headers, &ACCEPT_ENCODING).find(|entry| entry.name.eq_ignore_ascii_case(name))
        };
        let gzip = gzip("gzip").or_else(|| gzip("*")).is_some_and(|entry| entry.weight > 0.0);
        Self { format, gzip }
    }

    /// Its index in [`Representation::ALL`].
    pub(super) const fn index(self) -> usize {
        self.format as usize * 2 + self.gzip as usize
    }
}

/// One of those that a client takes.
struct Entry<'a> {
    name: &'a str,
    parameters: &'a str,
    /// From 0, which is a refusal, to 1.
    weight: f32,
}

impl<'a> Entry<'a> {
    /// None: it cannot be read.
    fn parse(text: &'a str) -> Option<Self> {
        let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
        let entry = Self { name: name.trim(), parameters, weight: 1.0 };
        let weight = match entry.parameter("q") {
            None => 1.0,
            Some(weight) => weight.parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?,
        };
        Some(Self { weight, ..entry })
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut parameters = self.parameters.split(';').filter_map(|parameter| parameter.split_once('='));
        let (_, value) = parameters.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
        Some(value.trim().trim_matches('"'))
    }
}

fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Entry<'a>> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(Entry::parse)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(accept: &str, encoding: &str) -> Representation {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(encoding).unwrap());
        Representation::preferred(&headers)
    }

    #[test]
    fn what_prometheus_asks_for_is_open_metrics_in_gzip() {
        // As Prometheus 3 sends it.
        let accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                      application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(of(accept, "gzip"), Representation { format: Format::OpenMetrics, gzip: true });
    }

    #[test]
    fn the_heavier_one_wins_and_nothing_known_is_text() {
        let format = |accept| of(accept, "identity").format;
        for text in [
            "*/*",
            "",
            "text/plain",
            "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
            "application/openmetrics-text;q=0.1, text/plain;q=0.2",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=2",
            "application/openmetrics-text;q=NaN",
        ] {
            assert_eq!(format(text), Format::Text, "{text}");
        }
        for open in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=0.2 , text/plain;q=0.1",
        ] {
            assert_eq!(format(open), Format::OpenMetrics, "{open}");
        }
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let gzip = |encoding| of("*/*", encoding).gzip;
        assert!(["gzip", "deflate, GZIP;q=0.5", "*", "br, *;q=0.1"].into_iter().all(gzip));
        assert!(!["", "identity", "gzip;q=0", "gzip;q=0, *", "*;q=0", "x-gzip2"].into_iter().any(gzip));
    }

    #[test]
    fn every_representation_has_a_place_of_its_own() {
        let indices: Vec<_> = Representation::ALL.iter().map(|one| one.index()).collect();
        assert_eq!(indices, [0, 1, 2, 3]);
    }
}
