//! Tests of the whole, from outside: one binary, a file a concern.

#![expect(clippy::unwrap_used, reason = "in a test, what fails is what the test is for")]

mod api_docs;
mod audit;
mod auth;
mod auth_files;
mod auth_fuzz;
mod auth_limits;
mod certificates;
mod client_docs;
mod config;
mod config_layers;
mod config_limit;
mod control;
mod crash;
mod ctl;
mod ctl_operate;
mod grpc_breakers;
mod grpc_by_hand;
mod grpc_config;
mod grpc_health;
mod grpc_operations;
mod grpc_quorum;
mod grpc_reflection;
mod grpc_server;
mod grpc_world;
mod house;
mod http_health;
mod http_metrics;
mod http_server;
mod http_world;
mod overrides;
mod overrides_killed;
mod process;
mod raw;
mod road;
mod sql_docs;
mod start;
mod store_contract;
mod support;
mod tls;
mod watch_breakers;
mod watch_config;
mod watch_rights;
mod watch_tokens;
mod watch_transitions;
