//! What happens to circuit breakers.

use super::story::{Story, fires, silent};

pub(super) const STORIES: &[Story] = &[
    fires(
        "CircuitBreakerOpen",
        "a dependency stays dead: open, half-open for a moment, open",
        "6m",
        &[("circuit_breaker_state{service='s',name='n',instance='a'}", "1 1 2 1 1 2 1 1 2 1 1 2 1")],
    ),
    fires(
        "CircuitBreakerOpen",
        "two replicas see different phases of it",
        "6m",
        &[
            ("circuit_breaker_state{service='s',name='n',instance='a'}", "1 0 2 0 1 0 1 0 2 0 1 0 2"),
            ("circuit_breaker_state{service='s',name='n',instance='b'}", "0 1 0 1 0 2 0 1 0 2 0 1 0"),
        ],
    ),
    silent(
        "CircuitBreakerOpen",
        "it closes after four minutes, and opens again",
        "6m",
        &[("circuit_breaker_state{service='s',name='n',instance='a'}", "1 1 1 1 1 1 2 2 0 1 1 1 1")],
    ),
    fires(
        "CircuitBreakerHighRejectionRate",
        "two replicas and two reasons, six a second each",
        "10m",
        &[
            (
                "circuit_breaker_rejected_calls_total{service='s',name='n',reason='OPEN',instance='a'}",
                "0+180x20",
            ),
            (
                "circuit_breaker_rejected_calls_total{service='s',name='n',reason='HALF_OPEN_EXHAUSTED',instance='b'}",
                "0+180x20",
            ),
        ],
    ),
    silent(
        "CircuitBreakerHighRejectionRate",
        "nine a second",
        "10m",
        &[(
            "circuit_breaker_rejected_calls_total{service='s',name='n',reason='OPEN',instance='a'}",
            "0+270x20",
        )],
    ),
    fires(
        "CircuitBreakerFlapping",
        "four trips within an hour, on two replicas",
        "50m",
        &[
            (
                "circuit_breaker_transitions_total{service='s',name='n',from='CLOSED',to='OPEN',reason='FAILURE_RATE',instance='a'}",
                "0x20 1x20 2x60",
            ),
            (
                "circuit_breaker_transitions_total{service='s',name='n',from='CLOSED',to='OPEN',reason='FAILURE_RATE',instance='b'}",
                "0x10 1x30 2x60",
            ),
        ],
    ),
    silent(
        "CircuitBreakerFlapping",
        "one trip, and failed probes each minute",
        "50m",
        &[
            (
                "circuit_breaker_transitions_total{service='s',name='n',from='CLOSED',to='OPEN',reason='FAILURE_RATE',instance='a'}",
                "0x20 1x80",
            ),
            (
                "circuit_breaker_transitions_total{service='s',name='n',from='HALF_OPEN',to='OPEN',reason='PROBES_FAILED',instance='a'}",
                "0+0.5x100",
            ),
        ],
    ),
    fires(
        "CircuitBreakerForcedOpen",
        "nobody clears it",
        "25h",
        &[("circuit_breaker_override{service='s',name='n',override='FORCED_OPEN',instance='a'}", "1x60")],
    ),
    silent(
        "CircuitBreakerForcedOpen",
        "it is cleared after 20 hours",
        "25h",
        &[(
            "circuit_breaker_override{service='s',name='n',override='FORCED_OPEN',instance='a'}",
            "1x40 0x20",
        )],
    ),
    fires(
        "CircuitBreakerSwitchedOff",
        "METRICS_ONLY for eight days",
        "8d",
        &[("circuit_breaker_override{service='s',name='n',override='METRICS_ONLY',instance='a'}", "1x400")],
    ),
    silent(
        "CircuitBreakerSwitchedOff",
        "FORCED_OPEN has an alert of its own",
        "8d",
        &[("circuit_breaker_override{service='s',name='n',override='FORCED_OPEN',instance='a'}", "1x400")],
    ),
    fires(
        "CircuitBreakerProbesMissing",
        "each replica sees some of the probes whose outcomes do not come",
        "20m",
        &[
            ("circuit_breaker_probe_timeouts_total{service='s',name='n',instance='a'}", "0x10 1x18 2x18"),
            ("circuit_breaker_probe_timeouts_total{service='s',name='n',instance='b'}", "0x4 1x18 2x18"),
        ],
    ),
    fires(
        "CircuitBreakerProbesMissing",
        "a breaker beyond those with series of their own",
        "20m",
        &[(
            "circuit_breaker_probe_timeouts_total{service='__other__',name='__other__',instance='a'}",
            "40+1x40",
        )],
    ),
    silent(
        "CircuitBreakerProbesMissing",
        "a process died with all its probes",
        "16m",
        &[("circuit_breaker_probe_timeouts_total{service='s',name='n',instance='a'}", "0x4 10x40")],
    ),
    silent(
        "CircuitBreakerProbesMissing",
        "probes fail in time",
        "20m",
        &[
            ("circuit_breaker_probe_timeouts_total{service='s',name='n',instance='a'}", "3x40"),
            ("circuit_breaker_state{service='s',name='n',instance='a'}", "2x40"),
        ],
    ),
    fires(
        "CircuitBreakersOpen",
        "25 of them, beyond those with series of their own",
        "6m",
        &[
            ("circuit_breakers{state='OPEN',instance='a'}", "15x20"),
            ("circuit_breakers{state='HALF_OPEN',instance='a'}", "10x20"),
            ("circuit_breakers{state='CLOSED',instance='a'}", "1000x20"),
        ],
    ),
    silent(
        "CircuitBreakersOpen",
        "three replicas tell of the same ten",
        "6m",
        &[
            ("circuit_breakers{state='OPEN',instance='a'}", "10x20"),
            ("circuit_breakers{state='OPEN',instance='b'}", "10x20"),
            ("circuit_breakers{state='OPEN',instance='c'}", "10x20"),
        ],
    ),
];
