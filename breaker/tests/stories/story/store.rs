//! The events in which a store answers, and what is asked of it.

use std::sync::Arc;
use std::time::Duration;

use breaker::{
    Breaker, EarlierAnswer, Override, OverrideKind, Pass, Probe, ProbeAnswer, ProbeClaim, ProbeCounts,
    ProbeGrant, ProbeSettled, ProposalAnswer, ProposalId, Reason, RowVersion, Scope, Snapshot, State, Stats,
    StoredRow, Transition,
};

use super::StoryRun;
use super::words::{START, after, number, seconds};

impl StoryRun {
    /// What goes to the store and comes back.
    pub(super) fn store_says(&mut self, words: &[&str]) -> String {
        match words {
            ["won", proposal, "as", epoch, rest @ ..] => {
                let row = self.row(Snapshot { epoch: number(epoch), ..self.proposal(proposal) }, rest);
                self.answered(proposal, ProposalAnswer::Won, &row)
            }
            ["lost", proposal, "to", rest @ ..] => {
                let row = self.stored(rest);
                self.answered(proposal, ProposalAnswer::Lost, &row)
            }
            ["adopt", rest @ ..] => {
                let row = self.stored(rest);
                self.breaker.adopt(&row, self.now);
                "ok".to_owned()
            }
            ["begun", rest @ ..] => {
                let row = self.stored(rest);
                match self.breaker.adopt_timeline(&row, self.now) {
                    Some((Transition { after, .. }, _)) => {
                        format!("takes up {} {}", after.state, after.epoch)
                    }
                    None => "ok".to_owned(),
                }
            }
            ["resume", proposal] => self.resume(proposal, EarlierAnswer::Missing),
            ["resume", proposal, "answered"] => self.resume(proposal, EarlierAnswer::Given),
            ["dropped", proposal] => {
                let id = ProposalId { boot: 1, number: number(&proposal[1..]) };
                self.breaker.proposal_dropped(id, self.now);
                "ok".to_owned()
            }
            ["claim"] => self.claim(),
            ["granted", "late", given] => {
                let claim = self.earlier_claim.clone().expect("a claim before the last one");
                self.granted(&claim, number(given) as usize, &[])
            }
            ["granted", given, rest @ ..] => {
                let claim = self.claim.clone().expect("something was claimed");
                self.granted(&claim, number(given) as usize, rest)
            }
            ["returned"] => self.breaker.returned_nonces(self.now).len().to_string(),
            ["settled", pass, settled, rest @ ..] => self.settled(pass, settled, rest),
            _ => panic!("nothing that the store says: {words:?}"),
        }
    }

    /// What the store says of the breaker.
    fn stored(&mut self, words: &[&str]) -> StoredRow {
        let snapshot = Snapshot {
            epoch: after(words, "epoch").map_or(0, number),
            state: State::parse(words[0]).expect("a state"),
            open_count: after(words, "attempts").map_or(1, |attempts| number(attempts) as u32),
            wait: after(words, "wait").map(seconds),
            ..Snapshot::pristine()
        };
        let kind = OverrideKind::ALL.iter().find(|kind| State::from(**kind) == snapshot.state);
        let set_by = kind.map(|kind| Override {
            kind: *kind,
            scope: Scope::Breaker,
            expires_at: after(words, "until").map(|until| START + seconds(until)),
            ttl: after(words, "for").map(seconds),
            actor: "ann".to_owned(),
            reason: "testing".to_owned(),
        });
        self.row(Snapshot { set_by, ..snapshot }, words)
    }

    /// A row that is newer than all before, or of the revision that it says, entered now or when it says.
    fn row(&mut self, snapshot: Snapshot, words: &[&str]) -> StoredRow {
        let revision = after(words, "revision").map_or(self.revision + 1, number);
        self.revision = self.revision.max(revision);
        self.timeline = after(words, "timeline").map_or(self.timeline, |timeline| number(timeline) as u32);
        let since = after(words, "since").map_or(self.now, |since| START + seconds(since));
        let version = RowVersion { timeline: self.timeline, revision };
        StoredRow {
            version,
            snapshot: Snapshot { entered_at: since, ..snapshot },
            age: self.now.since(since),
        }
    }

    fn proposal(&self, name: &str) -> Snapshot {
        let place = number(name.strip_prefix('p').expect("a proposal's number"));
        self.proposed[place as usize - 1].clone()
    }

    fn answered(&mut self, name: &str, answer: ProposalAnswer, row: &StoredRow) -> String {
        let id = ProposalId { boot: 1, number: number(&name[1..]) };
        self.breaker.answered(id, answer, row, self.now);
        "ok".to_owned()
    }

    /// The next life knows the row that this one knows, and what it proposed.
    fn resume(&mut self, name: &str, answer: EarlierAnswer) -> String {
        let (row, version) = self.breaker.known_row();
        let after = self.proposal(name);
        let (thresholds, revision) = (Arc::clone(self.breaker.thresholds()), self.breaker.config_revision());
        self.breaker = Breaker::restore(thresholds, revision, self.identity, Snapshot::pristine(), self.now);
        let age = self.now.since(row.entered_at);
        self.breaker.adopt(&StoredRow { version, snapshot: row.clone(), age }, self.now);
        let transition = Transition {
            from: State::Closed,
            reason: Reason::ConsecutiveFailures,
            stats: Stats::default(),
            base_epoch: after.epoch - 1,
            at: after.entered_at,
            lasted: None,
            rejected_calls: 0,
            outcome: None,
            attribution: None,
            after,
            shadow: false,
        };
        let id = ProposalId { boot: 1, number: number(&name[1..]) };
        if self.breaker.resume(id, &transition, answer, self.now) { "stands" } else { "is over" }.to_owned()
    }

    fn claim(&mut self) -> String {
        let claim = self.breaker.probe_claim(self.now);
        let again = if claim.is_some() && claim == self.claim { ", again" } else { "" };
        if claim != self.claim {
            self.earlier_claim = std::mem::replace(&mut self.claim, claim);
        }
        match &self.claim {
            Some(claim) => {
                assert_eq!(claim.epoch, self.breaker.epoch());
                format!("{} probes{again}", claim.nonces.len())
            }
            None => "nothing".to_owned(),
        }
    }

    fn granted(&mut self, claim: &ProbeClaim, given: usize, words: &[&str]) -> String {
        let probes = claim.nonces.iter().take(given).map(|nonce| {
            self.slots += 1;
            Probe { slot: self.slots - 1, nonce: *nonce }
        });
        let grant = ProbeGrant {
            epoch: claim.epoch,
            probes: probes.collect(),
            retry_after: after(words, "retry").map(seconds),
            since_first_probe: after(words, "first").map(seconds),
            counts: ProbeCounts::default(),
            timed_out: 0,
        };
        self.breaker.granted(&grant, self.now);
        "ok".to_owned()
    }

    fn settled(&mut self, pass: &str, settled: &str, words: &[&str]) -> String {
        let Pass { epoch, probe, .. } = self.pass(pass);
        let settled = match settled {
            "recorded" => ProbeSettled::Recorded,
            "late" => ProbeSettled::Late,
            "duplicate" => ProbeSettled::Duplicate,
            _ => panic!("nothing that the store says: {settled}"),
        };
        let row = if let ["then", rest @ ..] = words {
            self.stored(rest)
        } else {
            let version = RowVersion { timeline: self.timeline, revision: self.revision };
            StoredRow { version, snapshot: self.breaker.snapshot(), age: Duration::ZERO }
        };
        let counts = ProbeCounts { completed: 1, ..ProbeCounts::default() };
        let answer = ProbeAnswer { settled, counts, row };
        self.breaker.probe_settled(epoch, probe.expect("a probe"), &answer, self.now);
        "ok".to_owned()
    }
}
