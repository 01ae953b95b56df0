//! Metrics as fields of a struct: the field is the name, its doc comment the help text.

use prometheus::core::Collector;
use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Result,
};

use super::namespace::Namespace;

/// Upper bounds of what breakerd itself waits for, in seconds: from a write to a local file to a database
/// that has given up.
const WAIT_BOUNDS_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The name and the help text of a metric.
pub(super) struct Title<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
}

impl Title<'_> {
    fn opts(&self) -> Opts {
        Opts::new(self.namespace.name(self.name), self.help.trim())
    }
}

/// What can be a field.
pub(super) trait Metric: Collector + Clone {
    fn titled(title: &Title<'_>) -> Result<Self>;
}

impl Metric for IntCounter {
    fn titled(title: &Title<'_>) -> Result<Self> {
        Self::with_opts(title.opts())
    }
}

impl Metric for IntGauge {
    fn titled(title: &Title<'_>) -> Result<Self> {
        Self::with_opts(title.opts())
    }
}

impl Metric for Gauge {
    fn titled(title: &Title<'_>) -> Result<Self> {
        Self::with_opts(title.opts())
    }
}

impl Metric for IntCounterVec {
    fn titled(title: &Title<'_>) -> Result<Self> {
        Self::new(title.opts(), title.labels)
    }
}

impl Metric for IntGaugeVec {
    fn titled(title: &Title<'_>) -> Result<Self> {
        Self::new(title.opts(), title.labels)
    }
}

impl Metric for HistogramVec {
    fn titled(title: &Title<'_>) -> Result<Self> {
        let opts = HistogramOpts { common_opts: title.opts(), buckets: WAIT_BOUNDS_SECONDS.to_vec() };
        Self::new(opts, title.labels)
    }
}

/// A struct of metrics: `/// help`, `field: Type["label", ..]`.
macro_rules! metrics {
    ($(#[$outer:meta])* $vis:vis struct $name:ident in $prefix:literal {
        $($(#[doc = $help:literal])+ $field:ident: $kind:ty [$($label:literal),*],)+
    }) => {
        $(#[$outer])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl $name {
            fn new(namespace: &$crate::metrics::Namespace) -> Self {
                Self {
                    $($field: <$kind as $crate::metrics::field::Metric>::titled(&$crate::metrics::field::Title {
                        namespace,
                        name: concat!($prefix, "_", stringify!($field)),
                        help: concat!($($help),+),
                        labels: &[$($label),*],
                    }).expect("a name of ours in a namespace that was checked"),)+
                }
            }

            fn collectors(&self) -> Vec<Box<dyn prometheus::core::Collector>> {
                vec![$(Box::new(self.$field.clone())),+]
            }
        }
    };
}
pub(super) use metrics;
