//! What is counted of a breaker over its life, for metrics and for people: whole numbers beside the machine,
//! under the same lock, read by one collector at the scrape.

use std::collections::BTreeMap;

use breaker::{Decision, Judged, Reason, Recorded, RunRecorded, State, Transition, Verdict};

/// Counts since the breaker was born in this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Outcomes that counted as successes.
    pub successful: u64,
    /// Outcomes that counted as failures.
    pub failed: u64,
    /// Outcomes that counted as nothing, by the caller's word or by their error class.
    pub ignored: u64,
    /// Outcomes that came too late.
    pub late: u64,
    /// Outcomes that counted as slow.
    pub slow: u64,
    /// What only a breaker counts that has left its first state; most never do.
    pub opened: Option<Box<OpenedCounters>>,
}

/// Counts of a breaker that was not always closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenedCounters {
    /// Denied because the breaker was open.
    pub rejected_open: u64,
    /// Denied because every probe was out or done.
    pub rejected_half_open: u64,
    /// Denied by an operator.
    pub rejected_forced: u64,
    /// Transitions by the two states and the reason.
    pub transitions: BTreeMap<TransitionKind, u64>,
    /// Times METRICS_ONLY kept it from opening.
    pub shadows: u64,
    /// Let pass by METRICS_ONLY, that would have been denied.
    pub would_be_rejected: u64,
    /// Probes whose outcomes did not come in time, so that another got their slot.
    pub timed_out_probes: u64,
}

/// What a client decided by itself of the calls of one breaker: it is counted, and never judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalTotals {
    /// Rejected because the breaker was open.
    pub rejected_open: u64,
    /// Rejected because every probe was out or done.
    pub rejected_half_open: u64,
    /// Rejected because an operator forced the breaker open.
    pub rejected_forced: u64,
    /// Calls that went well.
    pub successful: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls whose outcome is ignored.
    pub ignored: u64,
}

impl LocalTotals {
    /// Calls that were rejected for the reason that a breaker in `state` has.
    pub(super) fn rejected_in(&self, state: State) -> u64 {
        match state {
            State::Open => self.rejected_open,
            State::HalfOpen => self.rejected_half_open,
            State::ForcedOpen => self.rejected_forced,
            State::Closed | State::Disabled | State::MetricsOnly => 0,
        }
    }
}

/// From, to, why.
pub type TransitionKind = (State, State, Reason);

impl Counters {
    pub(crate) fn decided(&mut self, decision: &Decision) {
        match decision.verdict {
            Verdict::Open => self.opened_mut().rejected_open += 1,
            Verdict::HalfOpenExhausted => self.opened_mut().rejected_half_open += 1,
            Verdict::ForcedOpen => self.opened_mut().rejected_forced += 1,
            Verdict::MetricsOnly if decision.would_deny => self.opened_mut().would_be_rejected += 1,
            Verdict::Closed | Verdict::Probe | Verdict::Disabled | Verdict::MetricsOnly => {}
        }
        self.probes_timed_out(decision.timed_out_probes);
    }

    pub(crate) fn probes_timed_out(&mut self, probes: u32) {
        if probes > 0 {
            self.opened_mut().timed_out_probes += u64::from(probes);
        }
    }

    pub(crate) fn recorded(&mut self, recorded: Recorded, judged: Judged) {
        let (recorded, late) = match recorded {
            Recorded::Recorded => (1, 0),
            Recorded::Late => (0, 1),
            Recorded::Duplicate | Recorded::NotCounted => (0, 0),
        };
        self.run_recorded(RunRecorded { recorded, late, ..RunRecorded::default() }, judged);
    }

    pub(crate) fn run_recorded(&mut self, run: RunRecorded, judged: Judged) {
        self.late += u64::from(run.late);
        let recorded = u64::from(run.recorded);
        if run.would_be_denied > 0 {
            self.opened_mut().would_be_rejected += u64::from(run.would_be_denied);
        }
        match judged {
            Judged::Ignored => self.ignored += recorded,
            Judged::Counted { failed, slow } => {
                *(if failed { &mut self.failed } else { &mut self.successful }) += recorded;
                self.slow += if slow { recorded } else { 0 };
            }
        }
    }

    /// Clients say these numbers, so a sum may pass what 64 bits hold: it wraps then, which Prometheus takes for a restart.
    pub(crate) fn add_local(&mut self, totals: &LocalTotals) {
        let LocalTotals { rejected_open, rejected_half_open, rejected_forced, successful, failed, ignored } =
            *totals;
        self.successful = self.successful.wrapping_add(successful);
        self.failed = self.failed.wrapping_add(failed);
        self.ignored = self.ignored.wrapping_add(ignored);
        if rejected_open | rejected_half_open | rejected_forced != 0 {
            let opened = self.opened_mut();
            opened.rejected_open = opened.rejected_open.wrapping_add(rejected_open);
            opened.rejected_half_open = opened.rejected_half_open.wrapping_add(rejected_half_open);
            opened.rejected_forced = opened.rejected_forced.wrapping_add(rejected_forced);
        }
    }

    pub(crate) fn changed(&mut self, transition: &Transition) {
        if transition.shadow {
            self.opened_mut().shadows += 1;
            return;
        }
        let kind = (transition.from, transition.to(), transition.reason);
        *self.opened_mut().transitions.entry(kind).or_default() += 1;
    }

    fn opened_mut(&mut self) -> &mut OpenedCounters {
        self.opened.get_or_insert_default()
    }

    /// Adds another breaker's, for the series that many share.
    pub fn add(&mut self, other: &Self) {
        self.successful += other.successful;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.late += other.late;
        self.slow += other.slow;
        let Some(other) = &other.opened else { return };
        let opened = self.opened_mut();
        opened.rejected_open += other.rejected_open;
        opened.rejected_half_open += other.rejected_half_open;
        opened.rejected_forced += other.rejected_forced;
        opened.shadows += other.shadows;
        opened.would_be_rejected += other.would_be_rejected;
        opened.timed_out_probes += other.timed_out_probes;
        for (kind, count) in &other.transitions {
            *opened.transitions.entry(*kind).or_default() += count;
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn what_many_share_is_the_sum_of_what_each_counted() {
        let kind = (State::Closed, State::Open, Reason::FailureRate);
        let counted = |by: u64| Counters {
            successful: by,
            failed: by + 1,
            ignored: by + 2,
            late: by + 3,
            slow: by + 4,
            opened: Some(Box::new(OpenedCounters {
                rejected_open: by + 5,
                rejected_half_open: by + 6,
                rejected_forced: by + 7,
                transitions: [(kind, by + 8)].into(),
                shadows: by + 9,
                would_be_rejected: by + 10,
                timed_out_probes: by + 11,
            })),
        };
        let mut sum = Counters::default();
        sum.add(&counted(3));
        assert_eq!(sum, counted(3));
        sum.add(&counted(50));
        let opened = sum.opened.unwrap();
        assert_eq!((sum.successful, sum.failed, sum.ignored, sum.late, sum.slow), (53, 55, 57, 59, 61));
        let rejected = (opened.rejected_open, opened.rejected_half_open, opened.rejected_forced);
        assert_eq!(rejected, (63, 65, 67));
        assert_eq!((opened.transitions[&kind], opened.shadows, opened.would_be_rejected), (69, 71, 73));
        assert_eq!(opened.timed_out_probes, 75);
    }

    #[test]
    fn each_outcome_counts_as_what_it_was_judged() {
        let mut counters = Counters::default();
        for (failed, slow) in [(false, false), (false, false), (true, false), (false, true)] {
            counters.recorded(Recorded::Recorded, Judged::Counted { failed, slow });
        }
        counters.recorded(Recorded::Recorded, Judged::Ignored);
        for recorded in [Recorded::Late, Recorded::Duplicate, Recorded::NotCounted] {
            counters.recorded(recorded, Judged::Counted { failed: true, slow: true });
        }
        let expected = Counters { successful: 3, failed: 1, ignored: 1, late: 1, slow: 1, opened: None };
        assert_eq!(counters, expected);
    }

    #[test]
    fn each_rejection_counts_under_its_reason() {
        let mut counters = Counters::default();
        let mut decided = |verdict, would_deny| {
            let state = State::Open;
            counters.decided(&Decision {
                verdict,
                state,
                epoch: 1,
                pass: None,
                lease: None,
                timed_out_probes: 0,
                retry_after: None,
                would_deny,
                waits: None,
                branch: 0,
            });
        };
        decided(Verdict::Closed, false);
        decided(Verdict::Open, false);
        decided(Verdict::HalfOpenExhausted, false);
        decided(Verdict::ForcedOpen, false);
        decided(Verdict::MetricsOnly, false);
        decided(Verdict::MetricsOnly, true);
        let expected = OpenedCounters {
            rejected_open: 1,
            rejected_half_open: 1,
            rejected_forced: 1,
            would_be_rejected: 1,
            ..OpenedCounters::default()
        };
        assert_eq!(counters.opened.as_deref(), Some(&expected));
    }
}
