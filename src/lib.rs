//! breakerd: the central circuit breaker service.
//!
//! This library is the program's own: `main.rs` and the tests use it. What others may build on is the
//! protocol in `proto/` and the `breaker` crate. docs/ARCHITECTURE.md is the map of the house.

pub mod app;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod engine;
pub mod http;
pub mod journal;
pub mod metrics;
pub mod proto;
pub mod replica;
pub mod store;
