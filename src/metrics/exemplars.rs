//! Exemplars: with a bucket of a histogram, or with a counter, one call that was counted in it, by the trace that it is in.
//!
//! The library has none, so they are kept beside its samples and meet them when a page is written. Only OpenMetrics has a place for
//! them. There is one for each bucket and each counter, the newest: where no call is sampled there are none, and a page is never longer
//! than its samples allow.

use std::collections::HashMap;

use breaker::Time;
use opentelemetry::trace::TraceId;
use prometheus::proto::LabelPair;

/// A call that was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// The trace that it is in. With the name of its label it has 40 characters, of 128 that OpenMetrics allows.
    pub trace_id: TraceId,
    /// What was observed of it, in seconds; 1 for a counter.
    pub value: f64,
    /// When it was counted, by the wall clock.
    pub at: Time,
}

/// The exemplars of one histogram or counter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeriesExemplars {
    /// The values of its labels, in the order in which its samples have them.
    pub(super) labels: Vec<&'static str>,
    /// By bucket, as far as there are any; a counter has one.
    pub(super) exemplars: Vec<Option<Exemplar>>,
}

/// The exemplars of one page, by the name of the family.
#[derive(Debug, Default)]
pub(super) struct Exemplars(HashMap<String, Vec<SeriesExemplars>>);

impl Exemplars {
    pub(super) fn add(&mut self, family: String, series: SeriesExemplars) {
        if series.exemplars.iter().any(Option::is_some) {
            self.0.entry(family).or_default().push(series);
        }
    }

    /// Those of the series of a family.
    pub(super) fn of(&self, family: &str) -> &[SeriesExemplars] {
        self.0.get(family).map_or(&[], Vec::as_slice)
    }
}

/// Those of the series with these labels, by bucket.
pub(super) fn with_labels<'e>(series: &'e [SeriesExemplars], labels: &[LabelPair]) -> &'e [Option<Exemplar>] {
    let of_labels =
        |series: &&SeriesExemplars| series.labels.iter().copied().eq(labels.iter().map(LabelPair::value));
    series.iter().find(of_labels).map_or(&[], |series| series.exemplars.as_slice())
}
