//! `envoy.service.accesslog.v3.AccessLogService`: how requests went that were allowed.
//!
//! A stream is read for as long as its proxy runs, and never waits for the store: what an outcome of a probe comes to is no matter to
//! the proxy. An entry that cannot be counted is counted as such, and ends no stream. Entries that never come end with the leases of
//! their permits.

use std::sync::Arc;

use breakerd_api::envoy_api::envoy::service::accesslog::v3::access_log_service_server::AccessLogService;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::{
    StreamAccessLogsMessage, StreamAccessLogsResponse,
};
use breakerd_api::v1::{RecordOutcomeRequest, RecordResult};
use breakerd_common::clock::WallTime;
use tonic::{Request, Response, Status, Streaming};

use super::super::batch_budget::BatchBudget;
use super::super::client_info::ClientInfo;
use super::super::decide::{self, Recording};
use super::super::health::HealthRegistry;
use super::super::status::{Failure, of_stream};
use super::super::stream_limiter::StreamLimiter;
use super::outcome;
use crate::app::{App, Loaded};
use crate::metrics::LogEntry;

/// The service.
pub(in crate::grpc) struct AccessLogs {
    app: Arc<App>,
    streams: StreamLimiter,
    registry: Arc<HealthRegistry>,
}

impl AccessLogs {
    pub(super) fn new(app: Arc<App>, streams: StreamLimiter, registry: Arc<HealthRegistry>) -> Self {
        Self { app, streams, registry }
    }

    async fn take(&self, loaded: &Loaded, client: &ClientInfo, entries: LogEntries) {
        let wall = WallTime(self.app.clock.wall());
        let outcomes: Vec<_> = match entries {
            LogEntries::HttpLogs(logs) => {
                logs.log_entry.into_iter().map(|entry| outcome::of_http(entry, wall)).collect()
            }
            LogEntries::TcpLogs(logs) => logs.log_entry.into_iter().map(outcome::of_tcp).collect(),
        };
        let mut budget = BatchBudget::default();
        for outcome in outcomes {
            if budget.must_yield() {
                tokio::task::yield_now().await;
            }
            let counted = match outcome {
                None => LogEntry::NoPermit,
                Some(outcome) => self.record(loaded, client, &outcome).await.unwrap_or_else(|failure| {
                    budget.failed();
                    tracing::debug!(reason = failure.reason(), "entry of an access log is not counted");
                    LogEntry::Rejected
                }),
            };
            self.app.metrics.envoy.count(counted);
        }
    }

    async fn record(
        &self,
        loaded: &Loaded,
        client: &ClientInfo,
        outcome: &RecordOutcomeRequest,
    ) -> Result<LogEntry, Failure> {
        // Without one it would be the outcome of a call that nobody allowed.
        if outcome.permit.is_empty() {
            return Ok(LogEntry::Rejected);
        }
        let times = (self.app.clock.now(), loaded.replica.outcomes_wait_until(None));
        let recorded = match decide::record(loaded, client, client.own_creator(), outcome, times).await? {
            // The store will say what becomes of it, to nobody.
            Recording::Waiting(_) => return Ok(LogEntry::Recorded),
            Recording::Done(response) => response.result,
        };
        Ok(match RecordResult::try_from(recorded) {
            Ok(RecordResult::Recorded) => LogEntry::Recorded,
            Ok(RecordResult::Duplicate) => LogEntry::Duplicate,
            Ok(RecordResult::Late) => LogEntry::Late,
            _ => LogEntry::NotCounted,
        })
    }
}

#[tonic::async_trait]
impl AccessLogService for AccessLogs {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let loaded = self.app.loaded().ok_or_else(|| Failure::not_loaded(&self.app))?;
        let client = ClientInfo::of(&request);
        let slot = self.streams.take(&client)?;
        let mut closing = self.registry.closing();
        let mut messages = request.into_inner();
        loop {
            let message = tokio::select! {
                biased;
                () = closing.begun() => break,
                message = messages.message() => message.map_err(of_stream)?,
            };
            let Some(message) = message else { break };
            slot.check()?;
            if let Some(entries) = message.log_entries {
                self.take(loaded, &client, entries).await;
            }
        }
        Ok(Response::new(StreamAccessLogsResponse {}))
    }
}
