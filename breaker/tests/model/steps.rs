//! Random stories: what happens, and when.

use std::time::Duration;

use breaker::{CallerId, CallerSighting, Deltas, Outcome, OverrideKind, Report};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::settings::{CLASSES, Settings, settings};

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) when: When,
    pub(crate) what: What,
}

/// How long after the step before.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    AtOnce,
    After {
        micros: u64,
    },
    /// The clock jumps back.
    Before {
        micros: u64,
    },
    /// At the next deadline, or this many microseconds beside it.
    Deadline {
        beside: i64,
    },
    /// At the end of the lease that runs out next, or beside it.
    Lease {
        beside: i64,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Allow,
    /// Asks, and reports under the permit if there is one.
    Call(OwnedReport),
    /// Reports under any permit given so far, whatever became of it.
    Report {
        which: Index,
        foreign: bool,
        report: OwnedReport,
    },
    /// Reports under the newest permit.
    ReportNewest(OwnedReport),
    /// Without a permit; perhaps with an epoch, counted from the present one.
    Bare {
        epoch: Option<i64>,
        report: OwnedReport,
    },
    /// Many alike at once, without a permit; perhaps with an epoch, counted from the present one.
    Run {
        epoch: Option<i64>,
        report: OwnedReport,
        count: u32,
    },
    Release {
        which: Index,
    },
    Poll,
    Change(Box<Settings>),
    ChangeToTheSame,
    Override {
        kind: OverrideKind,
        expires_after_ms: Option<i64>,
    },
    /// Its service's override is this from now on, ending after so many milliseconds; or none.
    Service(Option<(OverrideKind, Option<i64>)>),
    Clear,
    Reset,
    CloseIdle {
        after_ms: u64,
    },
    Probe,
    Restart,
    Remote(Remote),
}

/// A report, with owned parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnedReport {
    pub(crate) outcome: Outcome,
    pub(crate) duration: Option<Duration>,
    pub(crate) class: &'static str,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) caller: u64,
}

impl OwnedReport {
    pub(crate) fn as_report(&self) -> Report<'_> {
        Report {
            outcome: self.outcome,
            duration: self.duration,
            error_class: self.class,
            retry_after: self.retry_after,
            caller: CallerId(self.caller),
            caller_name: "",
        }
    }
}

/// What other replicas counted: of one kind at a time, since the order of several is nobody's to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remote {
    pub(crate) number: u32,
    pub(crate) failed: bool,
    pub(crate) slow: bool,
    pub(crate) caller: u64,
}

impl Remote {
    pub(crate) fn deltas(self) -> Deltas {
        let mut deltas = Deltas::default();
        let number = match (self.failed, self.slow) {
            (false, false) => &mut deltas.calls.successes,
            (false, true) => &mut deltas.calls.slow_successes,
            (true, false) => &mut deltas.calls.failures,
            (true, true) => &mut deltas.calls.slow_failures,
        };
        *number = self.number.into();
        let sighting = CallerSighting { caller: CallerId(self.caller), age: Duration::ZERO };
        if self.failed {
            deltas.failed_callers.push(sighting);
        }
        if self.slow {
            deltas.slow_callers.push(sighting);
        }
        deltas
    }
}

pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    vec((when(), what()).prop_map(|(when, what)| Step { when, what }), 1..most)
}

/// Short runs of several callers under METRICS_ONLY, which says of each call whether it would be denied: within the wait, and behind it.
pub(crate) fn observed_runs(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let when = prop_oneof![
        3 => Just(When::AtOnce),
        1 => (0_u64..400_000_000).prop_map(|micros| When::After { micros }),
    ];
    let run = (report(), 1_u32..16).prop_map(|(report, count)| What::Run { epoch: None, report, count });
    let observes = What::Override { kind: OverrideKind::MetricsOnly, expires_after_ms: None };
    let begins = Step { when: When::AtOnce, what: observes };
    vec((when, run).prop_map(|(when, what)| Step { when, what }), 1..most).prop_map(move |mut steps| {
        steps.insert(0, begins.clone());
        steps
    })
}

fn when() -> impl Strategy<Value = When> {
    let beside = || select(vec![-1_i64, 0, 0, 1]);
    prop_oneof![
        10 => Just(When::AtOnce),
        4 => (0_u64..1_000_000).prop_map(|micros| When::After { micros }),
        4 => (0_u64..30).prop_map(|slices| When::After { micros: slices * 50_000 }),
        2 => (0_u64..30_000_000).prop_map(|micros| When::After { micros }),
        1 => (0_u64..200_000_000_000).prop_map(|micros| When::After { micros }),
        1 => (0_u64..100_000_000).prop_map(|micros| When::Before { micros }),
        4 => beside().prop_map(|beside| When::Deadline { beside }),
        2 => beside().prop_map(|beside| When::Lease { beside }),
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        12 => Just(What::Allow),
        30 => report().prop_map(What::Call),
        12 => (any::<Index>(), proptest::bool::weighted(0.2), report())
            .prop_map(|(which, foreign, report)| What::Report { which, foreign, report }),
        12 => report().prop_map(What::ReportNewest),
        4 => (option::of(-2_i64..=1), report()).prop_map(|(epoch, report)| What::Bare { epoch, report }),
        8 => (option::of(-2_i64..=1), report(), run_length())
            .prop_map(|(epoch, report, count)| What::Run { epoch, report, count }),
        2 => any::<Index>().prop_map(|which| What::Release { which }),
        2 => Just(What::Poll),
        2 => settings().prop_map(|settings| What::Change(Box::new(settings))),
        1 => Just(What::ChangeToTheSame),
        1 => (select(OverrideKind::ALL), option::of(-5_000_i64..60_000))
            .prop_map(|(kind, expires_after_ms)| What::Override { kind, expires_after_ms }),
        1 => Just(What::Override { kind: OverrideKind::MetricsOnly, expires_after_ms: None }),
        1 => option::of((select(OverrideKind::ALL), option::of(-5_000_i64..60_000))).prop_map(What::Service),
        1 => Just(What::Service(None)),
        2 => Just(What::Clear),
        1 => Just(What::Reset),
        1 => (0_u64..120_000).prop_map(|after_ms| What::CloseIdle { after_ms }),
        2 => Just(What::Probe),
        1 => Just(What::Restart),
        2 => remote().prop_map(What::Remote),
    ]
}

/// Mostly about as long as the windows that the settings draw.
fn run_length() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..=3, 0_u32..40, 100_u32..2_000]
}

fn report() -> impl Strategy<Value = OwnedReport> {
    let outcome = prop_oneof![
        6 => Just(Outcome::Failure),
        5 => Just(Outcome::Success),
        1 => Just(Outcome::Ignored)
    ];
    // On, just above and far from the thresholds that the settings draw from.
    let duration =
        select(vec![0, 1_000, 1_001, 500_000, 1_000_000, 1_000_001, 2_000_000, 2_000_001, 60_000_000]);
    let retry_after = option::weighted(0.2, 1_u64..200_000);
    (outcome, option::of(duration), select(&CLASSES[..]), retry_after, 0_u64..5).prop_map(
        |(outcome, duration, class, retry_after, caller)| OwnedReport {
            outcome,
            duration: duration.map(Duration::from_micros),
            class,
            retry_after: retry_after.map(Duration::from_millis),
            caller,
        },
    )
}

fn remote() -> impl Strategy<Value = Remote> {
    (0_u32..8, any::<bool>(), any::<bool>(), 0_u64..5).prop_map(|(number, failed, slow, caller)| Remote {
        number,
        failed,
        slow,
        caller,
    })
}
