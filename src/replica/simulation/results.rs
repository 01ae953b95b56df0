//! What a run came to, and what many came to together.

use std::ops::AddAssign;

use super::alone::BranchFigures;

/// What one run came to.
pub(super) struct RunResult {
    /// What went wrong; none: the run is good.
    pub(super) problems: Vec<String>,
    pub(super) figures: Figures,
    /// Line by line what happened, if that was asked for.
    pub(super) story: String,
}

/// What happened in a run, or in some together.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Figures {
    pub(super) calls: u64,
    pub(super) probes: u64,
    pub(super) recorded: u64,
    pub(super) transitions: u64,
    /// Outcomes that were not counted.
    pub(super) not_counted: u64,
    /// Rows that were let go of.
    pub(super) let_go: u64,
    /// Starts of processes by what they last knew of the store.
    pub(super) started_alone: u64,
    /// What was decided alone.
    pub(super) alone: BranchFigures,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.probes += other.probes;
        self.recorded += other.recorded;
        self.transitions += other.transitions;
        self.not_counted += other.not_counted;
        self.let_go += other.let_go;
        self.started_alone += other.started_alone;
        self.alone += other.alone;
    }
}
