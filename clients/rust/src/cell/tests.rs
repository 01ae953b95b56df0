//! A client against a breakerd in memory, with a clock that the tests set.

mod epochs;
mod interleavings;
mod stories;
mod world;
