//! OpenMetrics 1.0, which the library does not write:
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
//!
//! It differs from the text format in that a counter's family has no `_total`, bounds of buckets are written as floats, a bucket or counter can
//! have an exemplar, and the end is marked: a scrape that was cut off is noticed.

use std::fmt::{self, Write as _};

use breaker::Time;
use prometheus::proto::{LabelPair, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Exemplars, with_labels};
use super::family::number;

const TOTAL: &str = "_total";

/// The families as one page, with the exemplars of their series.
pub(super) fn encode(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut page = Page(String::new());
    for family in families {
        page.family(family, exemplars);
    }
    page.0.push_str("# EOF\n");
    page.0
}

struct Page(String);

impl Page {
    fn family(&mut self, family: &MetricFamily, exemplars: &Exemplars) {
        let (name, kind) = match family.get_field_type() {
            // A counter has samples with `_total`, and nothing else may.
            MetricType::COUNTER => match family.name().strip_suffix(TOTAL) {
                Some(name) => (name, "counter"),
                None => (family.name(), "unknown"),
            },
            MetricType::GAUGE => (family.name(), "gauge"),
            MetricType::HISTOGRAM => (family.name(), "histogram"),
            // None of ours is one.
            MetricType::SUMMARY | MetricType::UNTYPED => return,
        };
        self.put(format_args!("# TYPE {name} {kind}\n# HELP {name} "));
        self.escaped(family.help());
        self.0.push('\n');
        let of_family = exemplars.of(family.name());
        for metric in family.get_metric() {
            let labels = metric.get_label();
            let exemplars = with_labels(of_family, labels);
            let exemplar = |place: usize| exemplars.get(place).copied().flatten();
            match family.get_field_type() {
                MetricType::COUNTER => {
                    let value = metric.get_counter().get_value();
                    let point = Point { value, bound: None, exemplar: exemplar(0) };
                    self.sample(family.name(), "", labels, point);
                }
                MetricType::GAUGE => self.sample(name, "", labels, metric.get_gauge().get_value().into()),
                _ => {
                    let histogram = metric.get_histogram();
                    let count = number(histogram.get_sample_count());
                    let buckets = histogram
                        .get_bucket()
                        .iter()
                        .map(|bucket| (bucket.upper_bound(), number(bucket.cumulative_count())))
                        .chain([(f64::INFINITY, count)]);
                    for (place, (bound, value)) in buckets.enumerate() {
                        let point = Point { value, bound: Some(bound), exemplar: exemplar(place) };
                        self.sample(name, "_bucket", labels, point);
                    }
                    self.sample(name, "_sum", labels, histogram.get_sample_sum().into());
                    self.sample(name, "_count", labels, count.into());
                }
            }
        }
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[LabelPair], point: Point) {
        self.put(format_args!("{name}{suffix}"));
        let mut separator = '{';
        for label in labels {
            self.put(format_args!("{separator}{}=\"", label.name()));
            self.escaped(label.value());
            self.0.push('"');
            separator = ',';
        }
        if let Some(bound) = point.bound {
            self.put(format_args!("{separator}le=\"{}\"", Number(bound)));
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
        self.put(format_args!(" {}", Number(point.value)));
        if let Some(Exemplar { trace_id, value, at }) = point.exemplar {
            let at = at.since(Time::ZERO).as_secs_f64();
            self.put(format_args!(" # {{trace_id=\"{trace_id}\"}} {} {}", Number(value), Number(at)));
        }
        self.0.push('\n');
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.0.write_fmt(text);
    }
}

/// What a sample says.
#[derive(Clone, Copy)]
struct Point {
    value: f64,
    /// Of a bucket, inclusive.
    bound: Option<f64>,
    exemplar: Option<Exemplar>,
}

impl From<f64> for Point {
    fn from(value: f64) -> Self {
        Self { value, bound: None, exemplar: None }
    }
}

/// A number as the format writes it: always one with a decimal point, as clients of the format compare bounds as text.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = *self;
        if value == f64::INFINITY {
            f.write_str("+Inf")
        } else if value == f64::NEG_INFINITY {
            f.write_str("-Inf")
        } else if value.fract() == 0.0 {
            write!(f, "{value:.1}")
        } else {
            write!(f, "{value}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::TraceId;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

    use super::*;
    use crate::metrics::exemplars::SeriesExemplars;

    const CALLS_BY: &str = "a\\b\"c\nd";

    fn families() -> Vec<MetricFamily> {
        let registry = Registry::new();
        let calls = IntCounterVec::new(Opts::new("calls_total", "Calls of \"all\"."), &["by"]).unwrap();
        calls.with_label_values(&[CALLS_BY]).inc_by(3);
        let open = IntGauge::new("open", "Open.").unwrap();
        let opts = HistogramOpts::new("took_seconds", "Took.").buckets(vec![0.000_05, 0.5, 1.0]);
        let took = HistogramVec::new(opts, &["of"]).unwrap();
        took.with_label_values(&["x"]).observe(0.25);
        took.with_label_values(&["y"]).observe(2.0);
        registry.register(Box::new(calls)).unwrap();
        registry.register(Box::new(open)).unwrap();
        registry.register(Box::new(took)).unwrap();
        registry.gather()
    }

    /// A page without exemplars.
    const PAGE: &str = r#"# TYPE calls counter
# HELP calls Calls of \"all\".
calls_total{by="a\\b\"c\nd"} 3.0
# TYPE open gauge
# HELP open Open.
open 0.0
# TYPE took_seconds histogram
# HELP took_seconds Took.
took_seconds_bucket{of="x",le="0.00005"} 0.0
took_seconds_bucket{of="x",le="0.5"} 1.0
took_seconds_bucket{of="x",le="1.0"} 1.0
took_seconds_bucket{of="x",le="+Inf"} 1.0
took_seconds_sum{of="x"} 0.25
took_seconds_count{of="x"} 1.0
took_seconds_bucket{of="y",le="0.00005"} 0.0
took_seconds_bucket{of="y",le="0.5"} 0.0
took_seconds_bucket{of="y",le="1.0"} 0.0
took_seconds_bucket{of="y",le="+Inf"} 1.0
took_seconds_sum{of="y"} 2.0
took_seconds_count{of="y"} 1.0
# EOF
"#;

    #[test]
    fn a_page_is_written_as_the_specification_says() {
        assert_eq!(encode(&families(), &Exemplars::default()), PAGE);
        assert_eq!(Number(f64::NAN).to_string(), "NaN");
        assert_eq!(Number(f64::NEG_INFINITY).to_string(), "-Inf");
    }

    #[test]
    fn an_exemplar_stands_behind_the_bucket_or_counter_that_it_is_of() {
        let exemplar = |number: u128, value| {
            let at = Time::ZERO + Duration::from_millis(1_700_000_000_250);
            Some(Exemplar { trace_id: TraceId::from(number), value, at })
        };
        let mut exemplars = Exemplars::default();
        let x = vec![None, exemplar(1, 0.25), None, None];
        exemplars.add("took_seconds".to_owned(), SeriesExemplars { labels: vec!["x"], exemplars: x });
        let y = vec![None, None, None, exemplar(2, 2.0)];
        exemplars.add("took_seconds".to_owned(), SeriesExemplars { labels: vec!["y"], exemplars: y });
        let calls = vec![exemplar(3, 1.0)];
        exemplars.add("calls_total".to_owned(), SeriesExemplars { labels: vec![CALLS_BY], exemplars: calls });
        let none = SeriesExemplars { labels: vec![], exemplars: vec![None] };
        exemplars.add("open".to_owned(), none);
        let mut expected = PAGE.to_owned();
        for (sample, number, value) in [
            (r#"took_seconds_bucket{of="x",le="0.5"} 1.0"#, 1, "0.25"),
            (r#"took_seconds_bucket{of="y",le="+Inf"} 1.0"#, 2, "2.0"),
            (r#"calls_total{by="a\\b\"c\nd"} 3.0"#, 3, "1.0"),
        ] {
            let with = format!(r#"{sample} # {{trace_id="{number:032x}"}} {value} 1700000000.25"#);
            expected = expected.replace(sample, &with);
        }
        assert_eq!(encode(&families(), &exemplars), expected);
    }
}
