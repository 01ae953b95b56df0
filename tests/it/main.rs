//! Tests of the whole, in one binary: a file a concern.

mod config;
