//! OpenMetrics 1.0, which the library does not write:
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
//!
//! It differs from the text format in that a counter's family has no `_total`, bounds of buckets are written as floats, and the end is marked: a
//! scrape that was cut off is noticed.

use std::fmt::{self, Write as _};

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

use super::family::number;

const TOTAL: &str = "_total";

/// The families as one page.
pub(super) fn encode(families: &[MetricFamily]) -> String {
    let mut page = Page(String::new());
    for family in families {
        page.family(family);
    }
    page.0.push_str("# EOF\n");
    page.0
}

struct Page(String);

impl Page {
    fn family(&mut self, family: &MetricFamily) {
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
        for metric in family.get_metric() {
            let labels = metric.get_label();
            match family.get_field_type() {
                MetricType::COUNTER => {
                    self.sample(family.name(), "", labels, None, metric.get_counter().get_value());
                }
                MetricType::GAUGE => self.sample(name, "", labels, None, metric.get_gauge().get_value()),
                _ => {
                    let histogram = metric.get_histogram();
                    for bucket in histogram.get_bucket() {
                        let count = number(bucket.cumulative_count());
                        self.sample(name, "_bucket", labels, Some(bucket.upper_bound()), count);
                    }
                    let count = number(histogram.get_sample_count());
                    self.sample(name, "_bucket", labels, Some(f64::INFINITY), count);
                    self.sample(name, "_sum", labels, None, histogram.get_sample_sum());
                    self.sample(name, "_count", labels, None, count);
                }
            }
        }
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[LabelPair], bound: Option<f64>, value: f64) {
        self.put(format_args!("{name}{suffix}"));
        let mut separator = '{';
        for label in labels {
            self.put(format_args!("{separator}{}=\"", label.name()));
            self.escaped(label.value());
            self.0.push('"');
            separator = ',';
        }
        if let Some(bound) = bound {
            self.put(format_args!("{separator}le=\"{}\"", Number(bound)));
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
        self.put(format_args!(" {}\n", Number(value)));
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
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

    use super::*;

    #[test]
    fn a_page_is_written_as_the_specification_says() {
        let registry = Registry::new();
        let calls = IntCounterVec::new(Opts::new("calls_total", "Calls of \"all\"."), &["by"]).unwrap();
        calls.with_label_values(&["a\\b\"c\nd"]).inc_by(3);
        let open = IntGauge::new("open", "Open.").unwrap();
        let opts = HistogramOpts::new("took_seconds", "Took.").buckets(vec![0.000_05, 0.5, 1.0]);
        let took = HistogramVec::new(opts, &["of"]).unwrap();
        took.with_label_values(&["x"]).observe(0.25);
        registry.register(Box::new(calls)).unwrap();
        registry.register(Box::new(open)).unwrap();
        registry.register(Box::new(took)).unwrap();
        let expected = r#"# TYPE calls counter
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
# EOF
"#;
        assert_eq!(encode(&registry.gather()), expected);
        assert_eq!(Number(f64::NAN).to_string(), "NaN");
        assert_eq!(Number(f64::NEG_INFINITY).to_string(), "-Inf");
    }
}
