//! What is sent, and what comes of it.

use std::error::Error;
use std::iter::successors;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use prost::Message as _;

use crate::traces::EndedSpan;

/// How many spans are turned into messages together.
const ENCODED_TOGETHER: usize = 16;
/// More than the message of a span of a decision takes.
const SPAN_BYTES: usize = 512;
/// Bytes of an answer: it holds a number and a sentence.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of what a collector says, in the log.
const PROBLEM_BYTES_MAX: usize = 512;

/// A batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(super) struct ExportError {
    /// What the collector, or the way to it, says.
    pub(super) problem: String,
    /// Whether it may be taken later.
    pub(super) can_retry: bool,
}

impl ExportError {
    /// One that would fail again.
    pub(super) fn permanent(problem: String) -> Self {
        Self { problem, can_retry: false }
    }

    /// The connection failed, or there was none.
    pub(super) fn lost(error: &(dyn Error + 'static)) -> Self {
        let causes = successors(Some(error), |error| (*error).source()).map(ToString::to_string);
        Self { problem: shortened(&causes.collect::<Vec<_>>().join(": ")), can_retry: true }
    }
}

/// A batch that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many of its spans were not.
    pub(super) rejected: u64,
    /// What the collector says of that; of none that were, a warning. Empty: nothing.
    pub(super) problem: String,
}

impl Taken {
    /// With all of its spans.
    pub(super) fn all() -> Self {
        Self { rejected: 0, problem: String::new() }
    }
}

/// Spans that are sent together. They are encoded once, however often they are sent.
pub(super) struct Batch {
    /// An `ExportTraceServiceRequest`.
    pub(super) message: Bytes,
    /// How many spans are in it.
    pub(super) spans: usize,
}

impl Batch {
    pub(super) fn of(spans: Vec<EndedSpan>, resource: &ResourceAttributesWithSchema) -> Self {
        let count = spans.len();
        let mut message = Vec::with_capacity(count * SPAN_BYTES);
        // A few at a time: the messages of a whole batch are about a megabyte, which is cold each time. What is encoded one
        // behind the other is one request: its only field is a list.
        let mut spans = spans.into_iter().map(EndedSpan::into_data);
        loop {
            let some: Vec<_> = spans.by_ref().take(ENCODED_TOGETHER).collect();
            if some.is_empty() {
                break;
            }
            let resource_spans = group_spans_by_resource_and_scope(some, resource);
            message.extend_from_slice(&ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        }
        Self { message: message.into(), spans: count }
    }
}

/// What a collector answered.
pub(super) fn taken(response: ExportTraceServiceResponse) -> Taken {
    let partial = response.partial_success.unwrap_or_default();
    Taken {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or_default(),
        problem: shortened(&partial.error_message),
    }
}

/// As the log has it.
pub(super) fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(PROBLEM_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;
    use opentelemetry_sdk::Resource;

    use super::*;
    use crate::traces::ended_span;

    #[test]
    fn a_batch_is_one_request_with_all_spans_in_their_order() {
        let resource =
            Resource::builder_empty().with_attribute(KeyValue::new("service.name", "breakerd")).build();
        let names: Vec<String> = (0..=2 * ENCODED_TOGETHER).map(|span| format!("span {span}")).collect();
        for count in [0, 1, ENCODED_TOGETHER, names.len()] {
            let spans = names[..count].iter().map(|name| ended_span(name)).collect();
            let batch = Batch::of(spans, &(&resource).into());
            assert_eq!(batch.spans, count);
            let request = ExportTraceServiceRequest::decode(batch.message).unwrap();
            let mut decoded = Vec::new();
            for of_resource in request.resource_spans {
                assert_eq!(of_resource.resource.unwrap().attributes.len(), 1);
                for of_scope in of_resource.scope_spans {
                    decoded.extend(of_scope.spans.into_iter().map(|span| span.name));
                }
            }
            assert_eq!(decoded, names[..count]);
        }
    }
}
