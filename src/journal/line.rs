//! One line of the journal: a checksum, the version of the format, and what happened as JSON.
//!
//! Lines, because a torn write then damages the last line only; JSON, because in trouble a person reads this
//! file; a checksum, because a line that is whole is not yet a line that is right.

mod wire;

use std::str;

use self::wire::Wire;
use crate::store::Proposal;

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Line {
    /// This happened.
    Entry(Box<Proposal>),
    /// This segment holds what was merged of all segments from its own number up to this one.
    Merged {
        /// The number of the last of them.
        up_to: u64,
    },
    /// Written by version 1 only: these entries, by boot and number, were dropped because the journal was full.
    Dropped(Vec<(u64, u64)>),
}

/// The version that is written. Version 1 had no number in its lines; its entries are read.
const VERSION: u32 = 2;

/// Why a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// It is of a later version.
    #[error(
        "written by a later version of breakerd (journal format {found}, this one reads up to {VERSION}): start that version, or let it write its journal out first"
    )]
    Newer {
        /// Its version.
        found: u32,
    },
}

impl Unreadable {
    pub(super) fn too_long() -> Self {
        Self::Damaged("line is too long".to_owned())
    }

    pub(super) fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. })
    }
}

/// Appends a line to `out`, its end included.
pub(super) fn encode(line: &Line, out: &mut Vec<u8>) {
    let wire = match line {
        Line::Entry(proposal) => Wire::Entry(Box::new((&**proposal).into())),
        Line::Merged { up_to } => Wire::Merged { up_to: *up_to },
        Line::Dropped(ids) => Wire::Dropped(ids.clone()),
    };
    let start = out.len();
    out.extend_from_slice(b"00000000 ");
    out.extend_from_slice(VERSION.to_string().as_bytes());
    out.push(b' ');
    // Writing plain structs to memory cannot fail; a line without a body would be dropped at the next start.
    if serde_json::to_writer(&mut *out, &wire).is_err() {
        out.truncate(start);
        return;
    }
    let sum = format!("{:08x}", crc32fast::hash(&out[start + 9..]));
    out[start..start + 8].copy_from_slice(sum.as_bytes());
    out.push(b'\n');
}

/// Reads a line without its end.
pub(super) fn decode(line: &[u8]) -> Result<Line, Unreadable> {
    let unreadable = |problem: &str| Unreadable::Damaged(problem.to_owned());
    let (sum, body) = line
        .split_at_checked(9)
        .and_then(|(head, body)| Some((str::from_utf8(head).ok()?.strip_suffix(' ')?, body)))
        .ok_or_else(|| unreadable("it has no checksum"))?;
    if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(body)) {
        return Err(unreadable("its checksum is wrong"));
    }
    let (version, json) = match body.first() {
        Some(first) if first.is_ascii_digit() => {
            let end = body.iter().position(|byte| *byte == b' ').unwrap_or(body.len());
            let version = str::from_utf8(&body[..end]).ok().and_then(|version| version.parse().ok());
            (version.ok_or_else(|| unreadable("its version is no number"))?, body[end..].trim_ascii_start())
        }
        _ => (1, body),
    };
    if version > VERSION {
        return Err(Unreadable::Newer { found: version });
    }
    let wire = serde_json::from_slice(json).map_err(|error| Unreadable::Damaged(error.to_string()))?;
    match wire {
        Wire::Merged { up_to } => Ok(Line::Merged { up_to }),
        Wire::Entry(entry) => {
            let proposal = (*entry).try_into().map_err(Unreadable::Damaged)?;
            Ok(Line::Entry(Box::new(proposal)))
        }
        Wire::Dropped(ids) => Ok(Line::Dropped(ids)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use breaker::{
        AfterMaxWait, Attribution, CausingOutcome, HalfOpenTerms, Key, Numbering, Override, OverrideKind,
        Reason, Scope, Snapshot, State, Stats, Time, Transition,
    };

    use super::super::merge::tests::record;
    use super::*;
    use crate::store::{Change, Gap, GapCause, TransitionId};

    fn entry(change: Change) -> Line {
        Line::Entry(Box::new(Proposal {
            id: TransitionId { replica: "r-1".into(), boot: u64::MAX, seq: 3 },
            key: Key::new("notifications", "slack/eu").unwrap(),
            change,
            numbering: Numbering::Own,
            store_unavailable: false,
            decided_at: Time::from_micros(77),
            service_override: None,
            age: Duration::ZERO,
            decided_in: crate::store::DecidedIn::default(),
        }))
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            epoch: 4,
            state: State::HalfOpen,
            open_count: 2,
            entered_at: Time::from_micros(1_700_000_000_123_456),
            wait: Some(Duration::from_micros(1_500)),
            retry_after: Some(Duration::from_mins(2)),
            set_by: Some(Override {
                kind: OverrideKind::MetricsOnly,
                scope: Scope::Service,
                expires_at: Some(Time::from_micros(5)),
                ttl: Some(Duration::from_micros(3)),
                actor: "anna".to_owned(),
                reason: "a \"test\"\nof lines".to_owned(),
            }),
            half_open: Some(HalfOpenTerms {
                permitted: 3,
                failures_to_open: 2,
                slow_to_open: Some(1),
                lease: Duration::from_mins(1),
                max_wait: None,
                after_max_wait: AfterMaxWait::Closed,
            }),
            config_revision: 9,
        }
    }

    fn gap(after: Option<Snapshot>) -> Box<Gap> {
        let cause = GapCause::JournalUnwritable;
        Box::new(Gap { lost_transitions: 4, at: Time::from_micros(8), base_epoch: 2, after, cause })
    }

    #[test]
    fn a_gap_of_an_earlier_version_is_read() {
        let body = br#"{"entry":{"replica":"r","boot":1,"seq":2,"service":"db","name":"","numbered_by_store":false,"alone":false,"gap":{"missing":4,"at_us":8,"base_epoch":2}}}"#;
        let line = [format!("{:08x} ", crc32fast::hash(body)).as_bytes(), body].concat();
        let Ok(Line::Entry(entry)) = decode(&line) else { panic!("{:?}", decode(&line)) };
        let expected = Gap { cause: GapCause::JournalFull, ..*gap(None) };
        assert_eq!(entry.change, Change::Gap(Box::new(expected)));
    }

    #[test]
    fn a_line_of_a_later_version_is_no_damaged_line() {
        let body = br#"3 {"whatever":{}}"#;
        let line = [format!("{:08x} ", crc32fast::hash(body)).as_bytes(), body].concat();
        assert_eq!(decode(&line), Err(Unreadable::Newer { found: 3 }));
        assert!(Unreadable::Newer { found: 3 }.is_newer());
        assert!(!Unreadable::too_long().is_newer());
    }

    #[test]
    fn a_line_comes_back_as_it_was_written() {
        let transition = Transition {
            from: State::Open,
            reason: Reason::WaitElapsed,
            stats: Stats { consecutive_failures: 5, calls: 9, ..Stats::default() },
            base_epoch: 3,
            at: Time::from_micros(7),
            lasted: Some(Duration::from_micros(5)),
            rejected_calls: 11,
            outcome: Some(CausingOutcome { error_class: "Timeout".to_owned(), caller: "web-1".to_owned() }),
            attribution: Some(Attribution { actor: "timer".to_owned(), reason: "a drill".to_owned() }),
            after: snapshot(),
            shadow: false,
        };
        let lines = [
            entry(Change::Transition(Box::new(transition))),
            entry(Change::Gap(gap(Some(snapshot())))),
            entry(Change::Gap(gap(None))),
            Line::Merged { up_to: 9 },
            Line::Dropped(vec![(1, 2), (u64::MAX, 3)]),
        ];
        for line in lines {
            let mut bytes = Vec::new();
            encode(&line, &mut bytes);
            assert_eq!(bytes.pop(), Some(b'\n'));
            assert!(!bytes.contains(&b'\n'));
            assert_eq!(decode(&bytes), Ok(line));
        }
    }

    #[test]
    fn a_line_of_before_transitions_said_how_long_a_state_had_lasted_is_read() {
        let body = br#"{"entry":{"replica":"r-1","boot":1,"seq":2,"service":"db","name":"db","numbered_by_store":false,"alone":false,"transition":{"from":"CLOSED","reason":"FAILURE_RATE","base_epoch":0,"at_us":7,"shadow":false,"figures":{"consecutive_failures":5,"consecutive_successes":0,"calls":9,"failures":5,"slow_calls":0,"reporters":0},"after":{"epoch":1,"state":"OPEN","attempts":1,"entered_at_us":7,"wait_us":60,"retry_after_us":null,"config_revision":1,"set_by":null,"half_open":null}}}}"#;
        let mut line = format!("{:08x} ", crc32fast::hash(body)).into_bytes();
        line.extend_from_slice(body);
        let Ok(Line::Entry(proposal)) = decode(&line) else { panic!("{:?}", decode(&line)) };
        let Change::Transition(transition) = proposal.change else { panic!("no transition") };
        assert_eq!((transition.lasted, transition.rejected_calls, transition.outcome), (None, 0, None));
    }

    #[test]
    fn a_line_says_nothing_of_calls_if_none_were_rejected() {
        let says = |rejected_calls| {
            let Change::Transition(transition) = record("eu", 1).change else { panic!("no transition") };
            let transition = Box::new(Transition { rejected_calls, ..*transition });
            let mut bytes = Vec::new();
            encode(&entry(Change::Transition(transition)), &mut bytes);
            String::from_utf8(bytes).unwrap().contains("rejected_calls")
        };
        assert_eq!((says(0), says(1)), (false, true));
    }

    #[test]
    fn a_torn_or_changed_line_is_not_taken_for_another() {
        let mut bytes = Vec::new();
        encode(&entry(Change::Gap(gap(None))), &mut bytes);
        bytes.pop();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode(&changed).is_err(), "changed at {at}");
        }
    }
}
