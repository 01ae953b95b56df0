//! What operators did, and what must hold of how it came to stand.

use std::collections::BTreeMap;
use std::time::Duration;

use breaker::{Reason, State, Time};

use crate::store::StoredTransition;

/// An act that a replica began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    pub(super) replica: usize,
    pub(super) name: &'static str,
    pub(super) is_forced_open: bool,
    /// It sets an override for so long.
    pub(super) ttl: Option<Duration>,
    pub(super) begun_at: Time,
    /// When its operator was told that it is done, or on its way to the store; none: never.
    pub(super) ended_at: Option<Time>,
}

/// The acts of a run, by actor; each has its own.
#[derive(Default)]
pub(super) struct Acts {
    acts: BTreeMap<String, Act>,
    /// The process of a replica died: what it had not told is of another life.
    deaths: Vec<(usize, Time)>,
}

impl Acts {
    pub(super) fn begins(&mut self, actor: &str, act: Act) {
        self.acts.insert(actor.to_owned(), act);
    }

    pub(super) fn ended(&mut self, actor: &str, now: Time) {
        if let Some(act) = self.acts.get_mut(actor) {
            act.ended_at = Some(now);
        }
    }

    pub(super) fn dies(&mut self, replica: usize, now: Time) {
        self.deaths.push((replica, now));
    }

    fn lived(&self, replica: usize, from: Time, until: Time) -> bool {
        !self.deaths.iter().any(|(of, at)| *of == replica && (from..=until).contains(at))
    }

    /// Who set FORCED_OPEN on a breaker through this replica, in its present life.
    pub(super) fn held<'a>(
        &'a self,
        replica: usize,
        name: &'a str,
        now: Time,
    ) -> impl Iterator<Item = &'a str> + 'a {
        let acts = self
            .acts
            .iter()
            .filter(move |(_, act)| act.is_forced_open && act.replica == replica && act.name == name);
        acts.filter(move |(_, act)| act.ended_at.is_some_and(|ended| self.lived(replica, ended, now)))
            .map(|(actor, _)| &**actor)
    }

    /// What is wrong with how the acts on one breaker came to stand; `rows` are the history, the oldest first.
    pub(super) fn check(&self, name: &str, rows: &[&StoredTransition]) -> Vec<String> {
        let mut problems = Vec::new();
        let of = |row: &StoredTransition| {
            let actor = &row.attribution.as_ref()?.actor;
            Some((actor.clone(), *self.acts.get(actor)?))
        };
        let won: Vec<_> = rows.iter().filter(|row| row.epoch.is_some()).collect();
        let (mut forced_at, mut override_ends) = (None, None);
        for row in &won {
            if let (Some(forced_at), Some((actor, act))) = (forced_at, of(row))
                && row.from == State::ForcedOpen
                && row.to != State::ForcedOpen
                && act.begun_at < forced_at
            {
                problems.push(format!("{name}: {actor} ends an emergency stop that was set later"));
            }
            if row.reason == Reason::OverrideExpired
                && let Some((set_at, ttl)) = override_ends
                && row.occurred_at.since(set_at) < ttl
            {
                problems.push(format!("{name}: an override of {ttl:?} ended early"));
            }
            override_ends = of(row).and_then(|(_, act)| Some((row.occurred_at, act.ttl?)));
            forced_at = (row.to == State::ForcedOpen).then_some(row.occurred_at);
        }
        let stood: Vec<_> = won.iter().filter_map(|row| Some((of(row)?, row.epoch))).collect();
        for (actor, act) in self.acts.iter().filter(|(_, act)| act.name == name && act.is_forced_open) {
            if act.ended_at.is_some() && !stood.iter().any(|((of, _), _)| of == actor) {
                problems.push(format!("{name}: the emergency stop of {actor} never stood"));
            }
        }
        for ((first, before), epoch) in &stood {
            for ((second, after), later) in &stood {
                let Some(ended_at) = before.ended_at else { continue };
                let in_order = before.replica == after.replica
                    && ended_at < after.begun_at
                    && self.lived(before.replica, before.begun_at, after.begun_at);
                if in_order && epoch >= later && first != second {
                    problems.push(format!("{name}: {second} stands before {first}"));
                }
            }
        }
        problems
    }
}
