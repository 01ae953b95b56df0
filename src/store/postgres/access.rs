//! Who else may write to the database.

/// Who else may write to the database while a process has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    Exclusive,
    /// Replicas: processes that came with [`Access::Shared`] as well.
    Shared,
}
