//! A span for each transaction of the store.
//!
//! What a call asks of the store is within the span of the call. The journal writes transitions of many calls in one
//! transaction: its span is a child of a sampled transition that is alone in it; of several it is a trace of its own, with a link to
//! each. What breakerd reads by itself, again and again, has no span.

use std::future::Future;

use opentelemetry::trace::{FutureExt as _, Link, SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};

use super::tracer::{NewSpan, Tracer, current};
use crate::store::{Proposal, StoreError};

/// The span of one transaction that has begun.
#[derive(Debug)]
pub struct StoreSpan<'a> {
    tracer: &'a Tracer,
    context: Context,
    proposals: &'a [Proposal],
}

impl Tracer {
    /// The span of `operation`, which writes `proposals`. None: it is not sampled.
    pub fn store_operation<'a>(
        &'a self,
        operation: &'static str,
        proposals: &'a [Proposal],
    ) -> Option<StoreSpan<'a>> {
        let links = if proposals.is_empty() { Vec::new() } else { self.links().of(proposals) };
        let (parent, links) = match (current(), links.as_slice()) {
            (Some(parent), _) => (Some(parent), links),
            (None, [alone]) => (Some(alone.clone()), Vec::new()),
            (None, []) if proposals.is_empty() || !self.samples_root() => return None,
            (None, _) => (None, links),
        };
        let system = self.store().as_str();
        let mut attributes = vec![
            KeyValue::new("db.system.name", system),
            KeyValue::new("breakerd.store.operation", operation),
        ];
        if !proposals.is_empty() {
            let transitions = i64::try_from(proposals.len()).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("breakerd.store.transitions", transitions));
        }
        let links = links.into_iter().map(|span| Link::new(span, Vec::new(), 0)).collect();
        let name = format!("store {operation}").into();
        let span = NewSpan { name, kind: SpanKind::Client, attributes, links };
        let context = self.begin(span, parent.as_ref(), self.now());
        Some(StoreSpan { tracer: self, context, proposals })
    }
}

impl StoreSpan<'_> {
    /// Runs the transaction within it, and ends it with how that went.
    ///
    /// # Errors
    /// Those of `call`.
    pub async fn run<T>(self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let result = call.with_context(self.context.clone()).await;
        let span = self.context.span();
        match &result {
            Ok(_) => self.tracer.links().remove(self.proposals),
            Err(error) => {
                span.set_attribute(KeyValue::new("error.type", error_type(error)));
                span.set_status(Status::error(""));
            }
        }
        span.end_with_timestamp(self.tracer.now());
        result
    }
}

/// A few kinds: what failed in words is in the log.
fn error_type(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable { .. } => "store_unavailable",
        _ => "store_error",
    }
}
