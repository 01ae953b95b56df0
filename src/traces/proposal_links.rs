//! Which sampled transitions are on their way to the store, for the span of the transaction that brings them there.
//!
//! Known by breaker, time and state, and not by the number that the journal gives them: its writer may have taken a transition to
//! the store before that number is known here.

use std::collections::{HashMap, VecDeque};

use breaker::{Key, State, Time, Transition};
use opentelemetry::trace::SpanContext;
use parking_lot::Mutex;

use crate::store::{Change, Proposal};

/// While the store is away the oldest are forgotten: their transactions are not linked.
const LINKS_MAX: usize = 1_024;

/// The spans of transitions that the store does not have yet.
#[derive(Debug, Default)]
pub(super) struct ProposalLinks(Mutex<Links>);

#[derive(Debug, Default)]
struct Links {
    spans: HashMap<TransitionKey, SpanContext>,
    /// The oldest first. Those that the store has may be among them still.
    order: VecDeque<TransitionKey>,
}

/// What a transition is known by.
type TransitionKey = (Key, Time, State);

impl ProposalLinks {
    pub(super) fn add(&self, key: &Key, transition: &Transition, span: SpanContext) {
        let known = known(key, transition);
        let mut links = self.0.lock();
        if links.order.len() == LINKS_MAX
            && let Some(oldest) = links.order.pop_front()
        {
            links.spans.remove(&oldest);
        }
        links.order.push_back(known.clone());
        links.spans.insert(known, span);
    }

    /// The spans of those transitions that are among `proposals`.
    pub(super) fn of(&self, proposals: &[Proposal]) -> Vec<SpanContext> {
        let links = self.0.lock();
        if links.spans.is_empty() {
            return Vec::new();
        }
        proposals.iter().filter_map(|proposal| links.spans.get(&of_proposal(proposal)?).cloned()).collect()
    }

    /// The store has these.
    pub(super) fn remove(&self, proposals: &[Proposal]) {
        let mut links = self.0.lock();
        for known in proposals.iter().filter_map(of_proposal) {
            links.spans.remove(&known);
        }
    }

    /// It is on no way to the store.
    pub(super) fn forget(&self, key: &Key, transition: &Transition) {
        self.0.lock().spans.remove(&known(key, transition));
    }
}

fn known(key: &Key, transition: &Transition) -> TransitionKey {
    (key.clone(), transition.at, transition.to())
}

fn of_proposal(proposal: &Proposal) -> Option<TransitionKey> {
    match &proposal.change {
        Change::Transition(transition) => Some(known(&proposal.key, transition)),
        Change::Gap(_) => None,
    }
}
