//! Who is known: tokens and certificates, and whose they are.

use std::collections::HashMap;
use std::sync::Arc;

use super::identity::Identity;
use super::names::{CertificateNames, Subject};
use super::token::Digest;

/// The most tokens, and the most certificates. A service or a person has one or two; more is a mistake.
pub const ENTRIES_MAX: usize = 10_000;

/// Everybody who is known.
#[derive(Debug, Default)]
pub struct Principals {
    /// By the first bytes of the digest: two that share them differ in the rest.
    tokens: HashMap<u64, Vec<(Digest, Arc<Identity>)>>,
    certificates: HashMap<Subject, Arc<Identity>>,
    entries: usize,
}

/// Somebody has it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate;

impl Principals {
    /// Adds an identity for tokens of this digest.
    ///
    /// # Errors
    /// [`Duplicate`].
    pub fn add_token(&mut self, digest: Digest, identity: Identity) -> Result<(), Duplicate> {
        let bucket = self.tokens.entry(digest.bucket()).or_default();
        if bucket.iter().any(|(known, _)| *known == digest) {
            return Err(Duplicate);
        }
        bucket.push((digest, Arc::new(identity)));
        self.entries += 1;
        Ok(())
    }

    /// Adds an identity for certificates of this subject.
    ///
    /// # Errors
    /// [`Duplicate`].
    pub fn add_certificate(&mut self, subject: Subject, identity: Identity) -> Result<(), Duplicate> {
        if self.certificates.contains_key(&subject) {
            return Err(Duplicate);
        }
        self.certificates.insert(subject, Arc::new(identity));
        self.entries += 1;
        Ok(())
    }

    /// How many tokens and certificates there are.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whose token has this digest.
    pub(super) fn by_digest(&self, digest: &Digest) -> Option<&Arc<Identity>> {
        let bucket = self.tokens.get(&digest.bucket())?;
        bucket.iter().find(|(known, _)| known == digest).map(|(_, identity)| identity)
    }

    /// Whose certificate has these names: the first of them that is known.
    pub(super) fn by_certificate(&self, names: &CertificateNames) -> Option<&Arc<Identity>> {
        names.iter().find_map(|name| self.certificates.get(name))
    }
}
