//! Transitions that are posted: to a real HTTP server, by the tasks that a server runs, by the clock of the test.

mod delivery;
mod receiver;
mod secrets;
mod world;

pub(crate) use self::receiver::Receiver;
