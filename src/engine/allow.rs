//! May a call go ahead? What the engine answers, and the permit that the call carries.

use breaker::{Awaited, Decision, Pass, State, Time, Verdict};

use super::Engine;
use super::entry::{Entry, Inner};
use super::limits::EngineError;
use super::permit::{Permit, PermitKind};
use super::shares::Creator;
use crate::protocol_rules::{Rule, holds};

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// What the machine decided.
    pub decision: Decision,
    /// What the call carries, if it may go ahead.
    pub permit: Option<Permit>,
    /// The revision of the thresholds in force.
    pub config_revision: u64,
}

/// Whether a call waits for the store, and which answer it was told to wait for when it looked before; none: it looks for the
/// first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It is decided now.
    Not(Option<Awaited>),
    /// It can wait.
    For(Option<Awaited>),
}

impl Engine {
    /// May a call go ahead? As [`Engine::allow_for`], on behalf of nobody.
    ///
    /// # Errors
    /// [`EngineError::Key`], [`EngineError::Full`].
    pub fn allow(&self, service: &str, name: &str, now: Time) -> Result<Allowed, EngineError> {
        self.allow_for(Creator::Server, service, name, now)
    }

    /// May a call go ahead? The breaker is created at its first use, and counts for `creator` then.
    ///
    /// # Errors
    /// [`EngineError::Key`], [`EngineError::Full`].
    pub fn allow_for(
        &self,
        creator: Creator<'_>,
        service: &str,
        name: &str,
        now: Time,
    ) -> Result<Allowed, EngineError> {
        self.try_allow_for(creator, service, name, Waits::Not(None), now)
    }

    /// As [`Engine::allow_for`], for a call that can wait for the store and look again: a decision that says so
    /// ([`Decision::waits`]) is not counted. Then `waits` is what that decision said.
    ///
    /// # Errors
    /// [`EngineError::Key`], [`EngineError::Full`].
    pub fn try_allow_for(
        &self,
        creator: Creator<'_>,
        service: &str,
        name: &str,
        waits: Waits,
        now: Time,
    ) -> Result<Allowed, EngineError> {
        let (Waits::Not(awaited) | Waits::For(awaited)) = waits;
        let id = self.seals.key_id(service, name);
        let owner = || self.owner(service, creator);
        self.registry.with_breaker(id, service, name, owner, now, |entry, inner| {
            inner.used(now);
            self.sync_wall(inner);
            if !self.is_enabled() {
                return self.allow_untracked(entry, inner, now);
            }
            let (mut decision, transitions) = inner.breaker.allow_again(awaited, now);
            if !holds(Rule::LeaseFromSend)
                && let Some(terms) = inner.breaker.snapshot().half_open
            {
                decision.lease = decision.lease.map(|_| terms.lease);
            }
            let goes_on_waiting = decision.waits.is_some() && matches!(waits, Waits::For(_));
            if decision.waits.is_some() && !goes_on_waiting {
                inner.breaker.note_rejected(1);
            }
            if !goes_on_waiting {
                inner.counters.decided(&decision);
            }
            self.settle(entry, inner, &transitions);
            let permit = decision.pass.map(|pass| self.permit(entry, inner, (pass, decision.branch), now));
            Allowed { decision, permit, config_revision: inner.breaker.config_revision() }
        })
    }

    /// The answer while breakerd is disabled as a whole: yes, and nothing will be recorded of it.
    fn allow_untracked(&self, entry: &Entry, inner: &Inner, now: Time) -> Allowed {
        let epoch = inner.breaker.epoch();
        let pass = Pass { epoch, number: 0, probe: None };
        let permit = Permit { kind: PermitKind::Untracked, ..self.permit(entry, inner, (pass, 0), now) };
        let decision = Decision {
            verdict: Verdict::Disabled,
            state: State::Disabled,
            epoch,
            pass: Some(pass),
            lease: None,
            timed_out_probes: 0,
            retry_after: None,
            would_deny: false,
            waits: None,
            branch: 0,
        };
        Allowed { decision, permit: Some(permit), config_revision: permit.config_revision }
    }

    fn permit(&self, entry: &Entry, inner: &Inner, (pass, branch): (Pass, u32), now: Time) -> Permit {
        Permit {
            timeline: self.timeline_of(&inner.breaker),
            key: entry.id,
            branch,
            kind: PermitKind::Tracked,
            pass,
            issuer: self.issuer,
            issued_at: now,
            config_revision: inner.breaker.config_revision(),
        }
    }
}
