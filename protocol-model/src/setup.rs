//! What is explored: how many replicas, how much may go wrong, and which rule is left out.

use crate::rule::Rule;

/// Something that happens outside the protocol, a limited number of times in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A request or an answer is lost.
    Loss,
    /// A replica crashes and starts again: its journal is still there, its memory is not.
    Crash,
    /// A request is sent again while the first one, or its answer, is still under way.
    Repeat,
    /// The store is so slow that the replica goes on without its answer: a claim is given up, an outcome is journaled, an operator is
    /// told UNAVAILABLE or takes FORCED_OPEN alone.
    Slow,
    /// A caller does not report within its lease.
    LateCaller,
    /// The clock of a replica is ahead: it believes that the wait is over.
    FastClock,
    /// A replica gets no more calls.
    Drained,
    /// The store goes back to an older state: a standby that was behind is promoted, and has a new timeline.
    StoreBack,
    /// The same, but a backup is restored, and has the timeline of before. Not together with the other.
    Restored,
}

/// What is explored.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it is called in the tables.
    pub name: &'static str,
    /// Replicas, 1 to 3.
    pub replicas: u8,
    /// P: probes in an epoch, 1 to 2.
    pub probes: u8,
    /// S: successes that close, 1 to P.
    pub successes: u8,
    /// Calls that fail, each of which trips a breaker or reopens it.
    pub failures: u8,
    /// Acts of operators: FORCED_OPEN and RESET.
    pub acts: u8,
    /// Faults, all kinds together.
    pub faults: u8,
    /// The kinds of faults that happen.
    pub kinds: &'static [Fault],
    /// Steps after which a trace is not followed any more.
    pub depth_max: u32,
    /// Whether a lease whose holder is gone ends: without it, a slot that is left to nobody stays so.
    pub leases: Leases,
    /// The rule that is left out.
    pub without: Option<Rule>,
}

/// Whether leases end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leases {
    /// As time passes.
    End,
    /// Never: then every slot that is given must be used or given back.
    Last,
}

impl Setup {
    /// As it begins its row of the tables: what it is made of.
    pub fn columns(&self) -> String {
        let Self { name, replicas, probes, successes, failures, acts, faults, .. } = self;
        format!("| {name} | {replicas} | {probes} | {successes} | {failures} | {acts} | {faults} |")
    }

    /// Whether a rule is kept.
    pub fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// The same, with a rule left out.
    #[must_use]
    pub fn without(&self, rule: Rule) -> Self {
        Self { without: Some(rule), ..self.clone() }
    }

    /// Whether the store can go back to an older state.
    pub fn goes_back(&self) -> bool {
        self.kinds.contains(&Fault::StoreBack) || self.kinds.contains(&Fault::Restored)
    }

    /// Failed probes that reopen.
    pub fn failures_max(&self) -> u8 {
        self.probes - self.successes + 1
    }
}
