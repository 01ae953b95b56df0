//! What stands in a line, as JSON has it: the field names and words of the format, apart from those of the domain. A field that
//! comes later has a default, so that lines without it are read.

use std::time::Duration;

use breaker::{
    AfterMaxWait, Attribution, CausingOutcome, HalfOpenTerms, Key, Numbering, Override, OverrideKind, Reason,
    Scope, Snapshot, State, Stats, Time, Transition,
};
use serde::{Deserialize, Serialize};

use crate::store::{Change, DecidedIn, Gap, GapCause, Proposal, TransitionId};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wire {
    Entry(Box<WireEntry>),
    Merged { up_to: u64 },
    Dropped(Vec<(u64, u64)>),
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireEntry {
    replica: String,
    boot: u64,
    seq: u64,
    service: String,
    name: String,
    numbered_by_store: bool,
    alone: bool,
    /// By the monotonic clock of its boot; not in the lines of an earlier version.
    #[serde(default, skip_serializing_if = "is_zero")]
    decided_us: u64,
    /// Not in the lines of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_override: Option<u64>,
    /// Not in the lines of an earlier version, nor in those of one process alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeline: Option<u32>,
    /// The store had it before it was written down. Not in the lines of an earlier version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    answered: bool,
    /// One of the two. (Not a flattened enum, which reads through a copy of everything.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transition: Option<Box<WireTransition>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<Box<WireGap>>,
}

#[derive(Serialize, Deserialize)]
struct WireTransition {
    from: String,
    reason: String,
    base_epoch: u64,
    at_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor_reason: Option<String>,
    /// These four are not in the lines of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lasted_us: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    rejected_calls: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
    shadow: bool,
    // The alias is the name in a journal of an earlier version.
    #[serde(alias = "figures")]
    stats: WireStats,
    after: WireSnapshot,
}

#[derive(Serialize, Deserialize)]
struct WireGap {
    missing: u64,
    at_us: u64,
    base_epoch: u64,
    /// An earlier version wrote none, and no cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<WireSnapshot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireStats {
    consecutive_failures: u32,
    consecutive_successes: u32,
    calls: u32,
    failures: u32,
    slow_calls: u32,
    reporters: u32,
}

#[derive(Serialize, Deserialize)]
struct WireSnapshot {
    epoch: u64,
    state: String,
    attempts: u32,
    entered_at_us: u64,
    wait_us: Option<u64>,
    retry_after_us: Option<u64>,
    config_revision: u64,
    set_by: Option<WireOverride>,
    half_open: Option<WireTerms>,
}

#[derive(Serialize, Deserialize)]
struct WireOverride {
    kind: String,
    /// A journal of before there were overrides of services has none.
    #[serde(default)]
    scope: Option<String>,
    expires_at_us: Option<u64>,
    /// One of before overrides could be set for a duration has none.
    #[serde(default)]
    ttl_us: Option<u64>,
    actor: String,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct WireTerms {
    permitted: u32,
    failures_to_open: u32,
    slow_to_open: Option<u32>,
    lease_us: u64,
    max_wait_us: Option<u64>,
    after_max_wait: String,
}

impl From<&Proposal> for WireEntry {
    fn from(proposal: &Proposal) -> Self {
        let (transition, gap) = match &proposal.change {
            Change::Transition(transition) => (Some(Box::new((&**transition).into())), None),
            Change::Gap(gap) => (None, Some(Box::new((&**gap).into()))),
        };
        Self {
            replica: proposal.id.replica.to_string(),
            boot: proposal.id.boot,
            seq: proposal.id.seq,
            service: proposal.key.service().to_string(),
            name: proposal.key.name().to_string(),
            numbered_by_store: proposal.numbering == Numbering::Store,
            alone: proposal.store_unavailable,
            decided_us: proposal.decided_at.as_micros(),
            service_override: proposal.service_override,
            timeline: proposal.decided_in.timeline,
            answered: proposal.decided_in.is_repeat,
            transition,
            gap,
        }
    }
}

impl TryFrom<WireEntry> for Proposal {
    type Error = String;

    fn try_from(wire: WireEntry) -> Result<Self, String> {
        Ok(Self {
            id: TransitionId { replica: wire.replica.into(), boot: wire.boot, seq: wire.seq },
            key: Key::new(&wire.service, &wire.name).map_err(|error| error.to_string())?,
            numbering: if wire.numbered_by_store { Numbering::Store } else { Numbering::Own },
            store_unavailable: wire.alone,
            decided_at: Time::from_micros(wire.decided_us),
            service_override: wire.service_override,
            age: Duration::ZERO,
            decided_in: DecidedIn {
                timeline: wire.timeline,
                is_repeat: wire.answered,
                ..DecidedIn::default()
            },
            change: match (wire.transition, wire.gap) {
                (Some(transition), None) => Change::Transition(Box::new((*transition).try_into()?)),
                (None, Some(gap)) => Change::Gap(Box::new((*gap).try_into()?)),
                _ => return Err("it is neither a transition nor a gap".to_owned()),
            },
        })
    }
}

impl From<&Gap> for WireGap {
    fn from(gap: &Gap) -> Self {
        Self {
            missing: gap.lost_transitions,
            at_us: gap.at.as_micros(),
            base_epoch: gap.base_epoch,
            after: gap.after.as_ref().map(Into::into),
            cause: Some(gap.cause.as_str().to_owned()),
        }
    }
}

impl TryFrom<WireGap> for Gap {
    type Error = String;

    fn try_from(wire: WireGap) -> Result<Self, String> {
        Ok(Self {
            lost_transitions: wire.missing,
            at: Time::from_micros(wire.at_us),
            base_epoch: wire.base_epoch,
            after: wire.after.map(TryInto::try_into).transpose()?,
            // The only one that an earlier version knew.
            cause: match wire.cause {
                Some(cause) => word("cause", &cause, GapCause::parse)?,
                None => GapCause::JournalFull,
            },
        })
    }
}

impl From<&Transition> for WireTransition {
    fn from(transition: &Transition) -> Self {
        let Stats { consecutive_failures, consecutive_successes, calls, failures, slow_calls, reporters } =
            transition.stats;
        Self {
            from: transition.from.to_string(),
            reason: transition.reason.to_string(),
            base_epoch: transition.base_epoch,
            at_us: transition.at.as_micros(),
            actor: transition.attribution.as_ref().map(|attribution| attribution.actor.clone()),
            actor_reason: transition.attribution.as_ref().map(|attribution| attribution.reason.clone()),
            lasted_us: transition.lasted.map(micros),
            rejected_calls: transition.rejected_calls,
            error_class: transition.outcome.as_ref().map(|outcome| outcome.error_class.clone()),
            caller: transition.outcome.as_ref().map(|outcome| outcome.caller.clone()),
            shadow: transition.shadow,
            stats: WireStats {
                consecutive_failures,
                consecutive_successes,
                calls,
                failures,
                slow_calls,
                reporters,
            },
            after: (&transition.after).into(),
        }
    }
}

impl TryFrom<WireTransition> for Transition {
    type Error = String;

    fn try_from(wire: WireTransition) -> Result<Self, String> {
        let stats = Stats {
            consecutive_failures: wire.stats.consecutive_failures,
            consecutive_successes: wire.stats.consecutive_successes,
            calls: wire.stats.calls,
            failures: wire.stats.failures,
            slow_calls: wire.stats.slow_calls,
            reporters: wire.stats.reporters,
        };
        Ok(Self {
            from: word("from", &wire.from, State::parse)?,
            reason: word("reason", &wire.reason, Reason::parse)?,
            stats,
            base_epoch: wire.base_epoch,
            at: Time::from_micros(wire.at_us),
            lasted: wire.lasted_us.map(Duration::from_micros),
            rejected_calls: wire.rejected_calls,
            outcome: wire
                .error_class
                .map(|error_class| CausingOutcome { error_class, caller: wire.caller.unwrap_or_default() }),
            attribution: wire
                .actor
                .map(|actor| Attribution { actor, reason: wire.actor_reason.unwrap_or_default() }),
            after: wire.after.try_into()?,
            shadow: wire.shadow,
        })
    }
}

impl From<&Snapshot> for WireSnapshot {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            epoch: snapshot.epoch,
            state: snapshot.state.to_string(),
            attempts: snapshot.open_count,
            entered_at_us: snapshot.entered_at.as_micros(),
            wait_us: snapshot.wait.map(micros),
            retry_after_us: snapshot.retry_after.map(micros),
            config_revision: snapshot.config_revision,
            set_by: snapshot.set_by.as_ref().map(|set_by| WireOverride {
                kind: set_by.kind.to_string(),
                scope: Some(set_by.scope.to_string()),
                expires_at_us: set_by.expires_at.map(Time::as_micros),
                ttl_us: set_by.ttl.map(micros),
                actor: set_by.actor.clone(),
                reason: set_by.reason.clone(),
            }),
            half_open: snapshot.half_open.map(|terms| WireTerms {
                permitted: terms.permitted,
                failures_to_open: terms.failures_to_open,
                slow_to_open: terms.slow_to_open,
                lease_us: micros(terms.lease),
                max_wait_us: terms.max_wait.map(micros),
                after_max_wait: terms.after_max_wait.to_string(),
            }),
        }
    }
}

impl TryFrom<WireSnapshot> for Snapshot {
    type Error = String;

    fn try_from(wire: WireSnapshot) -> Result<Self, String> {
        let set_by = wire.set_by.map(|set_by| {
            Ok::<_, String>(Override {
                kind: word("kind", &set_by.kind, OverrideKind::parse)?,
                scope: match set_by.scope {
                    Some(scope) => word("scope", &scope, Scope::parse)?,
                    None => Scope::Breaker,
                },
                expires_at: set_by.expires_at_us.map(Time::from_micros),
                ttl: set_by.ttl_us.map(Duration::from_micros),
                actor: set_by.actor,
                reason: set_by.reason,
            })
        });
        let half_open = wire.half_open.map(|terms| {
            Ok::<_, String>(HalfOpenTerms {
                permitted: terms.permitted,
                failures_to_open: terms.failures_to_open,
                slow_to_open: terms.slow_to_open,
                lease: Duration::from_micros(terms.lease_us),
                max_wait: terms.max_wait_us.map(Duration::from_micros),
                after_max_wait: word("after_max_wait", &terms.after_max_wait, AfterMaxWait::parse)?,
            })
        });
        Ok(Self {
            epoch: wire.epoch,
            state: word("state", &wire.state, State::parse)?,
            open_count: wire.attempts,
            entered_at: Time::from_micros(wire.entered_at_us),
            wait: wire.wait_us.map(Duration::from_micros),
            retry_after: wire.retry_after_us.map(Duration::from_micros),
            config_revision: wire.config_revision,
            set_by: set_by.transpose()?,
            half_open: half_open.transpose()?,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn word<T>(field: &str, text: &str, parse: fn(&str) -> Option<T>) -> Result<T, String> {
    parse(text).ok_or_else(|| format!("{field} is {text:?}, which is no word of breakerd's"))
}
