//! How a breaker came into its state, as it stands in its row: JSON, read and written whole.

use breaker::{EnteredBy, Reason, State, Stats};
use serde::{Deserialize, Serialize};

use super::columns::{Reader, hex, unhex};
use super::{DecidedBy, StoreError, TransitionId};

/// The column `breaker.entered_by`.
#[derive(Serialize, Deserialize)]
struct EnteredByJson {
    from: String,
    reason: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    consecutive_failures: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    consecutive_successes: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    calls: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    failures: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    slow_calls: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    reporters: u32,
    /// A version that does not know it passes over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided_by: Option<DecidedByJson>,
}

/// As [`DecidedBy`].
#[derive(Serialize, Deserialize)]
struct DecidedByJson {
    replica: String,
    boot: String,
    seq: u64,
    timeline: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The text of the column.
pub(super) fn to_json(
    entered_by: Option<&EnteredBy>,
    decided_by: Option<&DecidedBy>,
) -> Result<Option<String>, StoreError> {
    let decided_by = decided_by.map(|DecidedBy { id: TransitionId { replica, boot, seq }, timeline }| {
        DecidedByJson { replica: replica.to_string(), boot: hex(*boot), seq: *seq, timeline: *timeline }
    });
    let column = |entered_by: &EnteredBy| {
        let EnteredBy { from, reason, stats } = *entered_by;
        let Stats { consecutive_failures, consecutive_successes, calls, failures, slow_calls, reporters } =
            stats;
        serde_json::to_string(&EnteredByJson {
            from: from.as_str().to_owned(),
            reason: reason.as_str().to_owned(),
            consecutive_failures,
            consecutive_successes,
            calls,
            failures,
            slow_calls,
            reporters,
            decided_by,
        })
    };
    let text = entered_by.map(column).transpose();
    text.map_err(|error| StoreError::Corrupt { act: "write the breakers", problem: error.to_string() })
}

/// What the text of the column says.
pub(super) fn from_json(
    reader: &Reader<'_>,
    text: &str,
) -> Result<(EnteredBy, Option<DecidedBy>), StoreError> {
    let json: EnteredByJson = serde_json::from_str(text)
        .map_err(|error| reader.says(format_args!("entered_by cannot be read: {error}")))?;
    let decided_by = json.decided_by.map(|DecidedByJson { replica, boot, seq, timeline }| {
        let boot = unhex(&boot).ok_or_else(|| reader.wrong("entered_by.decided_by.boot", &boot))?;
        Ok(DecidedBy { id: TransitionId { replica: replica.into(), boot, seq }, timeline })
    });
    let entered_by = EnteredBy {
        from: reader.word("entered_by.from", &json.from, State::parse)?,
        reason: reader.word("entered_by.reason", &json.reason, Reason::parse)?,
        stats: Stats {
            consecutive_failures: json.consecutive_failures,
            consecutive_successes: json.consecutive_successes,
            calls: json.calls,
            failures: json.failures,
            slow_calls: json.slow_calls,
            reporters: json.reporters,
        },
    };
    Ok((entered_by, decided_by.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(EnteredBy, Option<DecidedBy>), StoreError> {
        from_json(&Reader { act: "read the breakers", row: "breaker db/a" }, text)
    }

    #[test]
    fn who_decided_it_is_read_as_it_was_written() {
        let stats = Stats { calls: 3, ..Stats::default() };
        let entered_by = EnteredBy { from: State::HalfOpen, reason: Reason::ProbesSucceeded, stats };
        let id = TransitionId { replica: "r \"1\"".into(), boot: u64::MAX, seq: 7 };
        for decided_by in [None, Some(DecidedBy { id, timeline: u32::MAX })] {
            let text = to_json(Some(&entered_by), decided_by.as_ref()).unwrap().unwrap();
            assert_eq!(read(&text).unwrap(), (entered_by, decided_by), "{text}");
        }
    }

    /// The column as other versions have it.
    #[test]
    fn a_row_of_before_names_no_outcome_and_what_a_later_one_names_beside_is_passed_over() {
        let before = r#"{"from":"HALF_OPEN","reason":"PROBES_SUCCEEDED","calls":2}"#;
        assert_eq!(read(before).unwrap().1, None);
        let decided_by =
            r#","decided_by":{"replica":"r1","boot":"00000000000000ff","seq":7,"timeline":2,"x":1}}"#;
        let later = before.replace('}', decided_by);
        let id = TransitionId { replica: "r1".into(), boot: 255, seq: 7 };
        assert_eq!(read(&later).unwrap().1, Some(DecidedBy { id, timeline: 2 }));
        let wrong = later.replace("00ff", "zzzz");
        assert!(read(&wrong).unwrap_err().to_string().contains("entered_by.decided_by.boot"));
    }
}
