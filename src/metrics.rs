//! stub
#![allow(missing_docs)]
/// What is counted beside the breakers.
#[derive(Debug, Default)]
pub struct Metrics {}
