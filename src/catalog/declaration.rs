//! What a file declares, and how the next file is applied to it.

use std::collections::BTreeMap;

use breaker::{Layer, Time};

/// What a file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// A release number: a file with an older one does not replace a newer one's layers.
    pub generation: Option<u64>,
    /// `enabled`; false: every breaker lets every call pass.
    pub enabled: bool,
    /// `[circuit_breaker]`.
    pub defaults: Layer,
    /// `[circuit_breaker.<service>]`.
    pub services: BTreeMap<String, Layer>,
}

impl Default for Declaration {
    /// What applies without a file.
    fn default() -> Self {
        Self { generation: None, enabled: true, defaults: Layer::default(), services: BTreeMap::new() }
    }
}

/// What was last declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDeclaration {
    /// What.
    pub declaration: Declaration,
    /// Under which revision.
    pub revision: u64,
}

/// When the configuration of a service was last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The revision that changed it.
    pub revision: u64,
    /// When.
    pub at: Time,
}

/// The effect of another declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclarationDiff {
    /// It replaces what is declared.
    Differs,
    /// It equals what is declared already.
    Unchanged,
    /// It equals what is declared already, in a later release.
    NewerGeneration,
    /// It is of an older release than what is declared, which stays.
    Older {
        /// The generation that stays.
        generation: u64,
    },
}

impl StoredDeclaration {
    /// The effect of `next` when it is declared after this one.
    ///
    /// The same content is no change, whatever its generation. A file without a generation is of no
    /// release: it replaces what is there. The newest generation that was declared stays all the same.
    pub fn takes(&self, next: &Declaration) -> DeclarationDiff {
        let present = &self.declaration;
        let is_same = present.enabled == next.enabled
            && present.defaults == next.defaults
            && present.services == next.services;
        match (present.generation, next.generation) {
            (present, next) if is_same => {
                if next > present {
                    DeclarationDiff::NewerGeneration
                } else {
                    DeclarationDiff::Unchanged
                }
            }
            (Some(generation), Some(older)) if older < generation => DeclarationDiff::Older { generation },
            _ => DeclarationDiff::Differs,
        }
    }
}
