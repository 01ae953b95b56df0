//! What a small batch writes, as the statements of one message: see [`super::statements_text`]. What each step is for says
//! [`crate::store::script::WriteTransaction`]; [`super::write`] does the same for large ones.

use sqlx::types::time::Date;

use super::statements_text::StatementsText;
use crate::store::StoreError;
use crate::store::cell::Column;
use crate::store::columns::bigint;
use crate::store::history::{Bumped, TransitionRow};
use crate::store::judge::Judgement;
use crate::store::receipt;
use crate::store::rows::{BesideRow, BreakerRow, EpisodeRow};
use crate::store::timestamp::Timestamp;

pub(super) fn write_breakers(
    statements: &mut StatementsText,
    judgement: &Judgement<'_>,
    revision: i64,
) -> Result<(), StoreError> {
    for (key, state) in &judgement.changed {
        let (row, beside) = (BreakerRow::new(key, state)?, BesideRow::new(state)?);
        let cells = row.cells(&beside, revision);
        if state.is_stored {
            statements.update_breaker(&BreakerRow::COLUMNS, &cells);
        } else {
            statements.insert("breaker", &BreakerRow::COLUMNS, &[cells], "");
        }
    }
    Ok(())
}

pub(super) fn write_history(
    statements: &mut StatementsText,
    judgement: &Judgement<'_>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    let rows = judgement.entries.iter().enumerate();
    let rows: Vec<_> =
        rows.map(|(number, entry)| TransitionRow::new(entry, number, bumped)).collect::<Result<_, _>>()?;
    let cells: Vec<_> = rows.iter().map(TransitionRow::cells).collect();
    statements.insert("transition", &TransitionRow::COLUMNS, &cells, "");
    Ok(())
}

const EPISODE: [Column; 22] = [
    Column::Plain("revision"),
    Column::Plain("recorded_at"),
    Column::Plain("number"),
    Column::Plain("service"),
    Column::Plain("name"),
    Column::Plain("epoch"),
    Column::Plain("opened_at"),
    Column::Plain("half_open_at"),
    Column::Plain("closed_at"),
    Column::Plain("lasted_us"),
    Column::Plain("reason"),
    Column::Plain("actor"),
    Column::Plain("why"),
    Column::Plain("failure_rate"),
    Column::Plain("slow_call_rate"),
    Column::Plain("error_class"),
    Column::Plain("caller"),
    Column::Plain("reopened"),
    Column::Plain("probes"),
    Column::Plain("rejected_calls"),
    Column::Plain("lost_transitions"),
    Column::Plain("ended_by"),
];

pub(super) fn write_episodes(
    statements: &mut StatementsText,
    judgement: &Judgement<'_>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    for (number, key, ended) in &judgement.ended {
        let row = EpisodeRow::new(*number, key, ended, bumped)?;
        let cells = [
            row.revision.into(),
            row.recorded_at.into(),
            row.number.into(),
            row.service.into(),
            row.name.into(),
            row.epoch.into(),
            row.opened_at.into(),
            row.half_open_at.into(),
            row.closed_at.into(),
            row.lasted_us.into(),
            row.reason.into(),
            row.actor.into(),
            row.why.into(),
            row.failure_rate.into(),
            row.slow_call_rate.into(),
            row.error_class.into(),
            row.caller.into(),
            row.reopened.into(),
            row.probes.into(),
            row.rejected_calls.into(),
            row.lost_transitions.into(),
            row.ended_by.into(),
        ];
        statements.insert("episode", &EPISODE, &[cells], "");
    }
    Ok(())
}

pub(super) fn write_open_time(
    statements: &mut StatementsText,
    judgement: &Judgement<'_>,
) -> Result<(), StoreError> {
    let act = "write the time in OPEN";
    let columns = ["day", "service", "name", "open_us", "openings"].map(Column::Plain);
    for ((_, key), part) in &judgement.open_time {
        let cells = [
            date(part.day)?.into(),
            (&**key.service()).into(),
            (&**key.name()).into(),
            bigint(act, "open_time", part.open_us)?.into(),
            bigint(act, "open_time", part.openings)?.into(),
        ];
        // No other transaction has these rows: they are locked with their breakers'.
        let ending = " ON CONFLICT (day, service, name) DO UPDATE
             SET open_us = open_time.open_us + excluded.open_us, openings = open_time.openings + excluded.openings";
        statements.insert("open_time", &columns, &[cells], ending);
    }
    Ok(())
}

pub(super) fn write_receipts(
    statements: &mut StatementsText,
    judgement: &Judgement<'_>,
    revision: Option<i64>,
    recorded_at: Timestamp,
) -> Result<(), StoreError> {
    let columns = ["replica", "boot", "first_seq", "last_seq", "epochs", "revision", "recorded_at"];
    let rows = receipt::rows(judgement)?;
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            [
                row.replica.into(),
                row.boot.as_str().into(),
                row.first_seq.into(),
                row.last_seq.into(),
                row.epochs.as_str().into(),
                revision.into(),
                recorded_at.into(),
            ]
        })
        .collect();
    statements.insert("receipt", &columns.map(Column::Plain), &cells, "");
    Ok(())
}

/// A day since the Unix epoch, as a date is written.
fn date(day: u64) -> Result<String, StoreError> {
    /// The day 1970-01-01.
    const EPOCH_JULIAN_DAY: i32 = 2_440_588;
    let day = i32::try_from(day).ok().and_then(|day| EPOCH_JULIAN_DAY.checked_add(day));
    let date = day.and_then(|day| Date::from_julian_day(day).ok());
    date.map(|date| date.to_string()).ok_or_else(|| StoreError::Corrupt {
        act: "write the time in OPEN",
        problem: "a day cannot be so late".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_the_unix_epoch() {
        for (day, written) in [(0, "1970-01-01"), (19_782, "2024-02-29"), (20_454, "2026-01-01")] {
            assert_eq!(date(day).unwrap(), written);
        }
        assert!(date(u64::MAX).is_err());
    }
}
