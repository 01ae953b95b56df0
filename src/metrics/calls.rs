//! The calls of gRPC, read at the scrape.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::exemplars::{Exemplar, Exemplars, SeriesExemplars};
use super::family::{Buckets, Family as _, Names, Page, families, number};
use super::{CallSource, Namespace};

families! {
    enum Shown {
        /// Completed RPCs, by status code. A stream counts when it starts.
        Calls: COUNTER "breakerd_grpc_calls_total" ["service", "method", "code"],
        /// Duration of unary RPCs in this process, in seconds.
        Duration: HISTOGRAM "breakerd_grpc_call_duration_seconds" ["service", "method"],
        /// RPCs that are under way. A stream is one until it begins to answer.
        InFlight: GAUGE "breakerd_grpc_calls_in_flight" [],
        /// Limit of the RPCs that are under way: `grpc.in_flight_max`.
        InFlightMax: GAUGE "breakerd_grpc_calls_in_flight_max" [],
    }
}

/// The calls of gRPC at one moment.
#[derive(Debug, Clone, Default)]
pub struct CallsView {
    /// By method.
    pub rows: Vec<CallRow>,
    /// Calls that are under way.
    pub in_flight: usize,
    /// How many there may be.
    pub in_flight_max: usize,
}

/// What was counted of one method's calls.
#[derive(Debug, Clone)]
pub struct CallRow {
    /// The gRPC service.
    pub service: &'static str,
    /// The method within it.
    pub method: &'static str,
    /// How many calls ended with each status code.
    pub by_code: Vec<(&'static str, u64)>,
    /// Upper bounds of the buckets, in seconds.
    pub bounds_seconds: &'static [f64],
    /// Calls that took up to each bound.
    pub cumulative: Vec<u64>,
    /// Calls that were timed.
    pub count: u64,
    /// Seconds that they took in all.
    pub sum_seconds: f64,
    /// The newest sampled call of each bucket, as far as there are any; that of the unbounded one is behind that of the last bound.
    pub exemplars: Vec<Option<Exemplar>>,
    /// The newest sampled call of each status code of a failure.
    pub exemplars_by_code: Vec<(&'static str, Exemplar)>,
}

/// Asks the transport what it counted, at every scrape.
pub(super) struct Calls {
    source: CallSource,
    names: Names,
}

impl Calls {
    pub(super) fn new(source: CallSource, namespace: &Namespace) -> Self {
        Self { source, names: Names::of::<Shown>(namespace) }
    }
}

impl Collector for Calls {
    fn desc(&self) -> Vec<&Desc> {
        self.names.descs()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut page = Page::new();
        let CallsView { rows, in_flight, in_flight_max } = (self.source)();
        page.gauge(Shown::InFlight, &[], number(in_flight as u64));
        page.gauge(Shown::InFlightMax, &[], number(in_flight_max as u64));
        for row in rows {
            for (code, count) in &row.by_code {
                page.count(Shown::Calls, &[row.service, row.method, code], *count);
            }
            let buckets = Buckets {
                bounds_seconds: row.bounds_seconds,
                cumulative: &row.cumulative,
                count: row.count,
                sum_seconds: row.sum_seconds,
            };
            page.histogram(Shown::Duration, &[row.service, row.method], &buckets);
        }
        page.into_families(&self.names)
    }
}

/// The sampled calls among those that `source` counted.
pub(super) fn exemplars(source: &CallSource, namespace: &Namespace) -> Exemplars {
    let mut exemplars = Exemplars::default();
    for CallRow { service, method, exemplars: timed, exemplars_by_code, .. } in source().rows {
        let series = SeriesExemplars { labels: vec![service, method], exemplars: timed };
        exemplars.add(namespace.name(Shown::Duration.name()), series);
        for (code, exemplar) in exemplars_by_code {
            let labels = vec![service, method, code];
            let series = SeriesExemplars { labels, exemplars: vec![Some(exemplar)] };
            exemplars.add(namespace.name(Shown::Calls.name()), series);
        }
    }
    exemplars
}
