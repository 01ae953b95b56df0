//! What services are judged by, as the store keeps it: what the file declares, what was set over the API, the
//! overrides of whole services; and who changed what.
//!
//! A change is planned outside, on a [`StoredConfiguration`], and written with the revision that it was planned on:
//! when another change came between, nothing is written, and it is planned again. So the rules stand outside of the
//! store, once, and no two changes overlook each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Attribution, Key, Layer, Override, OverrideKind, Scope, Snapshot, Time};

use super::{HistoryCursor, StoreError};
use crate::catalog::{Changed, Declaration, StoredDeclaration};

/// The configuration, who changed it, and the ids that make a change safe to send again.
#[async_trait]
pub trait ConfigStore: Send + Sync + 'static {
    /// Everything that services are judged by, as of one moment.
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError>;

    /// Writes a change of configuration, whole or not at all, if nothing came between: what it changes, a row of the
    /// audit, and the waits of the stored OPEN breakers that it touches.
    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError>;

    /// What a change under this request id was answered: [`ConfigWritten::Known`] or [`ConfigWritten::Reused`]. None:
    /// the id is new.
    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError>;

    /// Keeps the id of a request that asked for what is so already, so that sent again it stays without effect. One
    /// that is known stays as it is.
    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError>;

    /// The audit, filtered, newest first, a page at a time.
    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError>;
}

/// Everything that services are judged by, read at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredConfiguration {
    /// What the file declares; none: no file ever did.
    pub declared: Option<StoredDeclaration>,
    /// What was set over the API, by service; never an empty layer.
    pub set: BTreeMap<String, Layer>,
    /// The overrides of whole services. One whose end has passed may still be here.
    pub overrides: BTreeMap<String, ServiceOverride>,
    /// When the configuration of each service was last changed, of those too that have none any more; under the
    /// empty name that of the defaults.
    pub changed: BTreeMap<String, Changed>,
    /// The newest revision that changed any of this: the guard of the next change.
    pub revision: u64,
    /// Services whose configuration went up to this revision may be missing in `changed`.
    pub forgotten: u64,
}

/// An override of all breakers of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOverride {
    /// What is set.
    pub kind: OverrideKind,
    /// When it ends by itself, by the wall clock; none: when it is cleared. Of one that is set for a duration without an end, the
    /// store notes the end by its own clock.
    pub expires_at: Option<Time>,
    /// How long it lasts, when it was set for a duration; see [`breaker::Override::ttl`].
    pub ttl: Option<Duration>,
    /// Who set it, and why.
    pub attribution: Attribution,
    /// When it was set.
    pub set_at: Time,
    /// The revision that set it; 0: none has yet.
    pub revision: u64,
}

impl ServiceOverride {
    /// As it is once the store has it.
    #[must_use]
    pub fn written(self, changed: Changed) -> Self {
        let ends_at = || Some(changed.at + self.ttl?);
        let expires_at = self.expires_at.or_else(ends_at);
        Self { expires_at, set_at: changed.at, revision: changed.revision, ..self }
    }

    /// Whether it says the same, whenever it was set.
    pub fn is_same_as(&self, other: &Self) -> bool {
        (self.kind, self.expires_at, self.ttl, &self.attribution)
            == (other.kind, other.expires_at, other.ttl, &other.attribution)
    }

    /// Whether it has ended when the wall clock says `wall`, as far as that tells; the engine knows better of one that was
    /// set for a duration.
    pub fn has_ended(&self, wall: Time) -> bool {
        self.expires_at.is_some_and(|end| end <= wall)
    }

    /// As the breakers of its service take it.
    pub fn as_override(&self) -> Override {
        Override {
            kind: self.kind,
            scope: Scope::Service,
            expires_at: self.expires_at,
            ttl: self.ttl,
            actor: self.attribution.actor.clone(),
            reason: self.attribution.reason.clone(),
        }
    }
}

/// A change of configuration on its way into the store.
pub struct ConfigWrite<'a> {
    /// The [`StoredConfiguration::revision`] that it was planned on.
    pub based_on: u64,
    /// What to change.
    pub edit: ConfigEdit,
    /// The services whose configuration is another by it (under the empty name: the defaults).
    pub touched: BTreeSet<String>,
    /// Who asked for it, and why.
    pub attribution: Attribution,
    /// Makes sending it again safe.
    pub request: Option<RequestId>,
    /// What the wait of a stored OPEN breaker of a service in `touched` is from now on; none: as it was.
    pub waits: &'a (dyn Fn(&Key, &Snapshot) -> Option<Duration> + Send + Sync),
}

/// What a change of configuration changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigEdit {
    /// What the file declares, from now on.
    FileApplied(Declaration),
    /// The file's release number alone: it declares what it did. Makes no revision, and no row in the audit.
    Generation(u64),
    /// What is set over the API for a service; an empty layer: nothing any more.
    Thresholds {
        /// The service.
        service: String,
        /// All that is set.
        layer: Layer,
    },
    /// The override of a service; none: no longer.
    Override {
        /// The service.
        service: String,
        /// What is set; its `set_at` is the store's to say, what stands here is not kept.
        set: Option<ServiceOverride>,
        /// It is not written ([`ConfigWritten::Early`]) before this time by the store's clock; none: it is in any case.
        not_before: Option<Time>,
    },
}

/// The id that a client gave a request, and what it asked for under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    /// The client's word, at most 64 bytes.
    pub id: String,
    /// A hash of what was asked for: the same id with another digest is another request.
    pub digest: u64,
}

impl RequestId {
    /// What to answer this request when its id is known already: kept with `digest`, for a change that made `revision`.
    pub(super) fn answer(&self, digest: u64, revision: u64) -> ConfigWritten {
        if digest == self.digest { ConfigWritten::Known { revision } } else { ConfigWritten::Reused }
    }
}

/// What became of a change of configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigWritten {
    /// It is written.
    Written(Changed),
    /// It was written before, under the same request id; nothing was written now.
    Known {
        /// The revision that it made then.
        revision: u64,
    },
    /// Another request has that id; nothing was written.
    Reused,
    /// Another change came between; nothing was written.
    Stale {
        /// The revision of that change.
        revision: u64,
    },
    /// It was not to be written yet, by the store's clock; nothing was.
    Early,
}

/// What somebody changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The file's thresholds.
    FileApplied,
    /// The thresholds of a service, over the API.
    Thresholds,
    /// The override of a whole service.
    ServiceOverride,
    /// An override of one breaker was set.
    OverrideSet,
    /// An override of one breaker was cleared.
    OverrideCleared,
    /// A breaker was reset.
    Reset,
    /// A breaker was made half-open.
    ProbeRequested,
    /// A breaker was deleted.
    Deleted,
    /// A key of permits was added.
    PermitKeyRotated,
}

impl ChangeKind {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::FileApplied,
        Self::Thresholds,
        Self::ServiceOverride,
        Self::OverrideSet,
        Self::OverrideCleared,
        Self::Reset,
        Self::ProbeRequested,
        Self::Deleted,
        Self::PermitKeyRotated,
    ];

    /// How it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FileApplied => "FILE_APPLIED",
            Self::Thresholds => "THRESHOLDS",
            Self::ServiceOverride => "SERVICE_OVERRIDE",
            Self::OverrideSet => "OVERRIDE_SET",
            Self::OverrideCleared => "OVERRIDE_CLEARED",
            Self::Reset => "RESET",
            Self::ProbeRequested => "PROBE_REQUESTED",
            Self::Deleted => "DELETED",
            Self::PermitKeyRotated => "PERMIT_KEY_ROTATED",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A row of the audit: what somebody changed. What changed a breaker's state by hand stands here beside the history,
/// written in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChange {
    /// The revision that it made, and its number within that.
    pub cursor: HistoryCursor,
    /// What kind of change.
    pub kind: ChangeKind,
    /// The service; empty: of none, or of all, as the file's thresholds.
    pub service: String,
    /// The breaker; empty: the service as a whole.
    pub name: String,
    /// When it was done. While the store is away, what an operator does to one breaker is written later.
    pub at: Time,
    /// Who, and why.
    pub attribution: Attribution,
    /// What it was before, as JSON; none: nothing.
    pub before: Option<String>,
    /// What it is after, as JSON; none: nothing any more.
    pub after: Option<String>,
}

/// Which rows of the audit, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeQuery {
    /// Of this service only, and the file's.
    pub service: Option<String>,
    /// Of these kinds only; empty: of any.
    pub kinds: Vec<ChangeKind>,
    /// By this actor only.
    pub actor: Option<String>,
    /// Made at this time or later.
    pub from_time: Option<Time>,
    /// Made before this time.
    pub until_time: Option<Time>,
    /// Behind this place.
    pub after: Option<HistoryCursor>,
    /// At most so many.
    pub limit: u32,
}
