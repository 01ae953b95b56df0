//! Who wins: proposals against the rows that stand, pure.
//!
//! Every store does the same around it: lock the revision, read the rows of the breakers that a batch names, look up which of its
//! ids are known, let [`judge`] decide, and write down what it decided. So the rules stand once, and the
//! stores hold nothing but rows.
//!
//! * A known id gets its first verdict, and nothing is written for it.
//! * [`Numbering::Own`]: the change comes with its epoch, and wins when the row's is lower. The row may lag by
//!   more than one: the journal was full in between.
//! * [`Numbering::Store`]: the change wins when the row has the epoch and the state that it names, and gets
//!   the next epoch; times are the store's. OPEN waits from when it was decided, as its age says; one whose wait is over by
//!   now has lost. A wait that is not over by the store's clock is not over. An operator's act wins over all that happened by itself since, and loses if another act came between: the
//!   operator had not seen it. FORCED_OPEN always wins, as an emergency stop that is lost does more harm than one that has
//!   to be reset twice.
//! * What lost is kept in the history as superseded when it was decided alone, when it came with a number,
//!   or when what stands is not what it wanted to bring about. So is what came too early, or was refused, if it was sent before: a
//!   store that has gone back since may have taken it, and callers were told of it.
//! * What a replica decided alone, while no store answered it ([`Proposal::store_unavailable`]), is history: it stood on a branch
//!   of that replica only. The exception is OPEN whose wait is not over, which is taken as a trip, if the row still is CLOSED at the
//!   epoch that the branch began at.
//! * A breaker without a row is CLOSED at epoch 0, or at an epoch that a replica knows of a row that was let go of.
//! * What was decided in another timeline goes into the history and changes no row, but for what no store had answered and
//!   denies: [`timelines`].
//! * Shadows change no row: they always win, at the epoch that they were seen in. So does a gap in the history, unless
//!   it knows a state of a later epoch than the row's, which then takes the row. Where the epochs are numbered here, only a state
//!   that denies does, and FORCED_OPEN of an operator whatever came since.
//!
//! What of the history is kept as it happens ([`episode`]) is worked out here too, where what stands is known.

mod guard;
pub(super) mod probes;
mod service;
mod timelines;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use breaker::{EnteredBy, Key, Numbering, Reason, Snapshot, State, Time, Transition};

use self::guard::{Guarded, Outcome, compare, is_act, is_of_service};
pub(super) use self::service::{ServiceOverrides, named_services};
use super::episode::{self, EndedEpisode, Episode, OpenTime};
use super::proposal::is_emergency_stop;
use super::{Answer, Change, DecidedBy, Gap, Proposal, TransitionId};
use crate::protocol_rules::{Rule, holds};

/// What is known before judging, read under the locks.
#[derive(Default)]
pub(super) struct LockedRows<'a> {
    /// The timeline of the store; none: one process has it for itself, and knows its past.
    pub(super) timeline: Option<u32>,
    /// The breakers that the batch names and that have a row.
    pub(super) present: BTreeMap<&'a Key, BreakerState>,
    /// The changes of the batch that were answered before.
    pub(super) known: HashMap<&'a TransitionId, Receipt>,
    /// The overrides of those services that the batch brings to their breakers.
    pub(super) services: ServiceOverrides,
    /// The largest epoch of breakers whose rows were let go of: one without a row may be at any epoch up to it.
    pub(super) let_go_epoch: u64,
}

/// What the row of a breaker holds.
#[derive(Debug, Clone)]
pub(super) struct BreakerState {
    /// Whether there is a row yet.
    pub(super) is_stored: bool,
    pub(super) snapshot: Snapshot,
    /// How it came into this state; none: not known.
    pub(super) entered_by: Option<EnteredBy>,
    /// What brought it into this state, if perhaps no journal has it; none: a journal has, or it is not known.
    pub(super) decided_by: Option<DecidedBy>,
    /// The outage that lasts.
    pub(super) episode: Option<Episode>,
    /// The epoch of the last act of an operator; 0: there was none, or none that is known.
    pub(super) act_epoch: u64,
    /// `HALF_OPEN`: when the first of its probes was given; none: none was.
    pub(super) first_probe_at: Option<Time>,
    /// The epoch of an earlier timeline that the row stands for; none: there was a transition in the present timeline.
    pub(super) reconciled: Option<u64>,
}

/// What a change was answered when it first came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Receipt {
    Won { epoch: u64, revision: RowRevision },
    Lost,
}

/// Which transaction wrote a change.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowRevision {
    /// The one that is being made.
    Here,
    /// One that was.
    At(u64),
}

/// What is to be written, and what to be answered.
pub(super) struct Judgement<'a> {
    verdicts: Vec<Verdict>,
    /// Rows for the history, in order.
    pub(super) entries: Vec<Entry<'a>>,
    /// Breakers whose row is new or other than it was.
    pub(super) changed: BTreeMap<&'a Key, BreakerState>,
    /// Outages that are over, and the place in `entries` of what ended each.
    pub(super) ended: Vec<(usize, &'a Key, EndedEpisode)>,
    /// Time in OPEN to be added, by day (since the Unix epoch, in UTC) and breaker.
    pub(super) open_time: BTreeMap<(u64, &'a Key), OpenTime>,
    /// Every id that was not known, and the epoch that it won, if it won.
    pub(super) receipts: Vec<(&'a TransitionId, Option<u64>)>,
}

enum Verdict {
    Won { epoch: u64, revision: RowRevision },
    Lost { present: Snapshot },
}

/// A row of the history on its way there.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) proposal: &'a Proposal,
    pub(super) from: State,
    pub(super) to: State,
    pub(super) epoch: Option<u64>,
    pub(super) base_epoch: u64,
    pub(super) occurred_at: Time,
    /// How long the state that was left had lasted; none: not known, or no state was left.
    pub(super) lasted: Option<Duration>,
    /// It lost: the epoch that stands instead.
    pub(super) superseded_by: Option<u64>,
    /// It is a part of an override of the whole service.
    pub(super) of_service: bool,
    /// When the override that it replaces would have ended by itself.
    pub(super) replaced_expires_at: Option<Time>,
}

impl BreakerState {
    fn pristine() -> Self {
        Self {
            is_stored: false,
            snapshot: Snapshot::pristine(),
            entered_by: None,
            decided_by: None,
            episode: None,
            act_epoch: 0,
            first_probe_at: None,
            reconciled: Some(0),
        }
    }

    /// Of a breaker without a row, as the replica knows it that proposes. Its row was let go of, perhaps, while this replica was cut
    /// off: then it goes on from its epoch, so that its permits of before are late.
    fn without_row(proposal: &Proposal, timeline: Option<u32>, let_go_epoch: u64) -> Self {
        let base_epoch = proposal.change.base_epoch();
        let is_known = proposal.numbering == Numbering::Store
            && proposal.decided_in.taken_up.is_none()
            && !timelines::is_past(proposal, timeline)
            && base_epoch <= let_go_epoch;
        let epoch = if is_known { base_epoch } else { 0 };
        let pristine = Self::pristine();
        Self { snapshot: Snapshot { epoch, ..pristine.snapshot }, ..pristine }
    }

    /// As it is in a timeline that began with the revision `since`, if the row was written with `revision`: nothing has happened in it
    /// to a row that is older, and what began the timeline only let half-open enter half-open again.
    pub(super) fn in_timeline_since(self, since: u64, revision: u64) -> Self {
        let epoch = self.snapshot.epoch;
        let reconciled = match revision.cmp(&since) {
            Ordering::Less => Some(epoch),
            Ordering::Equal => Some(epoch.saturating_sub(u64::from(since > 0))),
            Ordering::Greater => self.reconciled,
        };
        Self { reconciled, ..self }
    }

    fn guarded<'a>(&'a self, services: &'a ServiceOverrides) -> Guarded<'a> {
        Guarded {
            snapshot: &self.snapshot,
            act_epoch: self.act_epoch,
            first_probe_at: self.first_probe_at,
            services,
        }
    }
}

impl<'a> Judgement<'a> {
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
        for part in episode::open_time(state, until, lasted) {
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
    pub(super) fn answers(self, revision: Option<u64>) -> Vec<Answer> {
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

/// Decides a batch in its order: a later change of the same breaker meets what an earlier one left.
pub(super) fn judge<'a>(proposals: &'a [Proposal], locked_rows: LockedRows<'a>, now: Time) -> Judgement<'a> {
    let LockedRows { timeline, mut present, mut known, services, let_go_epoch } = locked_rows;
    let mut judgement = Judgement {
        verdicts: Vec::with_capacity(proposals.len()),
        entries: Vec::with_capacity(proposals.len()),
        changed: BTreeMap::new(),
        ended: Vec::new(),
        open_time: BTreeMap::new(),
        receipts: Vec::with_capacity(proposals.len()),
    };
    for proposal in proposals {
        let current = present
            .entry(&proposal.key)
            .or_insert_with(|| BreakerState::without_row(proposal, timeline, let_go_epoch));
        let receipt =
            known.get(&proposal.id).copied().filter(|_| holds(Rule::KnownIdAnsweredAlike)).unwrap_or_else(
                || {
                    let scope = current.snapshot.set_by.as_ref().map(|set_by| set_by.scope);
                    let mut decision = rule(proposal, current, (timeline, &services), now);
                    if let Some(entry) = &mut decision.entry {
                        entry.of_service = is_of_service(proposal, scope);
                        entry.replaced_expires_at =
                            current.snapshot.set_by.as_ref().and_then(|set_by| set_by.expires_at);
                    }
                    judgement.follow(proposal, current, &mut decision);
                    judgement.entries.extend(decision.entry);
                    let won = match decision.receipt {
                        Receipt::Won { epoch, .. } => Some(epoch),
                        Receipt::Lost => None,
                    };
                    judgement.receipts.push((&proposal.id, won));
                    known.insert(&proposal.id, decision.receipt);
                    decision.receipt
                },
            );
        judgement.verdicts.push(match receipt {
            Receipt::Won { epoch, revision } => Verdict::Won { epoch, revision },
            Receipt::Lost => Verdict::Lost { present: current.snapshot.clone() },
        });
    }
    judgement
}

struct EntryDecision<'a> {
    receipt: Receipt,
    entry: Option<Entry<'a>>,
    /// The breaker's row from now on, when it changed.
    next: Option<Snapshot>,
    /// The epoch of an earlier timeline that the row stands for from now on, when it changed.
    reconciled: Option<u64>,
}

fn rule<'a>(
    proposal: &'a Proposal,
    row: &BreakerState,
    (timeline, services): (Option<u32>, &ServiceOverrides),
    now: Time,
) -> EntryDecision<'a> {
    let current = &row.snapshot;
    let is_past = timelines::is_past(proposal, timeline);
    let transition = match &proposal.change {
        Change::Transition(transition) => transition,
        Change::Gap(gap) if is_past => return gap_in_history(proposal, gap, current),
        Change::Gap(gap) if proposal.numbering == Numbering::Store => {
            return gap_numbered_here(proposal, gap, current, now);
        }
        Change::Gap(gap) => return gap_ruling(proposal, gap, current),
    };
    if transition.shadow {
        let states = (transition.from, transition.to());
        return noted(proposal, states, transition.base_epoch, transition.at);
    }
    if is_past {
        return timelines::rule_past(proposal, transition, row, now);
    }
    if let Some(epoch) = proposal.decided_in.taken_up {
        return timelines::take_up(proposal, transition, row, epoch, now);
    }
    if proposal.numbering == Numbering::Store {
        return numbered_here(proposal, transition, row, services, now);
    }
    if current.epoch >= transition.after.epoch {
        return lost(proposal, transition, current);
    }
    EntryDecision {
        receipt: Receipt::Won { epoch: transition.after.epoch, revision: RowRevision::Here },
        entry: Some(Entry { epoch: Some(transition.after.epoch), ..entry(proposal, transition) }),
        next: Some(transition.after.clone()),
        reconciled: None,
    }
}

/// A transition that gets its epoch and its time here.
fn numbered_here<'a>(
    proposal: &'a Proposal,
    transition: &Transition,
    row: &BreakerState,
    services: &ServiceOverrides,
    now: Time,
) -> EntryDecision<'a> {
    let current = &row.snapshot;
    let may_be_told = proposal.decided_in.may_be_told();
    let is_kept = match compare(proposal, transition, &row.guarded(services), now) {
        Outcome::Won => return won(proposal, transition, current, now),
        // Callers were told of a state that denies, before the store has answered.
        Outcome::Refused => may_be_told || transition.after.state == State::ForcedOpen,
        // Calls were let through by nobody, and another replica says the same of the next row.
        Outcome::Superseded if proposal.service_override.is_some() => {
            (may_be_told || transition.after.state == State::ForcedOpen)
                && !proposal.change.is_brought_about_by(current)
        }
        // Somebody else may have brought about the same.
        Outcome::Superseded => !proposal.change.is_brought_about_by(current),
        // Nobody was told of it, and it is tried again; unless the store took it before, and has gone back since.
        Outcome::Early if !may_be_told => return forgotten(),
        Outcome::Over | Outcome::Early => true,
    };
    let scope = current.set_by.as_ref().map(|set_by| set_by.scope);
    // What an operator asked for of this breaker is kept, with who and why. Of an override of the service each replica tells
    // each breaker, and who cleared one is not known from here to have cleared that of the service.
    let is_own_act = is_act(transition.reason)
        && transition.reason != Reason::OverrideCleared
        && !is_of_service(proposal, scope);
    if (is_kept || proposal.store_unavailable || is_own_act) && holds(Rule::SupersededKept) {
        return lost(proposal, transition, current);
    }
    forgotten()
}

/// It is the next epoch.
fn won<'a>(
    proposal: &'a Proposal,
    transition: &Transition,
    current: &Snapshot,
    now: Time,
) -> EntryDecision<'a> {
    // OPEN waits from when it was decided, and not from when the store heard of it.
    let waited = if transition.after.state == State::Open { proposal.age } else { Duration::ZERO };
    won_since(proposal, transition, current, (now - waited).max(current.entered_at.min(now)))
}

/// It is the next epoch, entered at this time.
fn won_since<'a>(
    proposal: &'a Proposal,
    transition: &Transition,
    current: &Snapshot,
    entered_at: Time,
) -> EntryDecision<'a> {
    let epoch = current.epoch + 1;
    let next = Snapshot { epoch, entered_at, ..transition.after.clone() };
    let entry = Entry {
        epoch: Some(epoch),
        from: current.state,
        base_epoch: current.epoch,
        // What was decided alone happened when it was decided, however late the store hears of it.
        occurred_at: if proposal.store_unavailable { transition.at } else { entered_at },
        ..entry(proposal, transition)
    };
    let receipt = Receipt::Won { epoch, revision: RowRevision::Here };
    EntryDecision { receipt, entry: Some(entry), next: Some(next), reconciled: None }
}

/// Neither a row of breaker nor one of the history.
fn forgotten<'a>() -> EntryDecision<'a> {
    EntryDecision { receipt: Receipt::Lost, entry: None, next: None, reconciled: None }
}

fn entry<'a>(proposal: &'a Proposal, transition: &Transition) -> Entry<'a> {
    Entry {
        proposal,
        from: transition.from,
        to: transition.to(),
        epoch: None,
        base_epoch: transition.base_epoch,
        occurred_at: transition.at,
        lasted: None,
        superseded_by: None,
        of_service: false,
        replaced_expires_at: None,
    }
}

/// A gap in the history. What was lost with it is history only: the state behind it takes the row.
fn gap_ruling<'a>(proposal: &'a Proposal, gap: &Gap, current: &Snapshot) -> EntryDecision<'a> {
    let unchanged = gap_in_history(proposal, gap, current);
    let Some(after) = gap.after.as_ref().filter(|after| after.epoch > current.epoch) else {
        return unchanged;
    };
    EntryDecision {
        receipt: Receipt::Won { epoch: after.epoch, revision: RowRevision::Here },
        entry: unchanged.entry.map(|entry| Entry { to: after.state, epoch: Some(after.epoch), ..entry }),
        next: Some(after.clone()),
        reconciled: None,
    }
}

/// As [`gap_ruling`], of a replica whose epochs are numbered here. What was lost with it may be anything, so only what denies takes
/// the row: FORCED_OPEN of an operator always, and OPEN if nothing came since and its wait is not over; OPEN that was decided alone
/// over CLOSED only, as without a gap.
fn gap_numbered_here<'a>(
    proposal: &'a Proposal,
    gap: &Gap,
    current: &Snapshot,
    now: Time,
) -> EntryDecision<'a> {
    let unchanged = noted(proposal, (current.state, current.state), gap.base_epoch, gap.at);
    let Some(after) = &gap.after else { return unchanged };
    let is_stop = is_emergency_stop(after);
    let waited = if is_stop { Duration::ZERO } else { proposal.age };
    let opens = after.state == State::Open
        && after.epoch == current.epoch + 1
        && (current.state == State::Closed
            || current.state == State::HalfOpen && !proposal.store_unavailable)
        && after.wait.is_some_and(|wait| waited < wait);
    if !is_stop && !opens {
        return unchanged;
    }
    let epoch = current.epoch + 1;
    let entered_at = (now - waited).max(current.entered_at.min(now));
    EntryDecision {
        receipt: Receipt::Won { epoch, revision: RowRevision::Here },
        entry: unchanged.entry.map(|entry| Entry {
            to: after.state,
            epoch: Some(epoch),
            base_epoch: current.epoch,
            ..entry
        }),
        next: Some(Snapshot { epoch, entered_at, ..after.clone() }),
        reconciled: None,
    }
}

fn gap_in_history<'a>(proposal: &'a Proposal, gap: &Gap, current: &Snapshot) -> EntryDecision<'a> {
    noted(proposal, (current.state, current.state), gap.base_epoch, gap.at)
}

/// A row of the history that changes no state.
fn noted(
    proposal: &Proposal,
    states: (State, State),
    base_epoch: u64,
    occurred_at: Time,
) -> EntryDecision<'_> {
    let (from, to) = states;
    let entry = Entry {
        proposal,
        from,
        to,
        epoch: None,
        base_epoch,
        occurred_at,
        lasted: None,
        superseded_by: None,
        of_service: false,
        replaced_expires_at: None,
    };
    EntryDecision {
        receipt: Receipt::Won { epoch: base_epoch, revision: RowRevision::Here },
        entry: Some(entry),
        next: None,
        reconciled: None,
    }
}

/// A row of the history that says what did not come to stand.
fn lost<'a>(proposal: &'a Proposal, transition: &Transition, current: &Snapshot) -> EntryDecision<'a> {
    let entry = Entry { superseded_by: Some(current.epoch), ..entry(proposal, transition) };
    EntryDecision { receipt: Receipt::Lost, entry: Some(entry), next: None, reconciled: None }
}

#[cfg(test)]
mod tests;
