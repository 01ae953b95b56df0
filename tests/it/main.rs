//! Everything that is tested from outside, in one binary: a file a concern.

#![expect(clippy::unwrap_used, reason = "a test that finds what it did not expect ends there")]

mod store_contract;
mod support;
