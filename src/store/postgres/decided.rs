//! The transitions that changes made when they came first, looked up by their ids.

use super::write_transaction::{Write, column};
use crate::store::columns::{bigint, hex};
use crate::store::history::TransitionRow;
use crate::store::sqlx_error::fault;
use crate::store::{StoreError, StoredTransition, TransitionId};

const ACT: &str = "read what was decided";

/// See [`crate::store::shared_script::SharedTransaction::read_decided`]. The history has no index by id: the row of `receipt` says
/// which transaction it was, and when, which is the partition. Ranges of ids do not overlap, so that the last one that begins before an id
/// has it, or none.
pub(super) async fn read(tx: &mut Write, ids: &[&TransitionId]) -> Result<Vec<StoredTransition>, StoreError> {
    let seqs = ids.iter().map(|id| bigint(ACT, "seq", id.seq)).collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<TransitionRow> = sqlx::query_as(
        "SELECT revision, number, replica, boot, seq, service, name, from_state, to_state, reason, epoch,
                base_epoch, calls, failures, slow_calls, consecutive_failures, consecutive_successes,
                reporters, open_count, wait_us, retry_after_us, actor, override_reason, lasted_us,
                rejected_calls, error_class, caller, lost_transitions, shadow, store_unavailable,
                superseded_by, timeline, config_revision, occurred_at, recorded_at
         FROM transition
         WHERE epoch IS NOT NULL AND (revision, recorded_at, replica, boot, seq) IN (
             SELECT receipt.revision, receipt.recorded_at, wanted.replica, wanted.boot, wanted.seq
             FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (replica, boot, seq)
             CROSS JOIN LATERAL (
                 SELECT receipt.last_seq, receipt.revision, receipt.recorded_at
                 FROM receipt
                 WHERE receipt.replica = wanted.replica AND receipt.boot = wanted.boot
                     AND receipt.first_seq <= wanted.seq
                 ORDER BY receipt.first_seq DESC
                 LIMIT 1
             ) AS receipt
             WHERE receipt.last_seq >= wanted.seq
         )",
    )
    .bind(column(ids, |id| &*id.replica))
    .bind(column(ids, |id| hex(id.boot)))
    .bind(seqs)
    .fetch_all(&mut **tx)
    .await
    .map_err(fault(ACT))?;
    rows.into_iter().map(TransitionRow::transition).collect()
}
