//! What is sent, and what comes of it.

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::SpanData;

/// A batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(super) struct ExportError {
    /// What the collector, or the way to it, says.
    pub(super) problem: String,
    /// Whether it may be taken later.
    pub(super) can_retry: bool,
}

/// A batch that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many of its spans were not.
    pub(super) rejected: u64,
    /// What the collector says of that.
    pub(super) problem: String,
}

/// The message of a batch.
pub(super) fn of(spans: Vec<SpanData>, resource: &ResourceAttributesWithSchema) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(spans, resource) }
}

/// What a collector answered.
pub(super) fn taken(response: ExportTraceServiceResponse) -> Taken {
    let partial = response.partial_success.unwrap_or_default();
    Taken {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or_default(),
        problem: partial.error_message,
    }
}
