//! The gRPC transport: convert, call, convert.
//!
//! # The flow of a call
//! A connection reads what has arrived, a few kilobytes a turn (`read_budget`), before any call of it is answered ([`serve`] and
//! `inline_executor`), so that the responses leave together. For each call, `call` finds the method, authenticates and authorizes
//! the caller (`rights`), reads the client's deadline, takes a slot among the calls in flight (`call_slot`), and passes the request to
//! the service that tonic generated. That reads the message, whose bytes are counted on the way (`request_body`), decodes it and calls
//! the handler (`breakers`, `config`, `operations`, `health`, `reflection`). Afterwards it counts the call, replaces the framework's
//! own errors by breakerd's, and keeps the slot until the response is sent (`response_body`).
//!
//! Nothing on this path waits, starts a timer, makes a span or takes a lock of its own unless the handler has
//! to wait: that is what lets a decision cost little more than an empty call.
//!
//! `Status` is made in `status` alone, and `convert` alone sees both the wire's types and the domain's.

mod batch_budget;
mod breakers;
mod call;
mod call_metrics;
mod call_slot;
mod call_span;
mod client_info;
mod config;
mod convert;
mod deadline;
mod decide;
mod destination;
mod encoding_headers;
mod envoy;
mod gzip;
mod health;
mod history_reads;
mod inline_executor;
mod limits;
mod notice_json;
mod off_thread;
mod operations;
mod page;
mod read_budget;
mod reflection;
mod reporters;
mod request_body;
mod response_body;
mod rights;
mod sampled_calls;
mod serve;
mod services;
mod status;
mod stream_limiter;
mod suggestion;
mod unknown_name;
mod violations;
mod watch;
mod wire_fields;

pub use call_metrics::{BOUNDS_SECONDS, CallMetrics, CallView, Method};
pub use envoy::EnvoySettings;
pub use health::{HealthRegistry, Part, Serving};
pub use limits::Limits;
pub use notice_json::notice_json;
pub use reflection::ServeError;
pub use serve::serve;
pub use services::GrpcServices;
