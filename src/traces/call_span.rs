//! The span of one call.

use breaker::{Time, WallOffset};
use opentelemetry::trace::{Status, TraceContextExt as _, TraceId};
use opentelemetry::{Context, ContextGuard, KeyValue};

use super::span_time::system_time;

/// The span of one call that is sampled. It ends when this is ended, or dropped.
#[derive(Debug)]
pub struct CallSpan {
    context: Context,
    offset: WallOffset,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// Answered, or failed by what its client sent.
    Answered,
    /// Failed by what breakerd could not do.
    Failed,
}

impl CallSpan {
    pub(super) fn new(context: Context, offset: WallOffset) -> Self {
        Self { context, offset }
    }

    /// Makes it the current span of this thread, until the guard is dropped.
    pub fn attach(&self) -> ContextGuard {
        self.context.clone().attach()
    }

    /// The trace that it is in: what an exemplar names.
    pub fn trace_id(&self) -> TraceId {
        self.context.span().span_context().trace_id()
    }

    /// The wall clock's time at `at` of the monotonic clock, as the times of this span are worked out.
    pub fn wall(&self, at: Time) -> Time {
        self.offset.to_wall(at)
    }

    /// Ends it at `now` of the monotonic clock, with the name of its status code.
    pub fn end(&self, code: &'static str, end: CallEnd, now: Time) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("rpc.response.status_code", code));
        if end == CallEnd::Failed {
            span.set_attribute(KeyValue::new("error.type", code));
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(system_time(self.offset, now));
    }
}
