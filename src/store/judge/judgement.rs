//! What a batch comes to: what is to be written, and what to be answered.
//!
//! What of the history is kept as it happens ([`episode`], [`open_time`]) is worked out here too, where what stands is known.

use std::collections::BTreeMap;
use std::time::Duration;

use breaker::{EnteredBy, Key, Numbering, Snapshot, State, Time};

use super::decision::{Entry, EntryDecision};
use super::guard::is_act;
use super::locked_rows::{BreakerState, Receipt, RowRevision};
use crate::store::episode::{self, EndedEpisode};
use crate::store::open_time::{OpenTime, open_time};
use crate::store::{Answer, Change, Proposal, TransitionId};

/// What is to be written, and what to be answered.
pub(in crate::store) struct Judgement<'a> {
    verdicts: Vec<Verdict>,
    /// Rows for the history, in order.
    pub(in crate::store) entries: Vec<Entry<'a>>,
    /// Breakers whose row is new or other than it was.
    pub(in crate::store) changed: BTreeMap<&'a Key, BreakerState>,
    /// Outages that are over, and the place in `entries` of what ended each.
    pub(in crate::store) ended: Vec<(usize, &'a Key, EndedEpisode)>,
    /// Time in OPEN to be added, by day (since the Unix epoch, in UTC) and breaker.
    pub(in crate::store) open_time: BTreeMap<(u64, &'a Key), OpenTime>,
    /// Every id that was not known, and the epoch that it won, if it won.
    pub(in crate::store) receipts: Vec<(&'a TransitionId, Option<u64>)>,
}

enum Verdict {
    Won { epoch: u64, revision: RowRevision },
    Lost { present: Snapshot },
}

impl<'a> Judgement<'a> {
    /// Nothing yet, with room for so many proposals.
    pub(super) fn with_capacity(proposals: usize) -> Self {
        Self {
            verdicts: Vec::with_capacity(proposals),
            entries: Vec::with_capacity(proposals),
            changed: BTreeMap::new(),
            ended: Vec::new(),
            open_time: BTreeMap::new(),
            receipts: Vec::with_capacity(proposals),
        }
    }

    /// Takes down what was decided of a proposal that was not known, and brings its breaker's row up to date.
    pub(super) fn take(
        &mut self,
        proposal: &'a Proposal,
        current: &mut BreakerState,
        mut decision: EntryDecision<'a>,
    ) {
        self.follow(proposal, current, &mut decision);
        self.entries.extend(decision.entry);
        let won = match decision.receipt {
            Receipt::Won { epoch, .. } => Some(epoch),
            Receipt::Lost => None,
        };
        self.receipts.push((&proposal.id, won));
    }

    /// Answers the next proposal. What lost is told what stands.
    pub(super) fn answer(&mut self, receipt: Receipt, current: &BreakerState) {
        self.verdicts.push(match receipt {
            Receipt::Won { epoch, revision } => Verdict::Won { epoch, revision },
            Receipt::Lost => Verdict::Lost { present: current.snapshot.clone() },
        });
    }

    /// Brings what stands up to date, and with it what is kept of the outage there and of the time in OPEN.
    fn follow(
        &mut self,
        proposal: &'a Proposal,
        current: &mut BreakerState,
        decision: &mut EntryDecision<'a>,
    ) {
        let Some(entry) = &mut decision.entry else { return };
        let key = &proposal.key;
        let next = decision.next.take();
        let before = current.episode.take();
        let (episode, ended) = match (&proposal.change, &next) {
            (Change::Transition(transition), Some(next)) => {
                let (from, at) = (entry.from, entry.occurred_at);
                entry.lasted = match proposal.numbering {
                    Numbering::Own => episode::lasted(transition, &current.snapshot, at),
                    // The clock of the store is the one that counts, and the replica's began later.
                    Numbering::Store => episode::by_history(transition, &current.snapshot, at),
                };
                self.add_open_time(key, from, at, entry.lasted.unwrap_or_default());
                episode::follow(before.clone(), transition, (from, next.epoch, at), entry.lasted)
            }
            (Change::Gap(gap), next) => {
                if let Some(next) = next {
                    // When it was left is among what is missing: before the next state was entered, at the latest.
                    let until = next.entered_at.min(gap.at);
                    let lasted = until.since(current.snapshot.entered_at);
                    self.add_open_time(key, current.snapshot.state, until, lasted);
                }
                episode::follow_gap(before.clone(), gap.lost_transitions, next.as_ref())
            }
            (Change::Transition(_), None) => (before.clone(), None),
        };
        self.ended.extend(ended.map(|ended| (self.entries.len(), key, ended)));
        let is_other = next.is_some() || episode != before;
        current.episode = episode;
        if let Some(next) = next {
            let is_act = match &proposal.change {
                Change::Transition(transition) => is_act(transition.reason),
                // There may have been one among what is missing.
                Change::Gap(_) => true,
            };
            if is_act {
                current.act_epoch = next.epoch;
            }
            current.first_probe_at = None;
            current.reconciled = decision.reconciled;
            current.snapshot = next;
            current.entered_by = match &proposal.change {
                Change::Transition(transition) => {
                    Some(EnteredBy { from: entry.from, ..transition.entered_by() })
                }
                Change::Gap(_) => None,
            };
            current.decided_by = proposal.decided_by();
        }
        if is_other {
            self.changed.insert(key, current.clone());
        }
    }

    fn add_open_time(&mut self, key: &'a Key, state: State, until: Time, lasted: Duration) {
        for part in open_time(state, until, lasted) {
            let sum = self.open_time.entry((part.day, key)).or_insert(OpenTime {
                day: part.day,
                open_us: 0,
                openings: 0,
            });
            sum.open_us += part.open_us;
            sum.openings += part.openings;
        }
    }

    /// The answers, once the number of the transaction is known; none when it wrote nothing to the history.
    pub(in crate::store) fn answers(self, revision: Option<u64>) -> Vec<Answer> {
        let number = |stand| match stand {
            RowRevision::Here => revision.unwrap_or_default(),
            RowRevision::At(revision) => revision,
        };
        self.verdicts
            .into_iter()
            .map(|verdict| match verdict {
                Verdict::Won { epoch, revision } => Answer::Won { epoch, revision: number(revision) },
                Verdict::Lost { present } => Answer::Lost { present },
            })
            .collect()
    }
}
