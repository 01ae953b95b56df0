//! Whether breakerd rules: judged by time alone, so that no task has to notice that it is gone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use breaker::Time;

/// As many heartbeats may be missed before breakerd counts as unreachable.
const HEARTBEATS_MISSED_MAX: u64 = 3;
/// Until breakerd said how often it sends one.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(5);
/// A breakerd that says less is not believed: it would be unreachable most of the time.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
/// A failure that was reported, or a probe that was requested, and has no answer for so long.
pub(crate) const UNANSWERED_MAX: Duration = Duration::from_secs(1);

/// What is known of the connection. Times in microseconds; 0: never.
#[derive(Debug)]
pub(crate) struct Link {
    last_heard: AtomicU64,
    silence_max: AtomicU64,
    failure_unanswered_since: AtomicU64,
    request_unanswered_since: AtomicU64,
    /// A whole snapshot was heard.
    synced: AtomicBool,
}

impl Default for Link {
    fn default() -> Self {
        let link = Self {
            last_heard: AtomicU64::new(0),
            silence_max: AtomicU64::new(0),
            failure_unanswered_since: AtomicU64::new(0),
            request_unanswered_since: AtomicU64::new(0),
            synced: AtomicBool::new(false),
        };
        link.set_heartbeat(HEARTBEAT_DEFAULT);
        link
    }
}

impl Link {
    /// Whether breakerd rules at `now`: its stream spoke lately, and it answered each failure in time.
    pub(crate) fn live(&self, now: Time) -> bool {
        let last_heard = Time::from_micros(self.last_heard.load(Ordering::Acquire));
        let silence_max = Duration::from_micros(self.silence_max.load(Ordering::Relaxed));
        let answered = |since: &AtomicU64| {
            let since = since.load(Ordering::Acquire);
            since == 0 || now.since(Time::from_micros(since)) < UNANSWERED_MAX
        };
        self.synced.load(Ordering::Acquire)
            && now.since(last_heard) <= silence_max
            && answered(&self.failure_unanswered_since)
            && answered(&self.request_unanswered_since)
    }

    /// When the stream last spoke. None: never, or without a whole snapshot.
    pub(crate) fn last_heard(&self) -> Option<Time> {
        let last_heard = Time::from_micros(self.last_heard.load(Ordering::Acquire));
        self.synced.load(Ordering::Acquire).then_some(last_heard)
    }

    /// The longest silence of a stream that lives.
    pub(crate) fn silence_max(&self) -> Duration {
        Duration::from_micros(self.silence_max.load(Ordering::Relaxed))
    }

    pub(crate) fn set_heartbeat(&self, every: Duration) {
        let micros = u64::try_from(every.max(HEARTBEAT_MIN).as_micros()).unwrap_or(u64::MAX);
        self.silence_max.store(micros.saturating_mul(HEARTBEATS_MISSED_MAX), Ordering::Relaxed);
    }

    pub(crate) fn heard(&self, now: Time) {
        self.last_heard.store(now.as_micros(), Ordering::Release);
    }

    /// A whole snapshot is in force.
    pub(crate) fn synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    /// No state of breakerd is in force any more: this client was ended.
    pub(crate) fn forget(&self) {
        self.synced.store(false, Ordering::Release);
    }

    /// A failure waits for its answer.
    pub(crate) fn failure_sent(&self, now: Time) {
        since(&self.failure_unanswered_since, now);
    }

    /// breakerd answered a report, so it works. The oldest failure that still waits, if any, waits since `oldest_failure`.
    pub(crate) fn report_answered(&self, oldest_failure: Option<Time>) {
        self.failure_unanswered_since.store(oldest_failure.map_or(0, Time::as_micros), Ordering::Release);
        self.request_answered();
    }

    /// Whether some failure, or some request, waits for its answer.
    pub(crate) fn awaits_answer(&self) -> bool {
        let awaits = |since: &AtomicU64| since.load(Ordering::Acquire) != 0;
        awaits(&self.failure_unanswered_since) || awaits(&self.request_unanswered_since)
    }

    /// A permission was requested.
    pub(crate) fn requested(&self, now: Time) {
        since(&self.request_unanswered_since, now);
    }

    /// A request for permission was answered, or breakerd answered something else after it: it works again.
    pub(crate) fn request_answered(&self) {
        self.request_unanswered_since.store(0, Ordering::Release);
    }
}

/// Notes `now`, unless something waits for longer.
fn since(cell: &AtomicU64, now: Time) {
    let _ = cell.compare_exchange(0, now.as_micros(), Ordering::AcqRel, Ordering::Acquire);
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_micros(1_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn live() -> Link {
        let link = Link::default();
        link.set_heartbeat(SECOND);
        link.heard(START);
        assert!(!link.live(START), "without a snapshot");
        link.synced();
        assert!(link.live(START));
        link
    }

    #[test]
    fn breakerd_is_unreachable_after_three_heartbeats_without_a_word() {
        let link = live();
        assert!(link.live(START + 3 * SECOND));
        assert!(!link.live(START + 3 * SECOND + Duration::from_micros(1)));
        link.heard(START + 4 * SECOND);
        assert!(link.live(START + 4 * SECOND));
    }

    #[test]
    fn breakerd_does_not_rule_while_a_failure_waits_for_its_answer_too_long() {
        let link = live();
        link.failure_sent(START);
        link.failure_sent(START + SECOND / 2);
        assert!(link.live(START + SECOND / 2) && !link.live(START + SECOND));
        link.report_answered(Some(START + SECOND / 2));
        assert!(link.live(START + SECOND) && link.awaits_answer());
        link.report_answered(None);
        assert!(link.live(START + 2 * SECOND) && !link.awaits_answer());
    }

    #[test]
    fn breakerd_does_not_rule_while_requests_have_no_answer() {
        let link = live();
        link.requested(START);
        assert!(!link.live(START + SECOND));
        link.request_answered();
        assert!(link.live(START + SECOND));
    }
}
