//! A small incident manager, as an example of a service whose outside calls are protected by breakerd.
//!
//! Start with `sentinel.rs`: a client, and the same client with a breaker. The others are made in the same way.

pub mod app;
pub mod breakers;
pub mod call_error;
pub mod config;
pub mod enrich;
mod http;
pub mod incident;
pub mod metrics;
pub mod notify;
pub mod routes;
pub mod senders;
pub mod sentinel;
pub mod stand_ins;
pub mod store;
