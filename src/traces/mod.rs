//! Spans of what breakerd does: one a call, one a transition, one a transaction of the store.
//!
//! # What is sampled
//! A caller that says in its `traceparent` whether it samples decides for its call. Without one, a share of the calls is taken. A
//! call that is not sampled costs the look at that header and nothing else: no id is drawn and no span is made, since
//! breakerd calls nobody who would go on with its trace. Without a [`Tracer`] a call costs a branch.
//!
//! # How a span finds its parent
//! The span of a call is the current one of its thread while its future is polled (`opentelemetry::Context`). The engine, which
//! knows no spans, calls its outbox within that poll; so does a handler its store.
//!
//! # Bounds
//! Ended spans wait in a queue of a fixed length, and are dropped and counted when it is full: nothing waits for who reads
//! it. A span has a fixed number of attributes, and a text of a caller in one is cut ([`bounded`]); a `tracestate` that is
//! longer than what the standard asks to pass on is dropped, and baggage is not read.

mod bounded;
mod call_span;
mod proposal_links;
mod queue;
mod recording_span;
mod sink;
#[cfg(test)]
mod span_fixture;
mod span_time;
mod store_span;
mod trace_parent;
mod tracer;

pub use bounded::bounded;
pub use call_span::{CallEnd, CallSpan};
pub use queue::{BATCH_MAX, EndedSpan, SpanQueue};
pub use sink::TracingSink;
#[cfg(test)]
pub(crate) use span_fixture::ended_span;
pub use store_span::StoreSpan;
pub use tracer::{StoreSystem, Tracer};

/// The version of the conventions that names of attributes follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";
