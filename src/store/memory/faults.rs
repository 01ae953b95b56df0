//! What a store in memory can be made to do wrong.

use std::io;

use crate::store::StoreError;

/// Which calls a [`super::MemoryStore`] answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Availability {
    /// All of them.
    #[default]
    Available,
    /// Only those that read: as a full disk, or a server that was switched over.
    ReadOnly,
    /// None: as a server that is down, or cannot be reached.
    Unavailable,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) availability: Availability,
    /// Answers that get lost from now on.
    pub(super) answers_to_lose: u32,
}

impl Faults {
    /// Whether a call comes through to the store.
    pub(super) fn admit(&self, act: &'static str, access: Access) -> Result<(), StoreError> {
        match (self.availability, access) {
            (Availability::Available, _) | (Availability::ReadOnly, Access::Read) => Ok(()),
            (Availability::ReadOnly, Access::Write) => Err(StoreError::Unavailable {
                act,
                problem: "store is read-only",
                source: io::Error::from(io::ErrorKind::ReadOnlyFilesystem).into(),
            }),
            (Availability::Unavailable, _) => {
                Err(StoreError::unavailable(act, io::Error::from(io::ErrorKind::ConnectionRefused)))
            }
        }
    }

    /// What comes back of the answer of a call that came through.
    pub(super) fn deliver<T>(
        &mut self,
        act: &'static str,
        answer: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(left) = self.answers_to_lose.checked_sub(1) else { return answer };
        self.answers_to_lose = left;
        Err(StoreError::unavailable(act, io::Error::from(io::ErrorKind::ConnectionReset)))
    }
}
