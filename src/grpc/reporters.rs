//! Which batches of outcomes were processed: a batch whose answer was lost is sent again, and counts once.
//!
//! A client numbers its batches. Of each reporter the number and the answer of its last batch are kept ([`table`]): the same number again
//! is answered with that, a lower one is an error, and a higher one is the next batch, which shows that the client has the
//! answer of the one before.
//!
//! - Batches of one reporter are processed one after the other, in the order in which they arrive. The same batch twice at the
//!   same moment - the client gave up the first, and the server has not heard of that yet - waits for the first to end and is a
//!   repeat then. Waiting, unlike ABORTED, costs the client no round trip, and a batch takes milliseconds. A call that waits
//!   counts among those in flight and ends at its deadline, as any other.
//! - A batch whose RPC is cancelled stops between two of its items, and what was done is kept: sent again, the rest of it is processed.
//!   Finishing it without its client would take a task, and would count what the client may have given up.
//! - A batch of which nothing is known any more is processed, since it cannot be told from a new one.

mod table;

use std::sync::Arc;

use breakerd_api::v1::{
    LocalTotalsError, RecordOutcomesResponse, RecordOutcomesResult, record_outcomes_result,
};
use breakerd_common::clock::Clock;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::OwnedSemaphorePermit;

pub(super) use table::BatchSize;
use table::{Key, LastBatch, Table};

use super::convert::BatchId;
use super::status::Failure;
use super::violations::{Kind, Violations};

/// Bytes up to which an answer is kept as it is: that of a batch of 1,000 outcomes is a quarter of it. Of a larger one, which has many
/// errors, their details and the ends of their messages are left out: [`KEPT_MESSAGE_BYTES`].
const KEPT_WHOLE_BYTES: usize = 64 * 1024;
/// Bytes of a message in a large answer that is kept: enough for the field and the problem.
const KEPT_MESSAGE_BYTES: usize = 100;

/// The last batch of each reporter.
pub(super) struct Reporters {
    table: Mutex<Table>,
    clock: Arc<dyn Clock>,
}

/// Who sends a batch.
#[derive(Debug, Clone)]
pub(super) struct BatchSender {
    /// Its name, or its address: pays for what is kept.
    pub(super) client: Arc<str>,
    /// Whether that is the name of an authenticated client.
    pub(super) is_named: bool,
}

/// What to do with a batch.
pub(super) enum Claimed {
    /// It was processed before: this was the answer.
    Repeated(RecordOutcomesResponse),
    /// Process what is left of it.
    Unfinished(Batch),
}

impl Reporters {
    /// At most `bytes_max` are kept, beside the batches that are being processed.
    pub(super) fn new(bytes_max: usize, clock: Arc<dyn Clock>) -> Self {
        Self { table: Mutex::new(Table::new(bytes_max)), clock }
    }

    /// Waits until no other batch of the reporter is being processed, and says what to do with this one.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: it is older than the last one, or is not what was sent under its number before.
    pub(super) async fn claim(
        self: &Arc<Self>,
        sender: BatchSender,
        batch: BatchId,
        size: BatchSize,
    ) -> Result<Claimed, Failure> {
        let BatchId { reporter, sequence } = batch;
        let BatchSender { client, is_named } = sender;
        let key = Key { client: is_named.then(|| Arc::clone(&client)), reporter };
        let turn = self.table.lock().begin_use(&key, &client, self.clock.now());
        let used = Use { reporters: Arc::clone(self), key };
        // What is too late already need not wait.
        check(self.table.lock().last(&used.key), sequence, size)?;
        let Ok(turn) = turn.acquire_owned().await else {
            // Nothing closes it.
            return Err(Failure::Internal);
        };
        let table = self.table.lock();
        let last = check(table.last(&used.key), sequence, size)?.cloned();
        drop(table);
        let Some(last) = last else {
            let claim = Claim { sequence, size, used, _turn: turn };
            return Ok(Claimed::Unfinished(Batch::new(size, Some(claim))));
        };
        // It was encoded here.
        let answer = RecordOutcomesResponse::decode(last.answer).map_err(|_| Failure::Internal)?;
        if last.is_whole {
            return Ok(Claimed::Repeated(RecordOutcomesResponse { repeated: true, ..answer }));
        }
        let claim = Claim { sequence, size, used, _turn: turn };
        Ok(Claimed::Unfinished(Batch {
            results: answer.results,
            totals_done: last.totals_done,
            totals_errors: answer.local_totals_errors,
            claim: Some(claim),
        }))
    }
}

/// What is known of the batch, if it was the last one.
fn check(last: Option<&LastBatch>, sequence: u64, size: BatchSize) -> Result<Option<&LastBatch>, Violations> {
    let Some(last) = last.filter(|last| sequence <= last.sequence) else { return Ok(None) };
    if sequence < last.sequence {
        let problem = format!(
            "invalid value {sequence}: must be {}..={}, as {} was the last of this reporter",
            last.sequence,
            u64::MAX,
            last.sequence,
        );
        return Err(Violations::one("sequence", Kind::OutOfRange, problem));
    }
    if size != last.size {
        let BatchSize { requests, totals } = last.size;
        let problem = format!(
            "invalid value {sequence}: must be higher for another batch than the last, which had {requests} requests \
             and {totals} local totals"
        );
        return Err(Violations::one("sequence", Kind::Mismatch, problem));
    }
    Ok(Some(last))
}

/// The entry of a reporter, while a request uses it.
struct Use {
    reporters: Arc<Reporters>,
    key: Key,
}

impl Drop for Use {
    fn drop(&mut self) {
        let now = self.reporters.clock.now();
        self.reporters.table.lock().end_use(&self.key, now);
    }
}

/// The right to process a batch of a reporter.
struct Claim {
    sequence: u64,
    size: BatchSize,
    used: Use,
    _turn: OwnedSemaphorePermit,
}

impl Claim {
    /// Keeps the answer, or what there is of it.
    fn keep(&self, answer: &RecordOutcomesResponse, totals_done: usize, is_whole: bool) {
        let last = LastBatch {
            sequence: self.sequence,
            size: self.size,
            totals_done,
            is_whole,
            answer: encoded(answer).into(),
        };
        self.used.reporters.table.lock().set_last(&self.used.key, last);
    }
}

fn encoded(answer: &RecordOutcomesResponse) -> Vec<u8> {
    if answer.encoded_len() <= KEPT_WHOLE_BYTES {
        return answer.encode_to_vec();
    }
    let mut short = answer.clone();
    let of_results = short.results.iter_mut().filter_map(|result| match &mut result.result {
        Some(record_outcomes_result::Result::Error(error)) => Some(error),
        _ => None,
    });
    let of_totals = short.local_totals_errors.iter_mut().filter_map(|error| error.error.as_mut());
    for error in of_results.chain(of_totals) {
        error.details.clear();
        error.message.truncate(error.message.floor_char_boundary(KEPT_MESSAGE_BYTES));
    }
    short.encode_to_vec()
}

/// A batch that is being processed. When it is dropped before its end, what was done of it is kept.
pub(super) struct Batch {
    /// Of the first so many requests.
    pub(super) results: Vec<RecordOutcomesResult>,
    /// So many of the totals were added, or have an error.
    pub(super) totals_done: usize,
    pub(super) totals_errors: Vec<LocalTotalsError>,
    /// None: it has no reporter.
    claim: Option<Claim>,
}

impl Batch {
    /// One that has no reporter, and counts as often as it is sent.
    pub(super) fn untracked(size: BatchSize) -> Self {
        Self::new(size, None)
    }

    fn new(size: BatchSize, claim: Option<Claim>) -> Self {
        let results = Vec::with_capacity(size.requests);
        Self { results, totals_done: 0, totals_errors: Vec::new(), claim }
    }

    /// The answer, which is kept. `boot` is that of the process.
    pub(super) fn finish(mut self, boot: u64) -> RecordOutcomesResponse {
        let claim = self.claim.take();
        let answer = RecordOutcomesResponse { boot, ..self.take_answer() };
        if let Some(claim) = claim {
            claim.keep(&answer, self.totals_done, true);
        }
        answer
    }

    fn take_answer(&mut self) -> RecordOutcomesResponse {
        RecordOutcomesResponse {
            results: std::mem::take(&mut self.results),
            boot: 0,
            repeated: false,
            local_totals_errors: std::mem::take(&mut self.totals_errors),
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            let answer = self.take_answer();
            claim.keep(&answer, self.totals_done, false);
        }
    }
}
