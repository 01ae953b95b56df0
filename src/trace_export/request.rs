//! What is sent, and what comes of it.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;

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

/// Spans that are sent together. They are encoded once, however often they are sent.
pub(super) struct Batch {
    /// An `ExportTraceServiceRequest`.
    pub(super) message: Bytes,
    /// How many spans are in it.
    pub(super) spans: usize,
}

impl Batch {
    pub(super) fn of(spans: Vec<SpanData>, resource: &ResourceAttributesWithSchema) -> Self {
        let count = spans.len();
        let resource_spans = group_spans_by_resource_and_scope(spans, resource);
        let message = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        Self { message: message.into(), spans: count }
    }
}

/// What a collector answered.
pub(super) fn taken(response: ExportTraceServiceResponse) -> Taken {
    let partial = response.partial_success.unwrap_or_default();
    Taken {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or_default(),
        problem: partial.error_message,
    }
}
