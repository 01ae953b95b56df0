//! Decides calls, and takes in their outcomes, for every service that does so: rights first, then the replica.

use breaker::Time;
use breakerd_api::v1::{AllowRequestRequest, RecordOutcomeRequest, RecordOutcomeResponse};

use super::client_info::ClientInfo;
use super::convert;
use super::status::Failure;
use crate::app::Loaded;
use crate::auth::Right;
use crate::engine::{Allowed, Creator};
use crate::replica::{Submitted, WaitingOutcome};

/// What became of an outcome so far.
pub(super) enum Recording {
    Done(RecordOutcomeResponse),
    /// The store has yet to say what becomes of it.
    Waiting(WaitingOutcome),
}

/// Decides a call of `client`; a breaker that it creates is `creator`'s.
pub(super) async fn allow(
    loaded: &Loaded,
    client: &ClientInfo,
    creator: Creator<'_>,
    request: &AllowRequestRequest,
    now: Time,
) -> Result<Allowed, Failure> {
    check_may_call(client, request)?;
    let allowed = loaded.replica.allow(creator, &request.service, &request.name, now).await;
    allowed.map_err(|error| convert::allow_failure(error, request))
}

/// Fails if the request is not valid, or `client` may not call the service.
pub(super) fn check_may_call(client: &ClientInfo, request: &AllowRequestRequest) -> Result<(), Failure> {
    convert::check_allow_request(request)?;
    if !client.may(Right::Call, &request.service) {
        // An invalid name has no rights to check: it is reported first.
        convert::key(&request.service, &request.name)?;
        client.check(Right::Call, &request.service)?;
    }
    Ok(())
}

/// Takes in an outcome. A permit was issued to a client with the right to call: the permit is the right to report.
pub(super) async fn record(
    loaded: &Loaded,
    client: &ClientInfo,
    creator: Creator<'_>,
    request: &RecordOutcomeRequest,
    (now, wait_until): (Time, Time),
) -> Result<Recording, Failure> {
    if loaded.engine.seals().lacks_key_of(&request.permit) {
        loaded.permit_keys.await_key().await;
    }
    let (target, report) = convert::read_outcome(request, client.name(), loaded.engine.seals())?;
    if target.permit.is_none() && !client.may(Right::Call, &request.service) {
        convert::key(&request.service, &request.name)?;
        client.check(Right::Call, &request.service)?;
    }
    if convert::is_run(request) {
        let run = convert::run(request, report);
        return loaded
            .engine
            .record_run_for(creator, &request.service, &request.name, &run, now)
            .map(|run| Recording::Done(convert::run_response(run)))
            .map_err(|error| convert::outcome_failure(error, request));
    }
    let submitted = loaded.replica.submit(creator, target, &report, wait_until).await;
    match submitted.map_err(|error| convert::outcome_failure(error, request))? {
        Submitted::Done(recorded) => Ok(Recording::Done(convert::record_response(recorded))),
        Submitted::Waiting(outcome) => Ok(Recording::Waiting(outcome)),
    }
}
