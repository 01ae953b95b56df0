//! `envoy.service.accesslog.v3.AccessLogService`: how requests went that were allowed.
//!
//! A stream is read for as long as its proxy runs, and never waits for the store: what an outcome of a probe comes to is no matter to
//! the proxy. An entry that cannot be counted is counted as such, and ends no stream. Entries that never come end with the leases of
//! their permits.
//!
//! Messages are taken from the body as they are, and not by the service that tonic generates: that would decode all entries of a message
//! at once, end the stream at one that it cannot decode, and keep the memory of the largest message for as long as the stream is open.

use std::future::{Ready, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use breaker::Time;
use breakerd_api::envoy_api::envoy::service::accesslog::v3::{
    StreamAccessLogsMessage, StreamAccessLogsResponse,
};
use breakerd_api::v1::{RecordOutcomeRequest, RecordResult};
use breakerd_common::clock::WallTime;
use bytes::Bytes;
use hyper::body::Body as _;
use tonic::body::Body;
use tonic::server::{ClientStreamingService, Grpc};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::super::batch_budget::BatchBudget;
use super::super::client_info::ClientInfo;
use super::super::decide::{self, Recording};
use super::super::gzip::PREFIX_BYTES;
use super::super::health::HealthRegistry;
use super::super::request_body::RequestBody;
use super::super::status::Failure;
use super::super::stream_limiter::{StreamLimiter, StreamSlot};
use super::outcome;
use super::wire::{Logged, entries};
use crate::app::{App, Loaded};
use crate::metrics::LogEntry;

/// When breakerd stops: the time without a message after which a stream ends. A proxy under load sends its entries in shorter ones, and
/// what is on its way takes less.
const QUIET: Duration = Duration::from_millis(100);

/// The longest that a stream is read when breakerd stops: of a proxy that is never quiet. What has come takes less, and until the end
/// this replica answers no checks.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// The service.
pub(in crate::grpc) struct AccessLogs {
    app: Arc<App>,
    streams: StreamLimiter,
    registry: Arc<HealthRegistry>,
    /// How long a stream without entries goes on for a client that has lost its rights.
    rights_checked_every: Duration,
}

impl AccessLogs {
    pub(super) fn new(
        app: Arc<App>,
        streams: StreamLimiter,
        registry: Arc<HealthRegistry>,
        rights_checked_every: Duration,
    ) -> Self {
        Self { app, streams, registry, rights_checked_every }
    }

    /// Reads one stream to its end, and answers it.
    pub(in crate::grpc) async fn answer(&self, request: http::Request<RequestBody>) -> http::Response<Body> {
        let (parts, body) = request.into_parts();
        let ended = Ended(self.read(ClientInfo::in_extensions(&parts.extensions), body).await);
        let codec = ProstCodec::<StreamAccessLogsResponse, StreamAccessLogsMessage>::default();
        Grpc::new(codec).client_streaming(ended, http::Request::from_parts(parts, Body::empty())).await
    }

    async fn read(&self, client: ClientInfo, mut body: RequestBody) -> Result<(), Status> {
        let loaded = self.app.loaded().ok_or_else(|| Failure::not_loaded(&self.app))?;
        let slot = self.streams.take(&client)?;
        let mut closing = self.registry.closing();
        loop {
            let message = tokio::select! {
                biased;
                () = closing.begun() => return self.drain(loaded, &client, &slot, &mut body).await,
                message = next_message(&mut body) => message?,
                // Nothing has come; its rights are checked all the same.
                () = tokio::time::sleep(self.rights_checked_every) => Some(Bytes::new()),
            };
            slot.check()?;
            let Some(message) = message else { break };
            self.take(loaded, &client, &message).await?;
        }
        Ok(())
    }

    /// Takes in what has come, and is on its way, when breakerd stops. The proxy sends what follows on a stream to another one.
    async fn drain(
        &self,
        loaded: &Loaded,
        client: &ClientInfo,
        slot: &StreamSlot,
        body: &mut RequestBody,
    ) -> Result<(), Status> {
        let end = self.app.clock.now() + DRAIN_MAX;
        while self.app.clock.now() < end {
            let Ok(message) = tokio::time::timeout(QUIET, next_message(body)).await else { break };
            slot.check()?;
            let Some(message) = message? else { break };
            self.take(loaded, client, &message).await?;
        }
        Ok(())
    }

    /// Records the outcomes of one message, each as it is read.
    async fn take(&self, loaded: &Loaded, client: &ClientInfo, message: &[u8]) -> Result<(), Failure> {
        let wall = WallTime(self.app.clock.wall());
        let wait_until = loaded.replica.outcomes_wait_until(None);
        let mut now = self.app.clock.now();
        let mut budget = BatchBudget::default();
        for entry in entries(message) {
            let (logged, entry) = entry.map_err(|_| cut_off())?;
            if budget.must_yield() {
                tokio::task::yield_now().await;
            }
            if budget.must_read_clock() {
                now = self.app.clock.now();
            }
            let outcome = match logged {
                Logged::Http => outcome::of_http(entry, wall),
                Logged::Tcp => outcome::of_tcp(entry),
            };
            let counted = match outcome {
                Err(counted) => counted,
                Ok(outcome) => {
                    let recorded = self.record(loaded, client, &outcome, (now, wait_until)).await;
                    recorded.unwrap_or_else(|failure| {
                        budget.failed();
                        not_counted(&failure)
                    })
                }
            };
            self.app.metrics.envoy.count(counted);
        }
        Ok(())
    }

    async fn record(
        &self,
        loaded: &Loaded,
        client: &ClientInfo,
        outcome: &RecordOutcomeRequest,
        times: (Time, Time),
    ) -> Result<LogEntry, Failure> {
        // Without one it would be the outcome of a call that nobody allowed.
        if outcome.permit.is_empty() {
            return Ok(LogEntry::Rejected);
        }
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

#[cold]
fn cut_off() -> Failure {
    Failure::Undecodable { problem: "message of an access log is cut off".to_owned() }
}

/// What an entry counts as whose outcome is not taken in: the fault is its own, or breakerd's.
#[cold]
fn not_counted(failure: &Failure) -> LogEntry {
    tracing::debug!(reason = failure.reason(), "entry of an access log is not counted");
    match failure {
        Failure::Invalid(_) | Failure::UnknownPermitKey => LogEntry::Rejected,
        _ => LogEntry::Failed,
    }
}

/// The next message; none: the proxy has ended its stream.
async fn next_message(body: &mut RequestBody) -> Result<Option<Bytes>, Status> {
    // A frame of it is a whole message behind its prefix, or the trailers.
    match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        Some(Ok(frame)) => Ok(frame.into_data().ok().map(|message| message.slice(PREFIX_BYTES..))),
        Some(Err(status)) if status.code() != Code::Cancelled => Err(status),
        Some(Err(_)) | None => Ok(None),
    }
}

/// How a stream has ended. It is answered by tonic, which reads nothing more of it.
struct Ended(Result<(), Status>);

impl ClientStreamingService<StreamAccessLogsMessage> for Ended {
    type Response = StreamAccessLogsResponse;
    type Future = Ready<Result<Response<StreamAccessLogsResponse>, Status>>;

    fn call(&mut self, _: Request<Streaming<StreamAccessLogsMessage>>) -> Self::Future {
        ready(self.0.clone().map(|()| Response::new(StreamAccessLogsResponse {})))
    }
}
