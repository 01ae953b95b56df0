//! Which stretch of the history, or of the audit, is asked for: the part of a query that is the same for both.

use breaker::Time;
use sqlx::{Database, Encode, QueryBuilder, Type};

use super::columns::bigint;
use super::timestamp::Timestamp;
use super::{HistoryCursor, StoreError};

/// Rows between two times, behind a place, in the order of their places.
pub(super) struct RangeFilter {
    /// From this time on.
    pub(super) from_time: Option<Time>,
    /// Before this time.
    pub(super) until_time: Option<Time>,
    /// Behind this place, in the order asked for.
    pub(super) after: Option<HistoryCursor>,
    /// The oldest first; else the newest.
    pub(super) oldest_first: bool,
    /// At most so many.
    pub(super) limit: u32,
}

impl RangeFilter {
    /// Adds it to a query whose last clause is `WHERE`. `time` is the column of the rows' times; `act` says what
    /// failed, if the place is one that no row can have. What is not asked for is not in the query at all.
    pub(super) fn narrow<DB>(
        &self,
        sql: &mut QueryBuilder<DB>,
        time: &'static str,
        act: &'static str,
    ) -> Result<(), StoreError>
    where
        DB: Database,
        i64: for<'q> Encode<'q, DB> + Type<DB>,
        Timestamp: for<'q> Encode<'q, DB> + Type<DB>,
    {
        for (comparison, bound) in [(" >= ", self.from_time), (" < ", self.until_time)] {
            if let Some(bound) = bound {
                sql.push(" AND ").push(time).push(comparison).push_bind(Timestamp(bound));
            }
        }
        let (comparison, order) = if self.oldest_first { (">", "ASC") } else { ("<", "DESC") };
        if let Some(after) = self.after {
            sql.push(" AND (revision, number) ").push(comparison).push(" (");
            sql.push_bind(bigint(act, "revision", after.revision)?).push(", ");
            sql.push_bind(i64::from(after.number)).push(")");
        }
        sql.push(" ORDER BY revision ").push(order).push(", number ").push(order);
        sql.push(" LIMIT ").push_bind(i64::from(self.limit));
        Ok(())
    }
}
