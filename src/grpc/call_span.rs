//! The span of a call: which calls have one, and what is in it.
//!
//! The transport attaches it while the handler runs, so a handler adds to it without being handed it. Without a tracer each of
//! these is a branch.

use breaker::Time;
use breakerd_api::enums::ApiEnum as _;
use breakerd_api::v1::{
    AllowRequestResponse, AllowRequestsResult, RecordOutcomeRequest, RecordOutcomeResponse,
    RecordOutcomesResult, allow_requests_result, record_outcomes_result,
};
use http::HeaderMap;
use opentelemetry::KeyValue;
use tonic::Code;

use super::call_metrics::{Method, code_name};
use super::rights;
use super::sampled_calls::SampledCall;
use crate::app::App;
use crate::engine::Engine;
use crate::traces::{CallEnd, CallSpan, bounded};

/// The span of a call that is sampled. Health checks and reflection have none: they need no authorization, and come all the
/// time.
pub(super) fn begin(app: &App, method: Method, headers: &HeaderMap, started: Time) -> Option<Box<CallSpan>> {
    let tracer = app.tracer.as_ref()?;
    if rights::is_health_or_reflection(method) || method == Method::Other {
        return None;
    }
    tracer.call(method.full_name(), headers, started).map(Box::new)
}

/// What is kept of a call that ends at `now`, beside what is counted of it.
pub(super) fn sampled_call(span: &CallSpan, now: Time) -> SampledCall {
    SampledCall { trace_id: span.trace_id(), ended_at: span.wall(now) }
}

/// Ends it with the code of the response.
pub(super) fn end(span: &CallSpan, code: Code, now: Time) {
    let end = match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => CallEnd::Failed,
        _ => CallEnd::Answered,
    };
    span.end(code_name(code), end, now);
}

/// The breaker that a call is about.
pub(super) fn breaker(app: &App, service: &str, name: &str) {
    let Some(tracer) = &app.tracer else { return };
    tracer.note(|| named(service, name));
}

/// The breaker that an outcome is about: a request may name it by its permit alone.
pub(super) fn breaker_of_outcome(app: &App, engine: &Engine, request: &RecordOutcomeRequest) {
    let Some(tracer) = &app.tracer else { return };
    tracer.note(|| {
        if !request.service.is_empty() {
            return named(&request.service, &request.name);
        }
        engine.key_of_permit(&request.permit).map_or_else(Vec::new, |key| named(key.service(), key.name()))
    });
}

fn named(service: &str, name: &str) -> Vec<KeyValue> {
    vec![KeyValue::new("breakerd.service", bounded(service)), KeyValue::new("breakerd.name", bounded(name))]
}

/// What was decided.
pub(super) fn decision(app: &App, response: &AllowRequestResponse) {
    let Some(tracer) = &app.tracer else { return };
    tracer.note(|| {
        let mut attributes = vec![
            KeyValue::new("breakerd.allowed", response.allowed),
            KeyValue::new("breakerd.state", response.state().name()),
            KeyValue::new("breakerd.reason", response.reason().name()),
            KeyValue::new("breakerd.epoch", number(response.epoch)),
        ];
        if response.decided_alone {
            attributes.push(KeyValue::new("breakerd.store_unavailable", true));
        }
        attributes
    });
}

/// What became of an outcome.
pub(super) fn outcome(app: &App, outcome: breakerd_api::v1::Outcome, response: &RecordOutcomeResponse) {
    let Some(tracer) = &app.tracer else { return };
    tracer.note(|| {
        vec![
            KeyValue::new("breakerd.outcome", outcome.name()),
            KeyValue::new("breakerd.result", response.result().name()),
            KeyValue::new("breakerd.state", response.state().name()),
            KeyValue::new("breakerd.epoch", number(response.epoch)),
        ]
    });
}

/// What was decided of a batch: how many there were, how many are allowed, and how many are none of both.
pub(super) fn decisions(app: &App, results: &[AllowRequestsResult]) {
    use allow_requests_result::Result::{Error, Response};
    let Some(tracer) = &app.tracer else { return };
    tracer.note(|| {
        let allowed = |it: &&AllowRequestsResult| matches!(&it.result, Some(Response(it)) if it.allowed);
        let failed = |it: &&AllowRequestsResult| matches!(it.result, Some(Error(_)));
        vec![
            KeyValue::new("breakerd.batch.size", count(results.len())),
            KeyValue::new("breakerd.batch.allowed", count(results.iter().filter(allowed).count())),
            KeyValue::new("breakerd.batch.errors", count(results.iter().filter(failed).count())),
        ]
    });
}

/// What became of a batch of outcomes.
pub(super) fn outcomes(app: &App, results: &[RecordOutcomesResult]) {
    use record_outcomes_result::Result::Error;
    let Some(tracer) = &app.tracer else { return };
    tracer.note(|| {
        let failed = |it: &&RecordOutcomesResult| matches!(it.result, Some(Error(_)));
        vec![
            KeyValue::new("breakerd.batch.size", count(results.len())),
            KeyValue::new("breakerd.batch.errors", count(results.iter().filter(failed).count())),
        ]
    });
}

fn count(items: usize) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
