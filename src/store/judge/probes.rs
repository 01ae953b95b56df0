//! Who gets a probe, and what its outcome decides: what replicas ask against the rows that stand, pure.
//!
//! The slots of a half-open are judged by [`Probes`], as in a lone breaker. What is here is which half-open that is: a request
//! of another epoch than the row's claims nothing and decides nothing. An outcome that decides is a proposal of the
//! store's own, judged as all others are ([`super::judge`]), in the same transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use breaker::{
    Key, Numbering, ProbeGrant, ProbeSettled, ProbeSlot, Probes, Snapshot, State, Time, Transition,
};

use crate::protocol_rules::{Rule, holds};
use crate::store::shared_store::ProbeRequest;
use crate::store::{Change, DecidedIn, Proposal, StoredTransition, TransitionId};

/// The slots of one half-open, as they are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct ProbeRows {
    pub(in crate::store) first_probe_at: Option<Time>,
    pub(in crate::store) slots: Vec<ProbeSlot>,
}

/// What is known before judging, read under the locks: the breakers that have a row, and the slots of the epochs that are
/// asked about.
#[derive(Default)]
pub(in crate::store) struct LockedProbes<'a> {
    /// The timeline of the store.
    pub(in crate::store) timeline: u32,
    pub(in crate::store) rows: BTreeMap<&'a Key, Snapshot>,
    pub(in crate::store) slots: BTreeMap<(&'a Key, u64), ProbeRows>,
}

/// What is to be written, and what to be answered.
pub(in crate::store) struct ProbeJudgement<'a> {
    /// Slots that are other than they were.
    pub(in crate::store) changed: BTreeMap<(&'a Key, u64), ProbeRows>,
    /// The transitions that outcomes decided.
    pub(in crate::store) decided: Vec<Proposal>,
    /// What is answered to each request, beside the row.
    pub(in crate::store) verdicts: Vec<ProbeVerdict>,
}

/// What is answered, beside the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum ProbeVerdict {
    Claimed(Option<ProbeGrant>),
    Released,
    Settled(ProbeSettled, breaker::ProbeCounts),
}

/// Decides a batch in its order.
pub(in crate::store) fn judge_probes<'a>(
    requests: impl IntoIterator<Item = &'a ProbeRequest>,
    locked: LockedProbes<'a>,
    now: Time,
) -> ProbeJudgement<'a> {
    let LockedProbes { timeline, rows, mut slots } = locked;
    let mut judgement =
        ProbeJudgement { changed: BTreeMap::new(), decided: Vec::new(), verdicts: Vec::new() };
    for request in requests {
        let (key, epoch) = (request.key(), request.epoch());
        let is_decided = judgement.decided.iter().any(|decided| decided.key == *key);
        let row = rows.get(key).filter(|row| {
            row.state == State::HalfOpen && row.epoch == epoch && row.half_open.is_some() && !is_decided
        });
        // Its replica ignores what another timeline gives it, and the slots would be out until their leases end.
        let row =
            row.filter(|_| !matches!(request, ProbeRequest::Claim { timeline: of, .. } if *of != timeline));
        let kept = slots.entry((key, epoch)).or_default();
        let Some((row, terms)) = row.and_then(|row| Some((row, row.half_open?))) else {
            judgement.verdicts.push(elsewhere(request, kept));
            continue;
        };
        let mut probes = Probes::restored(terms, kept.first_probe_at, kept.slots.clone());
        judgement.verdicts.push(answer(request, &mut probes, now));
        let present = ProbeRows { first_probe_at: probes.first_probe_at(), slots: probes.slots().to_vec() };
        if present != *kept {
            judgement.changed.insert((key, epoch), present.clone());
            *kept = present;
        }
        judgement.decided.extend(decided(request, &probes, row, now));
    }
    judgement
}

/// Of an epoch that is over, or not known here: only a repeat is still told from what is late.
fn elsewhere(request: &ProbeRequest, kept: &ProbeRows) -> ProbeVerdict {
    match request {
        ProbeRequest::Claim { .. } => ProbeVerdict::Claimed(None),
        ProbeRequest::Release { .. } => ProbeVerdict::Released,
        ProbeRequest::Settle { report, .. } => {
            let is_repeat = matches!(
                kept.slots.get(usize::from(report.probe.slot)),
                Some(ProbeSlot::Completed { nonce, .. }) if *nonce == report.probe.nonce
            );
            let settled = if is_repeat { ProbeSettled::Duplicate } else { ProbeSettled::Late };
            ProbeVerdict::Settled(settled, breaker::ProbeCounts::default())
        }
    }
}

fn answer(request: &ProbeRequest, probes: &mut Probes, now: Time) -> ProbeVerdict {
    match request {
        ProbeRequest::Claim { claim, .. } => {
            let mut grant = ProbeGrant {
                epoch: claim.epoch,
                probes: Vec::new(),
                retry_after: None,
                since_first_probe: None,
                counts: probes.counts(),
                timed_out: 0,
            };
            let now = if holds(Rule::LeasesEnd) { now } else { Time::ZERO };
            for nonce in &claim.nonces {
                match probes.claim(*nonce, now) {
                    Ok(given) => {
                        grant.probes.push(given.probe);
                        grant.timed_out += u32::from(given.timed_out.is_some());
                    }
                    Err(retry_after) => {
                        grant.retry_after = Some(retry_after);
                        break;
                    }
                }
            }
            grant.since_first_probe = probes.first_probe_at().map(|first| now.since(first));
            ProbeVerdict::Claimed(Some(grant))
        }
        ProbeRequest::Release { nonces, .. } => {
            probes.release_nonces(&nonces.iter().copied().collect());
            ProbeVerdict::Released
        }
        ProbeRequest::Settle { report, age, .. } => {
            let mut probe = report.probe;
            if let Some(ProbeSlot::Out { nonce, .. }) = probes.slots().get(usize::from(probe.slot))
                && !holds(Rule::OutcomeNonceChecked)
            {
                probe.nonce = *nonce;
            }
            let settled = probes.settle(probe, report.outcome, now - *age);
            ProbeVerdict::Settled(settled, probes.counts())
        }
    }
}

/// The transition that an outcome makes, now that it is counted.
fn decided(request: &ProbeRequest, probes: &Probes, row: &Snapshot, now: Time) -> Option<Proposal> {
    let ProbeRequest::Settle { key, id, report, age } = request else { return None };
    let verdict = probes.verdict().filter(|_| holds(Rule::OutcomeDecides))?;
    let transition: Transition = report.transition(verdict, probes.counts().stats(), row, now);
    Some(Proposal {
        id: id.clone(),
        key: key.clone(),
        change: Change::Transition(Box::new(transition)),
        numbering: Numbering::Store,
        store_unavailable: false,
        decided_at: now,
        service_override: None,
        // OPEN has waited since the outcome was reported; it is entered all the same, for a moment, if that was long ago.
        age: (*age).min(report.wait.saturating_sub(Duration::from_micros(1))),
        decided_in: DecidedIn::default(),
    })
}

/// The ids of those outcomes that were counted before: what they decided then, if they did, is in the history.
pub(in crate::store) fn repeated<'a>(
    requests: &[&'a ProbeRequest],
    verdicts: &[ProbeVerdict],
) -> Vec<&'a TransitionId> {
    let repeated = |(request, verdict): (&&'a ProbeRequest, &ProbeVerdict)| match (request, verdict) {
        (ProbeRequest::Settle { id, .. }, ProbeVerdict::Settled(ProbeSettled::Duplicate, _)) => Some(id),
        _ => None,
    };
    requests.iter().zip(verdicts).filter_map(repeated).collect()
}

/// What an outcome decided when it came first, by the rows that the history has of such ids.
pub(in crate::store) fn decided_before(
    request: &ProbeRequest,
    rows: &[StoredTransition],
) -> Option<Proposal> {
    let ProbeRequest::Settle { key, id, report, .. } = request else { return None };
    let row = rows.iter().find(|row| row.id == *id && row.key == *key);
    let row = row.filter(|_| holds(Rule::RepeatTellsDecision))?;
    let opens = row.to == State::Open;
    let after = Snapshot {
        epoch: row.epoch?,
        state: row.to,
        open_count: row.open_count,
        entered_at: row.occurred_at,
        wait: row.wait,
        // The history has it, and does not tell it.
        retry_after: report.retry_after.filter(|_| opens),
        config_revision: row.config_revision,
        ..Snapshot::pristine()
    };
    let transition = Transition {
        from: row.from,
        reason: row.reason,
        stats: row.stats,
        base_epoch: row.base_epoch,
        at: row.occurred_at,
        lasted: row.lasted,
        rejected_calls: row.rejected_calls,
        outcome: row.outcome.clone(),
        attribution: row.attribution.clone(),
        after,
        shadow: false,
    };
    Some(Proposal {
        id: id.clone(),
        key: key.clone(),
        change: Change::Transition(Box::new(transition)),
        numbering: Numbering::Store,
        store_unavailable: false,
        decided_at: row.occurred_at,
        service_override: None,
        age: Duration::ZERO,
        decided_in: DecidedIn { timeline: row.timeline, ..DecidedIn::default() },
    })
}

#[cfg(test)]
mod tests;
