//! Requests for permission, on the thread of the client.

use std::sync::Arc;
use std::time::Duration;

use breaker::{State, Time};
use breakerd_api::enums::from_number;
use breakerd_api::{time, v1};
use tokio::sync::oneshot;
use tonic::Code;

use crate::cell::{Answered, Cell, Decision, Heard, RemotePermit, Result as CallResult, STOCK_MAX, Ticket};
use crate::log;
use crate::shared::Shared;

/// After so long a request is given up. Its caller does not wait for it, but for the deadline of the client.
const REQUEST_MAX: Duration = Duration::from_secs(5);

/// Asks breakerd for a probe. Whoever waits for it is told the answer, or nothing after the deadline.
pub(crate) fn probe(shared: &Arc<Shared>, cell: &Arc<Cell>) {
    let mut in_flight = InFlight { shared: Arc::clone(shared), cell: Arc::clone(cell), answer: None };
    let (Some(runtime), Ok(slot)) = (&shared.runtime, Arc::clone(&shared.requests).try_acquire_owned())
    else {
        return;
    };
    runtime.spawn(async move {
        let (shared, cell) = (Arc::clone(&in_flight.shared), Arc::clone(&in_flight.cell));
        in_flight.answer = {
            let answer = ask(&shared, &cell);
            tokio::pin!(answer);
            tokio::select! {
                answer = &mut answer => answer,
                () = tokio::time::sleep(shared.deadline) => {
                    cell.stop_waiting(shared.deadline);
                    answer.await
                }
            }
        };
        drop(in_flight);
        drop(slot);
        // A permit that its requester did not wait for, and nobody took.
        tokio::time::sleep(STOCK_MAX).await;
        cell.refresh(&shared.context());
    });
}

/// A request for a probe, of which its breaker is told the answer when this is dropped. Whoever waits for it would wait for ever
/// otherwise, if the runtime of the client ends and drops the task of the request.
struct InFlight {
    shared: Arc<Shared>,
    cell: Arc<Cell>,
    answer: Option<Answered>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.cell.answered(self.answer.take(), &self.shared.context());
    }
}

/// Asks breakerd about one call. `waiting` is told the answer, or nothing after the deadline.
pub(crate) fn remote(shared: &Arc<Shared>, cell: &Arc<Cell>, waiting: oneshot::Sender<Decision>) {
    let (Some(runtime), Ok(slot)) = (&shared.runtime, Arc::clone(&shared.requests).try_acquire_owned())
    else {
        return;
    };
    let (shared, cell) = (Arc::clone(shared), Arc::clone(cell));
    runtime.spawn(async move {
        let _slot = slot;
        let answer = ask(&shared, &cell);
        tokio::pin!(answer);
        let mut waiting = Some(waiting);
        let answer = tokio::select! {
            answer = &mut answer => answer,
            () = tokio::time::sleep(shared.deadline) => {
                // Its caller decides by itself, and this goes on: a permit must not be lost.
                waiting = None;
                answer.await
            }
        };
        let Some(answer) = answer else { return };
        let decision = cell.answered_remote(answer, &shared.context());
        let unheard = match waiting {
            Some(waiting) => waiting.send(decision).err(),
            None => Some(decision),
        };
        if let Some(Decision::Allowed(ticket @ Ticket::Remote(_))) = unheard {
            cell.report(ticket, CallResult::Ignored, Duration::ZERO, &shared.context());
        }
    });
}

/// None: breakerd did not answer, or refused to.
async fn ask(shared: &Shared, cell: &Cell) -> Option<Answered> {
    let now = shared.around.clock.now();
    shared.around.link.requested(now);
    let mut session = shared.session.borrow().clone()?;
    let request = v1::AllowRequestRequest {
        service: cell.key.service().to_string(),
        name: cell.key.name().to_string(),
        caller: shared.caller.clone(),
    };
    let request = session.request(request);
    let answer = tokio::time::timeout(REQUEST_MAX, session.client.allow_request(request)).await;
    match answer.ok()? {
        Ok(answer) => {
            shared.around.link.request_answered();
            answered(answer.into_inner(), shared.around.clock.now())
        }
        Err(status) => {
            if !is_temporary(status.code()) {
                shared.around.link.request_answered();
                cell.request_refused(&shared.context());
            }
            log::info!(breaker = %cell.key, error = %status, "breakerd did not answer a request for permission");
            None
        }
    }
}

/// Whether an error says that breakerd cannot be reached, and not that it refuses.
const fn is_temporary(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal
    )
}

/// None: breakerd is newer, and answered what is not known here.
fn answered(answer: v1::AllowRequestResponse, now: Time) -> Option<Answered> {
    let state: State = from_number::<State, v1::State>(answer.state).ok()?;
    let duration = |wire: Option<prost_types::Duration>| wire.and_then(|wire| time::duration(wire).ok());
    let retry_after = duration(answer.retry_after);
    // In HALF_OPEN it is the time until a slot may be free, and no end of the state.
    let remaining = if state == State::HalfOpen { None } else { retry_after };
    Some(Answered {
        heard: Heard { state, epoch: Some(answer.epoch), remaining, open_count: 0 },
        allowed: answer.allowed,
        permit: RemotePermit {
            permit: answer.permit,
            expires: duration(answer.lease).map(|lease| now + lease),
        },
        retry_after,
    })
}
