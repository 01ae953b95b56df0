//! `BreakerService`: decides calls and learns from their outcomes.

use std::sync::Arc;

use breaker::Time;
use breakerd_api::v1::breaker_service_server::BreakerService;
use breakerd_api::v1::{
    AllowRequestRequest, AllowRequestResponse, AllowRequestsRequest, AllowRequestsResponse,
    AllowRequestsResult, ItemError, LocalTotals, LocalTotalsError, RecordOutcomeRequest,
    RecordOutcomeResponse, RecordOutcomesRequest, RecordOutcomesResponse, RecordOutcomesResult,
    WatchBreakersRequest, WatchBreakersResponse, allow_requests_result, record_outcomes_result,
};
use bytes::{Bytes, BytesMut};
use tonic::{Request, Response, Status};

use super::batch_budget::BatchBudget;
use super::client_info::ClientInfo;
use super::decide::{self, Recording};
use super::reporters::{Batch, BatchSize, Claimed, Reporters};
use super::status::Failure;
use super::watch::{self, Watch, Watches};
use super::{call_span, convert, deadline};
use crate::app::{App, Loaded};
use crate::auth::{Caller, Protocol, Right};
use crate::engine::{Permit, SEALED_BYTES};
use crate::metrics::Refusal;
use crate::replica::WaitingCall;

/// The service on an app, for one connection.
pub(super) struct Breakers {
    app: Arc<App>,
    watches: Watches,
    reporters: Arc<Reporters>,
    /// The caller of an unauthenticated connection. The transport does not attach it to each decision,
    /// which would cost a tenth of one.
    unnamed: Arc<Caller>,
}

impl Breakers {
    pub(super) fn new(
        app: Arc<App>,
        watches: Watches,
        reporters: Arc<Reporters>,
        unnamed: Arc<Caller>,
    ) -> Self {
        Self { app, watches, reporters, unnamed }
    }

    fn loaded(&self) -> Result<&Loaded, Failure> {
        self.app.loaded().ok_or_else(|| Failure::not_loaded(&self.app))
    }

    /// Why one request of a batch failed. The transport, which counts refusals, does not see it.
    #[cold]
    fn failed(&self, failure: Failure) -> ItemError {
        if matches!(failure, Failure::Denied { .. }) {
            self.app.metrics.access.refused(Protocol::Grpc, Refusal::PermissionDenied);
        }
        failure.into_item()
    }
}

impl Breakers {
    fn add_totals(
        &self,
        loaded: &Loaded,
        client: &ClientInfo,
        request: &LocalTotals,
        now: Time,
    ) -> Result<(), Failure> {
        let totals = convert::read_totals(request)?;
        let LocalTotals { service, name, .. } = request;
        if !client.may(Right::Call, service) {
            convert::key(service, name)?;
            client.check(Right::Call, service)?;
        }
        let creator = client.creator(&self.unnamed);
        loaded
            .engine
            .add_local_totals_for(creator, service, name, &totals, now)
            .map_err(|error| convert::totals_failure(error, request))
    }
}

#[tonic::async_trait]
impl BreakerService for Breakers {
    async fn allow_request(
        &self,
        request: Request<AllowRequestRequest>,
    ) -> Result<Response<AllowRequestResponse>, Status> {
        let loaded = self.loaded()?;
        let client = ClientInfo::of(&request);
        call_span::breaker(&self.app, &request.get_ref().service, &request.get_ref().name);
        let creator = client.creator(&self.unnamed);
        let now = self.app.clock.now();
        let allowed = decide::allow(loaded, &client, creator, request.get_ref(), now).await?;
        let seals = loaded.engine.seals();
        let seal = |permit: &Permit| Bytes::copy_from_slice(&seals.seal(permit));
        let response = convert::allowed(&allowed, seal);
        call_span::decision(&self.app, &response);
        Ok(Response::new(response))
    }

    async fn record_outcome(
        &self,
        request: Request<RecordOutcomeRequest>,
    ) -> Result<Response<RecordOutcomeResponse>, Status> {
        let client = ClientInfo::of(&request);
        let loaded = self.loaded()?;
        let wait_until = loaded.replica.outcomes_wait_until(deadline::of_call(request.metadata()));
        let now = self.app.clock.now();
        call_span::breaker_of_outcome(&self.app, &loaded.engine, request.get_ref());
        let creator = client.creator(&self.unnamed);
        let times = (now, wait_until);
        let recorded = match decide::record(loaded, &client, creator, request.get_ref(), times).await? {
            Recording::Done(response) => response,
            Recording::Waiting(outcome) => {
                convert::record_response(loaded.replica.answered(outcome, wait_until).await)
            }
        };
        call_span::outcome(&self.app, request.get_ref().outcome(), &recorded);
        Ok(Response::new(recorded))
    }

    async fn allow_requests(
        &self,
        request: Request<AllowRequestsRequest>,
    ) -> Result<Response<AllowRequestsResponse>, Status> {
        let loaded = self.loaded()?;
        let client = ClientInfo::of(&request);
        let requests = &request.get_ref().requests;
        convert::check_batch(requests.len()).map_err(Failure::from)?;
        // The permits of a batch are cut from one piece.
        let mut permits = BytesMut::with_capacity(requests.len() * SEALED_BYTES);
        let seals = loaded.engine.seals();
        let mut results = vec![AllowRequestsResult::default(); requests.len()];
        let mut calls = loaded.replica.calls(client.creator(&self.unnamed));
        let mut budget = BatchBudget::default();
        let mut look: Vec<_> = (0..requests.len()).map(WaitingCall::new).collect();
        // Those that wait for the store wait together, and are looked at again.
        while !look.is_empty() {
            let mut now = self.app.clock.now();
            for call in look {
                if budget.must_yield() {
                    tokio::task::yield_now().await;
                }
                if budget.must_read_clock() {
                    now = self.app.clock.now();
                }
                let request = &requests[call.number];
                let looked = decide::check_may_call(&client, request).and_then(|()| {
                    let looked = calls.look(call, &request.service, &request.name, now);
                    looked.map_err(|error| convert::allow_failure(error, request))
                });
                results[call.number].result = match looked {
                    Ok(None) => None,
                    Ok(Some(allowed)) => {
                        let seal = |permit: &Permit| {
                            permits.extend_from_slice(&seals.seal(permit));
                            permits.split().freeze()
                        };
                        Some(allow_requests_result::Result::Response(convert::allowed(&allowed, seal)))
                    }
                    Err(failure) => {
                        budget.failed();
                        Some(allow_requests_result::Result::Error(self.failed(failure)))
                    }
                };
            }
            look = calls.answered().await;
        }
        calls.told();
        call_span::decisions(&self.app, &results);
        Ok(Response::new(AllowRequestsResponse { results }))
    }

    type WatchBreakersStream = Watch<WatchBreakersResponse>;

    async fn watch_breakers(
        &self,
        request: Request<WatchBreakersRequest>,
    ) -> Result<Response<Self::WatchBreakersStream>, Status> {
        Ok(Response::new(watch::breakers(&self.watches, &self.app, self.loaded()?, request)?))
    }

    async fn record_outcomes(
        &self,
        request: Request<RecordOutcomesRequest>,
    ) -> Result<Response<RecordOutcomesResponse>, Status> {
        let loaded = self.loaded()?;
        let client = ClientInfo::of(&request);
        let timeout = deadline::of_call(request.metadata());
        let report = request.get_ref();
        let RecordOutcomesRequest { requests, local_totals, .. } = report;
        let size = BatchSize { requests: requests.len(), totals: local_totals.len() };
        convert::check_batch_items(size.requests, size.totals, 0).map_err(Failure::from)?;
        let mut batch = match convert::read_batch_id(report).map_err(Failure::from)? {
            None => Batch::untracked(size),
            Some(id) => match self.reporters.claim(client.batch_sender(&self.unnamed), id, size).await? {
                Claimed::Repeated(answer) => return Ok(Response::new(answer)),
                Claimed::Unfinished(batch) => batch,
            },
        };
        let mut budget = BatchBudget::default();
        let mut now = self.app.clock.now();
        // Outcomes of probes wait together, behind all others.
        let wait_until = loaded.replica.outcomes_wait_until(timeout);
        let mut waiting = Vec::new();
        for request in &requests[batch.results.len()..] {
            if budget.must_yield() {
                tokio::task::yield_now().await;
            }
            if budget.must_read_clock() {
                now = self.app.clock.now();
            }
            budget.calls(request.count);
            let (creator, times) = (client.creator(&self.unnamed), (now, wait_until));
            let result = match decide::record(loaded, &client, creator, request, times).await {
                Ok(Recording::Done(response)) => record_outcomes_result::Result::Response(response),
                Ok(Recording::Waiting(outcome)) => {
                    let taken_in = convert::record_response(outcome.taken_in());
                    waiting.push((batch.results.len(), outcome));
                    record_outcomes_result::Result::Response(taken_in)
                }
                Err(failure) => {
                    budget.failed();
                    record_outcomes_result::Result::Error(self.failed(failure))
                }
            };
            batch.results.push(RecordOutcomesResult { result: Some(result) });
        }
        for (index, totals) in (0..).zip(local_totals).skip(batch.totals_done) {
            if budget.must_yield() {
                tokio::task::yield_now().await;
            }
            if budget.must_read_clock() {
                now = self.app.clock.now();
            }
            if let Err(failure) = self.add_totals(loaded, &client, totals, now) {
                budget.failed();
                let error = Some(self.failed(failure));
                batch.totals_errors.push(LocalTotalsError { index, error });
            }
            batch.totals_done += 1;
        }
        for (index, outcome) in waiting {
            let answered = loaded.replica.answered(outcome, wait_until).await;
            let response = convert::record_response(answered);
            batch.results[index].result = Some(record_outcomes_result::Result::Response(response));
        }
        call_span::outcomes(&self.app, &batch.results);
        Ok(Response::new(batch.finish(loaded.engine.issuer())))
    }
}
