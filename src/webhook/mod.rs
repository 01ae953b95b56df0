//! Webhooks: transitions, posted to URLs, for those who cannot poll.
//!
//! What is posted is what is logged and counted: a transition that stands, by the one replica that says so
//! ([`crate::engine::TransitionSink`]). It goes into a bounded queue of each target whose filter takes it, and a task of each target
//! posts one after the other. Nothing that decides waits for it: when a queue is full, its oldest notification is dropped, and counted.
//!
//! Best effort. A notification is tried until the target takes it, rejects it, or it is too old. What is in a queue when the process dies
//! is lost. What was posted can be posted again: if the answer was lost, or, with several replicas, if the process died before it knew that the store had
//! answered. Receivers tell a repetition by its id, which is that of the transition, and the order of the transitions of a breaker by
//! their epochs: one replica posts in order, and replicas do not wait for each other.

mod backoff;
mod endpoint;
mod filter;
mod notice;
mod queue;
mod sender;
mod settings;
mod signature;
mod sink;
mod slack;
mod target;

pub use self::endpoint::{Endpoint, EndpointError, EndpointTexts, Proxy};
pub use self::filter::Filter;
pub use self::notice::Notice;
pub use self::sender::{JsonOf, RandomShare, Sender};
pub use self::settings::{
    Format, GIVE_UP_AFTER, QUEUE, SecretUrl, TARGETS_MAX, TIMEOUT, TargetSettings, URL_BYTES_MAX, UrlSource,
};
pub use self::signature::{SECRETS_MAX, Secrets};
pub use self::sink::{NotifyingSink, Webhooks};
pub use self::target::Target;
