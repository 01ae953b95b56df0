//! Families that are filled at the scrape from what is counted elsewhere: an enum of them, whose doc
//! comments are the help texts, and a page to fill.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::namespace::Namespace;

/// Some families that are filled together.
pub(super) trait Family: Copy + 'static {
    /// Every one of them, in order.
    const ALL: &'static [Self];

    /// Its index in [`Family::ALL`].
    fn index(self) -> usize;
    /// Its name without the namespace.
    fn name(self) -> &'static str;
    fn help(self) -> &'static str;
    fn kind(self) -> MetricType;
    fn labels(self) -> &'static [&'static str];
}

/// An enum of families: `/// help`, `Variant: KIND "name" ["label", ..]`.
macro_rules! families {
    ($(#[$outer:meta])* enum $enum:ident {
        $($(#[doc = $help:literal])+ $variant:ident: $kind:ident $name:literal [$($label:literal),*],)+
    }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy)]
        enum $enum {
            $($(#[doc = $help])+ $variant),+
        }

        impl $crate::metrics::family::Family for $enum {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help),+).trim_ascii_start()),+ }
            }

            fn kind(self) -> prometheus::proto::MetricType {
                match self { $(Self::$variant => prometheus::proto::MetricType::$kind),+ }
            }

            fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($label),*]),+ }
            }
        }
    };
}
pub(super) use families;

/// The names that families are shown under, worked out once.
pub(super) struct Names {
    descs: Vec<Desc>,
}

impl Names {
    pub(super) fn of<F: Family>(namespace: &Namespace) -> Self {
        let desc = |family: &F| {
            let labels = family.labels().iter().map(ToString::to_string).collect();
            Desc::new(namespace.name(family.name()), family.help().to_owned(), labels, HashMap::new())
                .expect("a name of ours in a namespace that was checked")
        };
        Self { descs: F::ALL.iter().map(desc).collect() }
    }

    pub(super) fn descs(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }
}

/// The samples of one scrape.
pub(super) struct Page<F> {
    /// By [`Family::index`].
    samples: Vec<Vec<Metric>>,
    family: std::marker::PhantomData<F>,
}

/// A histogram read at one moment.
pub(super) struct Buckets<'a> {
    pub(super) bounds_seconds: &'a [f64],
    pub(super) cumulative: &'a [u64],
    pub(super) count: u64,
    pub(super) sum_seconds: f64,
}

impl<F: Family> Page<F> {
    pub(super) fn new() -> Self {
        Self { samples: vec![Vec::new(); F::ALL.len()], family: std::marker::PhantomData }
    }

    /// A sample of a counter.
    pub(super) fn count(&mut self, family: F, labels: &[&str], value: u64) {
        let mut counter = Counter::default();
        counter.set_value(number(value));
        self.sample(family, labels).set_counter(counter);
    }

    /// A sample of a gauge.
    pub(super) fn gauge(&mut self, family: F, labels: &[&str], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.sample(family, labels).set_gauge(gauge);
    }

    /// A sample of a histogram.
    pub(super) fn histogram(&mut self, family: F, labels: &[&str], view: &Buckets<'_>) {
        let bucket = |(bound, count): (&f64, &u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(view.bounds_seconds.iter().zip(view.cumulative).map(bucket).collect());
        histogram.set_sample_count(view.count);
        histogram.set_sample_sum(view.sum_seconds);
        self.sample(family, labels).set_histogram(histogram);
    }

    pub(super) fn into_families(self, names: &Names) -> Vec<MetricFamily> {
        let family = |((family, desc), samples): ((&F, &Desc), Vec<Metric>)| {
            let mut shown = MetricFamily::default();
            shown.set_name(desc.fq_name.clone());
            shown.set_help(desc.help.clone());
            shown.set_field_type(family.kind());
            shown.set_metric(samples);
            shown
        };
        F::ALL.iter().zip(&names.descs).zip(self.samples).map(family).collect()
    }

    fn sample(&mut self, family: F, values: &[&str]) -> &mut Metric {
        debug_assert_eq!(family.labels().len(), values.len(), "{}", family.name());
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let labels = family.labels().iter().zip(values).map(pair).collect();
        let samples = &mut self.samples[family.index()];
        samples.push(Metric::from_label(labels));
        let last = samples.len() - 1;
        &mut samples[last]
    }
}

/// A count as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other number; exact up to 2^53")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}
