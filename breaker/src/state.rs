//! States, and why a breaker goes from one to another.

use crate::words::words;

words! {
    /// The six states of a breaker (resilience4j's). Closed means that calls pass.
    State {
        /// Calls pass, and their outcomes are judged.
        Closed = "CLOSED",
        /// Calls are denied until the wait is over.
        Open = "OPEN",
        /// A few probes pass; their outcomes decide.
        HalfOpen = "HALF_OPEN",
        /// An operator denies every call.
        ForcedOpen = "FORCED_OPEN",
        /// An operator lets every call pass, and nothing is recorded.
        Disabled = "DISABLED",
        /// An operator lets every call pass, and what is recorded only shows what would have been done.
        MetricsOnly = "METRICS_ONLY",
    }
}

words! {
    /// A state that only an operator sets.
    OverrideKind {
        /// Deny every call.
        ForcedOpen = "FORCED_OPEN",
        /// Let every call pass, record nothing.
        Disabled = "DISABLED",
        /// Let every call pass, record, and say what would have been done.
        MetricsOnly = "METRICS_ONLY",
    }
}

impl From<OverrideKind> for State {
    fn from(kind: OverrideKind) -> Self {
        match kind {
            OverrideKind::ForcedOpen => Self::ForcedOpen,
            OverrideKind::Disabled => Self::Disabled,
            OverrideKind::MetricsOnly => Self::MetricsOnly,
        }
    }
}

words! {
    /// Why a breaker went from one state to another.
    Reason {
        /// `failure_threshold` failures in a row.
        ConsecutiveFailures = "CONSECUTIVE_FAILURES",
        /// `failure_count_threshold` failures in the window.
        FailureCount = "FAILURE_COUNT",
        /// The share of failures in the window reached `failure_rate_threshold`.
        FailureRate = "FAILURE_RATE",
        /// The share of slow calls in the window reached `slow_call_rate_threshold`.
        SlowCallRate = "SLOW_CALL_RATE",
        /// The wait in OPEN is over.
        WaitElapsed = "WAIT_ELAPSED",
        /// So many probes succeeded that the verdict can no longer be to open.
        ProbesSucceeded = "PROBES_SUCCEEDED",
        /// So many probes failed that the verdict can no longer be to close.
        ProbesFailed = "PROBES_FAILED",
        /// So many probes were slow that the verdict can no longer be to close.
        ProbesSlow = "PROBES_SLOW",
        /// `max_wait_duration_in_half_open_state` passed without a verdict.
        HalfOpenTimeout = "HALF_OPEN_TIMEOUT",
        /// The process that had given the probes is gone; they are given anew.
        Restart = "RESTART",
        /// An operator set an override.
        OverrideSet = "OVERRIDE_SET",
        /// An operator took an override back.
        OverrideCleared = "OVERRIDE_CLEARED",
        /// An override reached the end it was set with.
        OverrideExpired = "OVERRIDE_EXPIRED",
        /// An operator reset the breaker.
        Reset = "RESET",
        /// An operator deleted the breaker: what is left of it is its epoch.
        Deleted = "DELETED",
        /// Nobody has asked a half-open breaker for a probe for so long that it is about to be retired.
        Idle = "IDLE",
        /// An operator asked for probes before the wait was over.
        ProbeRequested = "PROBE_REQUESTED",
        /// A change of thresholds made the wait shorter than the time already waited.
        ThresholdsChanged = "THRESHOLDS_CHANGED",
        /// Not a change: the journal was full, and changes before this row are missing from the history.
        HistoryGap = "HISTORY_GAP",
    }
}

words! {
    /// What an override was set on.
    Scope {
        /// One breaker.
        Breaker = "BREAKER",
        /// The service, and so every breaker of it that has no override of its own.
        Service = "SERVICE",
    }
}
