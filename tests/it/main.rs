//! Tests of the whole, from outside: one binary, a file a concern.

#![expect(clippy::unwrap_used, reason = "in a test, what fails is what the test is for")]

mod config;
mod house;
mod http_health;
mod http_metrics;
mod http_server;
mod http_world;
mod store_contract;
mod support;
