//! Rows of the history.

use sqlx::{Postgres, QueryBuilder};

use super::write_transaction::{Write, column};
use crate::store::columns::{bigint, hex};
use crate::store::history::TransitionRow;
use crate::store::sqlx_error::fault;
use crate::store::{StoreError, StoredTransition, TransitionId};

/// Reads a [`TransitionRow`].
pub(super) const SELECT_TRANSITIONS: &str =
    "SELECT revision, number, replica, boot, seq, service, name, from_state, to_state, reason, epoch, base_epoch,
            calls, failures, slow_calls, consecutive_failures, consecutive_successes, reporters, open_count,
            wait_us, retry_after_us, actor, override_reason, lasted_us, rejected_calls, error_class, caller,
            lost_transitions, shadow, store_unavailable, superseded_by, timeline, config_revision, occurred_at,
            recorded_at
     FROM transition";

const ACT: &str = "read what was decided";

/// See [`crate::store::shared_script::SharedTransaction::read_decided`]. The history has no index by id: the row of `receipt` says
/// which transaction it was, and when, which is the partition. Ranges of ids do not overlap, so that the last one that begins before an id
/// has it, or none.
pub(super) async fn read_decided(
    tx: &mut Write,
    ids: &[&TransitionId],
) -> Result<Vec<StoredTransition>, StoreError> {
    let seqs = ids.iter().map(|id| bigint(ACT, "seq", id.seq)).collect::<Result<Vec<_>, _>>()?;
    // Looked up one by one, whatever the planner takes for cheaper: a join could read a partition whole.
    let mut sql = QueryBuilder::<Postgres>::new("SELECT decided.* FROM unnest(");
    sql.push_bind(column(ids, |id| &*id.replica)).push("::text[], ");
    sql.push_bind(column(ids, |id| hex(id.boot))).push("::text[], ");
    sql.push_bind(seqs).push(
        "::bigint[]) AS wanted (replica, boot, seq)
         CROSS JOIN LATERAL (
             SELECT receipt.last_seq, receipt.revision, receipt.recorded_at
             FROM receipt
             WHERE receipt.replica = wanted.replica AND receipt.boot = wanted.boot
                 AND receipt.first_seq <= wanted.seq
             ORDER BY receipt.first_seq DESC
             LIMIT 1
         ) AS receipt
         CROSS JOIN LATERAL (",
    );
    sql.push(SELECT_TRANSITIONS).push(
        " WHERE transition.revision = receipt.revision AND transition.recorded_at = receipt.recorded_at
             AND transition.replica = wanted.replica AND transition.boot = wanted.boot
             AND transition.seq = wanted.seq AND transition.epoch IS NOT NULL
             LIMIT 1
         ) AS decided
         WHERE receipt.last_seq >= wanted.seq",
    );
    let rows: Vec<TransitionRow> = sql.build_query_as().fetch_all(&mut **tx).await.map_err(fault(ACT))?;
    rows.into_iter().map(TransitionRow::transition).collect()
}
