//! What the breakers of a client share, and what of it a decision is made with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use breaker::Time;

use crate::changes::StateChanges;
use crate::clock::Clock;
use crate::link::Link;
use crate::outbox::Outbox;
use crate::wake::Wake;

/// What decisions are made with, beside the breaker itself.
#[derive(Debug)]
pub(crate) struct Context<'a, B> {
    pub(crate) now: Time,
    /// Whether breakerd rules.
    pub(crate) live: bool,
    /// When it was last heard. None: never.
    pub(crate) last_heard: Option<Time>,
    /// `enabled` of breakerd's configuration.
    pub(crate) enabled: bool,
    pub(crate) around: &'a Around<B>,
}

/// What the breakers of a client share. `B` is a breaker.
#[derive(Debug)]
pub(crate) struct Around<B> {
    pub(crate) clock: Clock,
    pub(crate) link: Link,
    pub(crate) outbox: Outbox<B>,
    pub(crate) changes: StateChanges,
    /// Wakes who sends.
    pub(crate) wake: Wake,
    pub(crate) enabled: AtomicBool,
}

impl<B> Around<B> {
    pub(crate) fn context(&self) -> Context<'_, B> {
        let now = self.clock.now();
        Context {
            now,
            live: self.link.live(now),
            last_heard: self.link.last_heard(),
            enabled: self.enabled.load(Ordering::Acquire),
            around: self,
        }
    }
}

impl<B> Context<'_, B> {
    /// Whether what breakerd said last is older than `at_most`.
    pub(super) fn is_older_than(&self, at_most: Duration) -> bool {
        self.last_heard.is_none_or(|heard| self.now.since(heard) > at_most)
    }
}
