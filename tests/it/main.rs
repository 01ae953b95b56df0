//! Everything that is tested from outside, in one binary: a file a concern.

#![expect(clippy::unwrap_used, reason = "a test that finds what it did not expect ends there")]

mod grpc_breakers;
mod grpc_health;
mod grpc_operations;
mod grpc_reflection;
mod grpc_server;
mod grpc_world;
