//! Where a stream is resumed: a store, a place in it, and the history that the place is of.
//!
//! The history is named by its anchor: a change at the place or behind it, with its nonce. A store in which the change has
//! another nonce, or none, was restored from a backup, and what is behind the place in it is not what the client lacks.
//!
//! Opaque, and checked as page tokens are. The selection is not part of it: whoever resumes with another one gets what
//! happened behind the place of what it selects now.

use super::GONE_BACK;
use crate::grpc::page;
use crate::grpc::violations::{Kind, Violations};
use crate::store::{ChangeId, HistoryCursor};

/// Which stream a token is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    Config,
    Transitions,
}

/// The store that places are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    store_id: u64,
    timeline: u32,
}

impl Home {
    /// Why a token of `other` cannot be resumed at here.
    pub(super) fn why_not(self, other: Self) -> &'static str {
        if self.store_id == other.store_id { GONE_BACK } else { "the token is of another store" }
    }
}

/// How far the configuration was told: all before `revision`, and of that the services up to one in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConfigPlace {
    pub(super) revision: u64,
    /// None: all of the revision.
    pub(super) within: Option<String>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<T> {
    pub(super) home: Home,
    pub(super) anchor: ChangeId,
    pub(super) place: T,
}

impl Of {
    const fn filters(self) -> &'static [u8] {
        match self {
            Self::Config => b"watch config",
            Self::Transitions => b"watch transitions",
        }
    }
}

impl Home {
    pub(super) const fn new(store_id: u64, timeline: u32) -> Self {
        Self { store_id, timeline }
    }

    pub(super) fn config_token(self, place: &ConfigPlace, anchor: ChangeId) -> String {
        let mut bytes = self.begin(place.revision, anchor);
        if let Some(within) = &place.within {
            bytes.push(0);
            bytes.extend_from_slice(within.as_bytes());
        }
        page::token(Of::Config.filters(), &bytes)
    }

    pub(super) fn transitions_token(self, place: HistoryCursor, anchor: ChangeId) -> String {
        let mut bytes = self.begin(place.revision, anchor);
        bytes.extend_from_slice(&place.number.to_be_bytes());
        page::token(Of::Transitions.filters(), &bytes)
    }

    fn begin(self, revision: u64, anchor: ChangeId) -> Vec<u8> {
        let mut bytes = self.store_id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.timeline.to_be_bytes());
        bytes.extend_from_slice(&anchor.revision.to_be_bytes());
        bytes.extend_from_slice(&anchor.nonce.to_be_bytes());
        bytes.extend_from_slice(&revision.to_be_bytes());
        bytes
    }
}

/// What a token says; none: there is no token.
pub(super) fn config_place(token: &str, violations: &mut Violations) -> Option<Token<ConfigPlace>> {
    read(Of::Config, token, violations, |revision, rest| {
        let within = match rest.split_first() {
            None => None,
            Some((0, name)) => Some(std::str::from_utf8(name).ok()?.to_owned()),
            Some(_) => return None,
        };
        Some(ConfigPlace { revision, within })
    })
}

/// As [`config_place`].
pub(super) fn transitions_place(token: &str, violations: &mut Violations) -> Option<Token<HistoryCursor>> {
    read(Of::Transitions, token, violations, |revision, rest| {
        Some(HistoryCursor { revision, number: u32::from_be_bytes(rest.try_into().ok()?) })
    })
}

fn read<T>(
    of: Of,
    token: &str,
    violations: &mut Violations,
    place: impl FnOnce(u64, &[u8]) -> Option<T>,
) -> Option<Token<T>> {
    if token.is_empty() {
        return None;
    }
    let read = page::position(of.filters(), token).ok().and_then(|bytes| {
        let mut rest = bytes.as_slice();
        let store_id = take_u64(&mut rest)?;
        let (timeline, behind) = rest.split_first_chunk()?;
        rest = behind;
        let home = Home { store_id, timeline: u32::from_be_bytes(*timeline) };
        let anchor = ChangeId { revision: take_u64(&mut rest)?, nonce: take_u64(&mut rest)? };
        let revision = take_u64(&mut rest)?;
        // Beyond that no store counts.
        i64::try_from(revision.max(anchor.revision)).ok()?;
        Some(Token { home, anchor, place: place(revision, rest)? })
    });
    if read.is_none() {
        violations.add(
            "resume_token",
            Kind::InvalidToken,
            "invalid resume token: must be a token returned by this RPC",
        );
    }
    read
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (number, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place_and_only_in_its_stream() {
        let home = Home { store_id: u64::MAX, timeline: 3 };
        let anchor = ChangeId { revision: 9, nonce: u64::MAX };
        let mut violations = Violations::default();
        for within in [None, Some(String::new()), Some("payments".to_owned())] {
            let place = ConfigPlace { revision: 7, within };
            let token = home.config_token(&place, anchor);
            assert_eq!(config_place(&token, &mut violations), Some(Token { home, anchor, place }));
        }
        let place = HistoryCursor { revision: 1, number: u32::MAX };
        let token = home.transitions_token(place, anchor);
        assert_eq!(transitions_place(&token, &mut violations), Some(Token { home, anchor, place }));
        assert_eq!(violations, Violations::default());
        assert_eq!(config_place(&token, &mut violations), None);
        assert_ne!(violations, Violations::default());
    }

    #[test]
    fn a_token_of_a_revision_that_no_store_counts_to_is_refused() {
        let home = Home { store_id: 1, timeline: 0 };
        let place = HistoryCursor { revision: u64::MAX, number: 0 };
        let mut violations = Violations::default();
        assert_eq!(
            transitions_place(&home.transitions_token(place, ChangeId::default()), &mut violations),
            None
        );
        assert_ne!(violations, Violations::default());
    }
}
