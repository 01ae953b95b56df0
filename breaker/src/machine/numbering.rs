//! Who numbers a breaker's epochs.

/// Who numbers a breaker's epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// The machine: it is the only one.
    Own,
    /// The store: there are other replicas.
    Store,
}
