//! Sends what there is to report: one batch at a time, in order.

use std::sync::Arc;
use std::time::Duration;

use breaker::{Outcome, Recorded, State, Time};
use breakerd_api::enums::from_number;
use breakerd_api::v1::record_outcomes_result::Result as ItemResult;
use breakerd_api::{time, v1};
use tonic::Code;

use crate::cell::{Cell, Heard, LocalTotals};
use crate::link::UNANSWERED_MAX;
use crate::log;
use crate::outbox::{BATCH_MAX, Item, Outgoing};
use crate::shared::Shared;

/// How long successes are collected.
const BATCH_EVERY: Duration = Duration::from_millis(50);
/// How often what time changes is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often rejections are told: they are for metrics only.
const TOTALS_EVERY: Duration = Duration::from_secs(1);
/// A batch without an answer for so long is sent again.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Whether a batch was counted is given up after so long.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Between attempts, at most.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The most totals of a batch.
const TOTALS_MAX: usize = 1_000;
/// The most that one total of the API can be.
const TOTAL_MAX: u64 = 1_000_000_000;

/// Outcomes and totals that are on their way.
struct Batch {
    sequence: u64,
    /// The breakerd that it was sent to first; None: not sent yet.
    boot: Option<u64>,
    first_sent: Time,
    items: Vec<Item<Cell>>,
    totals: Vec<(Arc<Cell>, LocalTotals)>,
}

pub(crate) struct Sender {
    shared: Arc<Shared>,
    /// Random for this life of the client.
    reporter: Vec<u8>,
    sequence: u64,
    batch: Option<Batch>,
    totals_at: Time,
    /// Breakers whose totals are not taken yet in this round: one that always has some must not keep others from theirs.
    totals_left: std::vec::IntoIter<Arc<Cell>>,
    looked_at: Time,
    /// The breaker that is looked at first: those before it had their turn when the queue was full.
    collect_from: usize,
    was_live: bool,
}

impl Sender {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let reporter = (0..16).map(|_| fastrand::u8(..)).collect();
        Self {
            shared,
            reporter,
            sequence: 0,
            batch: None,
            totals_at: Time::ZERO,
            totals_left: Vec::new().into_iter(),
            looked_at: Time::ZERO,
            collect_from: 0,
            was_live: false,
        }
    }

    /// Sends for ever.
    pub(crate) async fn run(&mut self) {
        loop {
            let idle_max = if self.batch.is_some() { RETRY_PAUSE } else { LOOK_EVERY };
            self.shared.around.wake.wait(BATCH_EVERY, idle_max).await;
            while self.send_next().await {}
        }
    }

    /// Sends all there is, once.
    pub(crate) async fn flush(&mut self) {
        self.totals_at = Time::ZERO;
        self.totals_left = Vec::new().into_iter();
        while self.send_next().await {}
    }

    /// Sends a batch. False: there is none, or it cannot be sent now.
    async fn send_next(&mut self) -> bool {
        self.collect();
        if self.batch.is_none() {
            self.batch = self.next_batch();
        }
        let Some(mut batch) = self.batch.take() else { return false };
        let session = self.shared.session.borrow().clone();
        let now = self.shared.around.clock.now();
        if let (Some(boot), Some(session)) = (batch.boot, &session)
            && (boot != session.boot || now.since(batch.first_sent) > RETRY_MAX)
        {
            Self::lost(&batch);
            return true;
        }
        let Some(mut session) = session else {
            if batch.boot.is_none() {
                self.put_back(batch);
            } else if now.since(batch.first_sent) > RETRY_MAX {
                Self::lost(&batch);
            } else {
                self.batch = Some(batch);
            }
            return false;
        };
        if batch.boot.is_none() {
            (batch.boot, batch.first_sent) = (Some(session.boot), now);
        }
        let request = session.request(self.request(&batch));
        // Kept while it is away: this may be cancelled, and then it is sent again.
        self.batch = Some(batch);
        let answer = tokio::time::timeout(ANSWER_MAX, session.client.record_outcomes(request)).await;
        let Some(batch) = self.batch.take() else { return false };
        match answer
            .map_err(|_| Code::DeadlineExceeded)
            .and_then(|answer| answer.map_err(|status| status.code()))
        {
            Ok(answer) => {
                self.answered(&batch, answer.into_inner());
                true
            }
            Err(
                Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument | Code::Unimplemented,
            ) => {
                self.refused(&batch);
                true
            }
            Err(code) => {
                log::info!(code = ?code, "breakerd did not take a report");
                self.batch = Some(batch);
                false
            }
        }
    }

    /// Looks at every breaker: what waits is queued, and what time changed is shown.
    fn collect(&mut self) {
        let shared = &self.shared;
        let context = shared.context();
        let changed = std::mem::replace(&mut self.was_live, context.live) != context.live;
        let look = changed || context.now.since(self.looked_at) >= LOOK_EVERY;
        if look {
            self.looked_at = context.now;
            shared.around.clock.align();
        }
        let cells = shared.all_cells();
        let mut first_left = None;
        for (number, cell) in cells.iter().enumerate().cycle().skip(self.collect_from).take(cells.len()) {
            let pending = cell.has_pending();
            let room = pending && shared.around.outbox.has_room();
            if pending && !room {
                first_left.get_or_insert(number);
            }
            if look || room {
                cell.refresh(&context);
            }
            #[cfg(feature = "metrics")]
            if look {
                crate::metrics::record(&cell.stats(&context));
            }
        }
        self.collect_from = first_left.unwrap_or(0);
    }

    fn next_batch(&mut self) -> Option<Batch> {
        let shared = &self.shared;
        let now = shared.around.clock.now();
        let items: Vec<_> = shared
            .around
            .outbox
            .take()
            .into_iter()
            .filter(|item| !item.cell.retire_if_old(item, now))
            .collect();
        let mut totals = Vec::new();
        // What waits too long for its answer turns breakerd off; an answer to anything turns it on again.
        let overdue = shared.around.link.awaits_answer() && !shared.around.link.live(now);
        if shared.session.borrow().is_some() {
            let every = if overdue { UNANSWERED_MAX } else { TOTALS_EVERY };
            let due = self.totals_left.as_slice().is_empty() && now.since(self.totals_at) >= every;
            if due {
                self.totals_at = now;
                self.totals_left = shared.all_cells().into_iter();
            }
            let taken = self.totals_left.by_ref().filter_map(|cell| {
                let taken = cell.take_local_totals()?;
                Some((cell, taken))
            });
            totals.extend(taken.take(TOTALS_MAX));
            if due && overdue && items.is_empty() && totals.is_empty() {
                return Some(self.batch_of(items, totals, now));
            }
        }
        (!items.is_empty() || !totals.is_empty()).then(|| self.batch_of(items, totals, now))
    }

    fn batch_of(
        &mut self,
        items: Vec<Item<Cell>>,
        totals: Vec<(Arc<Cell>, LocalTotals)>,
        now: Time,
    ) -> Batch {
        self.sequence += 1;
        Batch { sequence: self.sequence, boot: None, first_sent: now, items, totals }
    }

    fn request(&self, batch: &Batch) -> v1::RecordOutcomesRequest {
        debug_assert!(batch.items.len() <= BATCH_MAX);
        v1::RecordOutcomesRequest {
            requests: batch.items.iter().map(|item| outcome_request(item, &self.shared.caller)).collect(),
            reporter: self.reporter.clone(),
            sequence: batch.sequence,
            local_totals: batch.totals.iter().map(|(cell, totals)| totals_request(cell, totals)).collect(),
        }
    }

    /// A batch that never left: what is not too old waits on.
    fn put_back(&mut self, batch: Batch) {
        for (cell, totals) in &batch.totals {
            cell.put_local_totals_back(*totals);
        }
        let now = self.shared.around.clock.now();
        let items: Vec<_> =
            batch.items.into_iter().filter(|item| !item.cell.retire_if_old(item, now)).collect();
        if !items.is_empty() {
            self.batch = Some(Batch { items, totals: Vec::new(), ..batch });
        }
    }

    /// Whether breakerd counted it will never be known.
    fn lost(batch: &Batch) {
        for item in &batch.items {
            item.cell.unknown(item.outgoing.count);
        }
    }

    fn refused(&self, batch: &Batch) {
        let context = self.shared.context();
        for item in &batch.items {
            item.cell.refused(item.outgoing.outcome, item.outgoing.count, &context);
        }
    }

    fn answered(&self, batch: &Batch, answer: v1::RecordOutcomesResponse) {
        let shared = &self.shared;
        let oldest = shared.around.outbox.oldest_failure();
        shared.around.link.report_answered(oldest);
        let context = shared.context();
        let mut results = answer.results.into_iter();
        for item in &batch.items {
            match results.next().and_then(|result| result.result) {
                Some(ItemResult::Response(response)) => acknowledge(item, &response, &context),
                Some(ItemResult::Error(_)) | None => {
                    item.cell.refused(item.outgoing.outcome, item.outgoing.count, &context);
                }
            }
        }
    }
}

fn acknowledge(item: &Item<Cell>, response: &v1::RecordOutcomeResponse, context: &crate::cell::Context<'_>) {
    let count = item.outgoing.count;
    let counts = if let Some(run) = response.run {
        [
            (Recorded::Recorded, run.recorded),
            (Recorded::Late, run.late),
            (Recorded::NotCounted, run.not_counted),
        ]
    } else {
        let recorded = from_number::<Recorded, v1::RecordResult>(response.result);
        [(recorded.unwrap_or(Recorded::NotCounted), count), (Recorded::Late, 0), (Recorded::NotCounted, 0)]
    };
    // A newer or a faulty breakerd must not break the sum.
    let answered: u32 = counts.iter().map(|(_, count)| *count).fold(0, u32::saturating_add);
    let counts = if answered == count { &counts[..] } else { &[(Recorded::NotCounted, count)][..] };
    let remaining = response.remaining_wait.and_then(|rest| time::duration(rest).ok());
    let heard = from_number::<State, v1::State>(response.state).ok().map(|state| Heard {
        state,
        epoch: Some(response.epoch),
        remaining,
        open_count: 0,
    });
    // An ignored call brings no news.
    let heard = heard.filter(|_| item.outgoing.outcome != Outcome::Ignored);
    item.cell.acknowledged(item.outgoing.epoch, counts, heard, context);
}

/// The outcome as the API has it.
fn outcome_request(item: &Item<Cell>, caller: &str) -> v1::RecordOutcomeRequest {
    let Outgoing { permit, probe: _, epoch, outcome, count, slow, durations, error_class, retry_after } =
        &item.outgoing;
    let run = *count > 1;
    let key = &item.cell.key;
    v1::RecordOutcomeRequest {
        permit: permit.clone(),
        service: key.service().to_string(),
        name: key.name().to_string(),
        epoch: if permit.is_empty() { *epoch } else { None },
        outcome: v1::Outcome::from(*outcome).into(),
        duration: (!run).then(|| wire(durations.sum)),
        error_class: error_class.to_string(),
        retry_after: retry_after.map(wire),
        caller: caller.to_owned(),
        count: if run { *count } else { 0 },
        slow: run && *slow,
        durations: run.then(|| v1::RunDurations {
            buckets: durations.buckets.to_vec(),
            sum: Some(wire(durations.sum)),
        }),
    }
}

fn wire(duration: Duration) -> prost_types::Duration {
    time::to_duration(duration)
}

fn totals_request(cell: &Cell, totals: &LocalTotals) -> v1::LocalTotals {
    let LocalTotals { successful, failed, ignored, rejected } = *totals;
    let rejections = [
        (v1::AllowReason::Open, rejected.open),
        (v1::AllowReason::HalfOpenExhausted, rejected.half_open),
        (v1::AllowReason::ForcedOpen, rejected.forced_open),
    ];
    let rejected = rejections
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| v1::RejectedCalls { reason: reason.into(), count: count.min(TOTAL_MAX) });
    v1::LocalTotals {
        service: cell.key.service().to_string(),
        name: cell.key.name().to_string(),
        rejected: rejected.collect(),
        successful: successful.min(TOTAL_MAX),
        failed: failed.min(TOTAL_MAX),
        ignored: ignored.min(TOTAL_MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use breaker::Key;
    use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
    use tonic::transport::Endpoint;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::session::Session;
    use crate::settings::Builder;

    #[test]
    fn successes_of_more_breakers_than_the_queue_has_room_for_wait_and_are_all_sent() {
        let clock = Clock::Manual(ManualClock::default());
        // Less than one outcome of each needs.
        let builder = Builder::new(String::new()).queue_bytes_max(1 << 20);
        let shared = Arc::new(Shared::new(&builder, clock, None).unwrap());
        shared.around.link.heard(shared.around.clock.now());
        shared.around.link.synced();
        let cells: Vec<_> = (0..10_000)
            .map(|number: u32| shared.cell_of(&Key::new("busy", &number.to_string()).unwrap()).unwrap())
            .collect();
        // In their first era.
        for cell in &cells {
            assert!(cell.report_fast(0, Duration::ZERO));
        }
        let mut sender = Sender::new(Arc::clone(&shared));
        let mut sent = 0;
        loop {
            sender.collect();
            let batch = shared.around.outbox.take();
            sent += batch.len();
            if batch.is_empty() {
                break;
            }
        }
        assert_eq!(sent, cells.len());
    }

    #[tokio::test]
    async fn breakers_that_always_reject_do_not_keep_others_from_telling_what_they_rejected() {
        let clock = Clock::Manual(ManualClock::default());
        let shared = Arc::new(Shared::new(&Builder::new(String::new()), clock, None).unwrap());
        // Nothing is sent there.
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let client = BreakerServiceClient::new(channel);
        shared.session.send_replace(Some(Session { client, boot: 1, synced: true, token: None }));
        let count = 2 * TOTALS_MAX + 500;
        let key = |number: usize| Key::new("busy", &number.to_string()).unwrap();
        let cells: Vec<_> = (0..count).map(|number| shared.cell_of(&key(number)).unwrap()).collect();
        let mut sender = Sender::new(shared);
        let mut told = HashSet::new();
        for _ in 0..3 {
            for cell in &cells {
                cell.too_long(Duration::ZERO);
            }
            told.extend(sender.next_batch().unwrap().totals.iter().map(|(cell, _)| cell.key.clone()));
        }
        assert_eq!(told.len(), count);
        assert!(sender.next_batch().is_none(), "the next round is not due");
    }
}
