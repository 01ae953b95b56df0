//! The incident manager against real peers on loopback: HTTP and SMTP servers that misbehave, databases, and a real
//! breakerd.

#![expect(clippy::unwrap_used, reason = "in a test, what fails is what the test is for")]

mod api;
mod breakerd;
mod breakers;
mod config;
mod notify;
mod senders;
mod sentinel;
mod store;
mod support;
mod two_processes;
