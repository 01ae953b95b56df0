//! The form of a story: what happens, told in the series that Prometheus has of it, and whether an alert fires.
//!
//! Names are without the namespace of the metrics. Series of an installation have no label of it: the tests give them one.

/// Series as promtool writes them, each with its values: one for each evaluation of the rules.
pub(super) type Series = &'static [(&'static str, &'static str)];

/// What happens, and whether the alert fires at some time after it began.
pub(super) struct Story {
    pub(super) alert: &'static str,
    pub(super) what: &'static str,
    pub(super) series: Series,
    pub(super) at: &'static str,
    pub(super) fires: bool,
}

pub(super) const fn fires(
    alert: &'static str,
    what: &'static str,
    at: &'static str,
    series: Series,
) -> Story {
    Story { alert, what, series, at, fires: true }
}

pub(super) const fn silent(
    alert: &'static str,
    what: &'static str,
    at: &'static str,
    series: Series,
) -> Story {
    Story { alert, what, series, at, fires: false }
}
