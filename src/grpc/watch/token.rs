//! Resume tokens: a store, a cursor in it, and the history that the cursor is of.
//!
//! The history is named by its anchor: a change at the cursor or after it, with its nonce. A store in which the change has
//! another nonce, or none, was restored from a backup, and what is after the cursor in it is not what the client lacks.
//!
//! Opaque, and checked as page tokens are. The selection is not part of it: a client that resumes with another one gets what
//! happened after the cursor, of what it selects now.

use super::STORE_RESTORED;
use crate::grpc::page;
use crate::grpc::violations::{Kind, Violations};
use crate::store::{ChangeId, HistoryCursor};

/// Which stream a token is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum TokenKind {
    Config,
    Transitions,
}

/// The history of a store: a cursor is of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HistoryId {
    store_id: u64,
    timeline: u32,
}

impl HistoryId {
    /// Why a token of `other` is not valid for this history.
    pub(super) fn mismatch(self, other: Self) -> &'static str {
        if self.store_id == other.store_id { STORE_RESTORED } else { "the token is of another store" }
    }
}

/// How far the configuration was sent: all before `revision`, and of that the services up to one in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConfigCursor {
    pub(super) revision: u64,
    /// None: all of the revision.
    pub(super) within: Option<String>,
}

/// The content of a resume token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<T> {
    pub(super) history: HistoryId,
    pub(super) anchor: ChangeId,
    pub(super) cursor: T,
}

impl TokenKind {
    const fn filters(self) -> &'static [u8] {
        match self {
            Self::Config => b"watch config",
            Self::Transitions => b"watch transitions",
        }
    }
}

impl HistoryId {
    pub(super) const fn new(store_id: u64, timeline: u32) -> Self {
        Self { store_id, timeline }
    }

    pub(super) fn config_token(self, cursor: &ConfigCursor, anchor: ChangeId) -> String {
        let mut bytes = self.begin(cursor.revision, anchor);
        if let Some(within) = &cursor.within {
            bytes.push(0);
            bytes.extend_from_slice(within.as_bytes());
        }
        page::token(TokenKind::Config.filters(), &bytes)
    }

    pub(super) fn transitions_token(self, cursor: HistoryCursor, anchor: ChangeId) -> String {
        let mut bytes = self.begin(cursor.revision, anchor);
        bytes.extend_from_slice(&cursor.number.to_be_bytes());
        page::token(TokenKind::Transitions.filters(), &bytes)
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

/// Decodes a token; none: there is no token.
pub(super) fn config_token_of(token: &str, violations: &mut Violations) -> Option<Token<ConfigCursor>> {
    read(TokenKind::Config, token, violations, |revision, rest| {
        let within = match rest.split_first() {
            None => None,
            Some((0, name)) => Some(std::str::from_utf8(name).ok()?.to_owned()),
            Some(_) => return None,
        };
        Some(ConfigCursor { revision, within })
    })
}

/// As [`config_token_of`].
pub(super) fn transitions_token_of(token: &str, violations: &mut Violations) -> Option<Token<HistoryCursor>> {
    read(TokenKind::Transitions, token, violations, |revision, rest| {
        Some(HistoryCursor { revision, number: u32::from_be_bytes(rest.try_into().ok()?) })
    })
}

fn read<T>(
    kind: TokenKind,
    token: &str,
    violations: &mut Violations,
    cursor: impl FnOnce(u64, &[u8]) -> Option<T>,
) -> Option<Token<T>> {
    if token.is_empty() {
        return None;
    }
    let read = page::position(kind.filters(), token).ok().and_then(|bytes| {
        let mut rest = bytes.as_slice();
        let store_id = take_u64(&mut rest)?;
        let (timeline, remaining) = rest.split_first_chunk()?;
        rest = remaining;
        let history = HistoryId { store_id, timeline: u32::from_be_bytes(*timeline) };
        let anchor = ChangeId { revision: take_u64(&mut rest)?, nonce: take_u64(&mut rest)? };
        let revision = take_u64(&mut rest)?;
        // Beyond that no store counts.
        i64::try_from(revision.max(anchor.revision)).ok()?;
        Some(Token { history, anchor, cursor: cursor(revision, rest)? })
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
    let (number, remaining) = rest.split_first_chunk()?;
    *rest = remaining;
    Some(u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place_and_only_in_its_stream() {
        let history = HistoryId { store_id: u64::MAX, timeline: 3 };
        let anchor = ChangeId { revision: 9, nonce: u64::MAX };
        let mut violations = Violations::default();
        for within in [None, Some(String::new()), Some("payments".to_owned())] {
            let cursor = ConfigCursor { revision: 7, within };
            let token = history.config_token(&cursor, anchor);
            assert_eq!(config_token_of(&token, &mut violations), Some(Token { history, anchor, cursor }));
        }
        let cursor = HistoryCursor { revision: 1, number: u32::MAX };
        let token = history.transitions_token(cursor, anchor);
        assert_eq!(transitions_token_of(&token, &mut violations), Some(Token { history, anchor, cursor }));
        assert_eq!(violations, Violations::default());
        assert_eq!(config_token_of(&token, &mut violations), None);
        assert_ne!(violations, Violations::default());
    }

    #[test]
    fn a_token_of_a_revision_that_no_store_counts_to_is_refused() {
        let history = HistoryId { store_id: 1, timeline: 0 };
        let cursor = HistoryCursor { revision: u64::MAX, number: 0 };
        let mut violations = Violations::default();
        assert_eq!(
            transitions_token_of(&history.transitions_token(cursor, ChangeId::default()), &mut violations),
            None
        );
        assert_ne!(violations, Violations::default());
    }
}
