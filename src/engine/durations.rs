//! How long calls take, by service: a histogram of fixed buckets that breakers of a service share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::sync::{AtomicU64, Ordering, RwLock};

/// Upper bounds in seconds: Prometheus' own defaults, and up to a minute, since calls to a language model
/// take that long.
pub const BOUNDS_SECONDS: [f64; 13] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const BOUNDS_MICROS: [u64; 13] = [
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
    30_000_000, 60_000_000,
];

/// Calls are not longer than this, whatever is said of them.
const LONGEST: Duration = Duration::from_hours(24);

/// The label of the services that have none of their own.
pub const OTHER: &str = "__other__";

/// The durations of one service's calls.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// By bucket, the last one unbounded; not cumulative.
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

/// How long the calls of a run took.
#[derive(Debug, Clone, Copy)]
pub struct RunDurations<'a> {
    /// Calls in each bucket, not cumulative: up to each bound of [`BOUNDS_SECONDS`], the last one beyond them. Buckets that are
    /// left out at the end are empty.
    pub buckets: &'a [u32],
    /// All of them together.
    pub sum: Duration,
}

/// A histogram read at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramView {
    /// The service, or [`OTHER`].
    pub service: Arc<str>,
    /// Calls up to each bound of [`BOUNDS_SECONDS`].
    pub cumulative: Vec<u64>,
    /// Calls in all.
    pub count: u64,
    /// Seconds in all.
    pub sum_seconds: f64,
}

impl Histogram {
    /// One that took longer than a day adds a day to the sum: some made-up centuries would make it go back to 0.
    pub(crate) fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.min(LONGEST).as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// As so many single calls. Their sum is at most a day each.
    pub(crate) fn observe_run(&self, durations: RunDurations<'_>) {
        let mut calls = 0_u64;
        for (bucket, count) in self.buckets.iter().zip(durations.buckets) {
            bucket.fetch_add(u64::from(*count), Ordering::Relaxed);
            calls += u64::from(*count);
        }
        let longest = u128::from(calls) * LONGEST.as_micros();
        let micros = u64::try_from(durations.sum.as_micros().min(longest)).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn view(&self, service: &Arc<str>) -> HistogramView {
        let mut count = 0;
        let mut cumulative: Vec<u64> = Vec::with_capacity(self.buckets.len());
        for bucket in &self.buckets {
            count += bucket.load(Ordering::Relaxed);
            cumulative.push(count);
        }
        cumulative.pop();
        let sum_seconds = Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)).as_secs_f64();
        HistogramView { service: Arc::clone(service), cumulative, count, sum_seconds }
    }
}

/// The histograms of all services, the first `max` of them under their own names.
#[derive(Debug)]
pub(crate) struct Durations {
    max: usize,
    by_service: RwLock<HashMap<Arc<str>, Arc<Histogram>>>,
    other: Arc<Histogram>,
}

impl Durations {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, by_service: RwLock::new(HashMap::new()), other: Arc::default() }
    }

    /// The histogram that a new breaker of `service` writes to, and the service's name, shared by its breakers.
    pub(crate) fn of(&self, service: &Arc<str>) -> (Arc<str>, Arc<Histogram>) {
        let mut by_service = self.by_service.write();
        if let Some((service, histogram)) = by_service.get_key_value(service) {
            return (Arc::clone(service), Arc::clone(histogram));
        }
        if by_service.len() >= self.max {
            return (Arc::clone(service), Arc::clone(&self.other));
        }
        let histogram = Arc::<Histogram>::default();
        by_service.insert(Arc::clone(service), Arc::clone(&histogram));
        (Arc::clone(service), histogram)
    }

    /// Forgets the services that have no breaker any more.
    pub(crate) fn prune(&self) {
        self.by_service.write().retain(|_, histogram| Arc::strong_count(histogram) > 1);
    }

    pub(crate) fn views(&self) -> Vec<HistogramView> {
        let mut views: Vec<_> =
            self.by_service.read().iter().map(|(service, histogram)| histogram.view(service)).collect();
        views.sort_by(|a, b| a.service.cmp(&b.service));
        let other = self.other.view(&OTHER.into());
        if other.count > 0 {
            views.push(other);
        }
        views
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sum_goes_back_whatever_is_said_of_a_call() {
        let histogram = Histogram::default();
        for _ in 0..1_000 {
            histogram.observe(Duration::MAX);
        }
        let view = histogram.view(&OTHER.into());
        assert_eq!((view.count, view.sum_seconds), (1_000, 86_400_000.0));
    }

    #[test]
    fn a_call_counts_up_to_the_bound_that_it_took_and_not_below() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(10));
        histogram.observe(Duration::from_micros(10_001));
        assert_eq!(histogram.view(&OTHER.into()).cumulative[..3], [0, 1, 2]);
    }

    #[test]
    fn services_beyond_the_bound_share_a_histogram_and_those_without_a_breaker_make_room() {
        let durations = Durations::new(1);
        let observed = |service: &str| {
            let (_, histogram) = durations.of(&service.into());
            histogram.observe(Duration::from_secs(1));
            histogram
        };
        let shown = || -> Vec<_> {
            durations.views().iter().map(|view| (view.service.to_string(), view.count)).collect()
        };
        let first = observed("a");
        assert_eq!(shown(), [("a".to_owned(), 1)], "nothing is shown of others that there are not");
        observed("a");
        observed("b");
        assert_eq!(shown(), [("a".to_owned(), 2), (OTHER.to_owned(), 1)]);
        durations.prune();
        assert_eq!(shown().len(), 2, "it has a breaker");
        drop(first);
        durations.prune();
        observed("b");
        assert_eq!(shown(), [("b".to_owned(), 1), (OTHER.to_owned(), 1)]);
    }
}
