//! breakerd: the central circuit breaker service.
//!
//! This library is the program's own: `main.rs` and the tests use it. What others may build on is the
//! protocol in `proto/` and the `breaker` crate. docs/ARCHITECTURE.md is the map of the code.

pub mod app;
pub mod auth;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod control;
pub mod data_dir;
pub mod engine;
pub mod feed;
pub mod grpc;
pub mod health;
pub mod http;
pub mod journal;
pub mod lifecycle;
pub mod listener;
pub mod local_snapshot;
pub mod log_throttle;
pub mod metrics;
pub mod override_reconciler;
pub mod pacer;
pub mod permit_keys;
mod protocol_rules;
pub mod rate_limiter;
pub mod replica;
pub mod retry_after;
pub mod roster;
pub mod runtime;
pub mod security;
pub mod server;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod trace_export;
pub mod traces;
pub mod transition_log;
pub mod trouble;
pub mod version;
pub mod webhook;
pub mod webhook_files;

/// As that of the program.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
