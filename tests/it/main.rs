//! Everything that is tested from outside, in one binary: a file a concern.

mod store_contract;
mod support;
