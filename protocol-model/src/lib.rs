//! A model of the protocol by which several replicas of breakerd agree on one Postgres (`docs/replication.md`), explored whole.

pub mod action;
pub mod checker;
pub mod message;
pub mod property;
pub mod replica;
pub mod rule;
pub mod setup;
pub mod setups;
pub mod step;
pub mod store;
pub mod story;
pub mod world;
