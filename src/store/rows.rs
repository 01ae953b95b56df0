//! Rows to the words of the domain and back, the same for both stores.
//!
//! What comes out of a row is checked like what comes from anywhere else: a row that says what no breaker can
//! be is [`StoreError::Corrupt`], and named.

use std::collections::HashSet;
use std::time::Duration;

use breaker::{
    AfterMaxWait, HalfOpenTerms, Key, Override, OverrideKind, Scope, Snapshot, State, Stats, Time,
};
use sqlx::FromRow;

use super::cell::{Cell, Column};
use super::columns::{Reader, bigint, hex, micros, printable, random, unhex};
use super::entered_by;
use super::episode::{EndedEpisode, Episode};
use super::history::Bumped;
use super::judge::BreakerState;
use super::timestamp::Timestamp;
use super::{Meta, Proposal, StoreError, StoredBreaker};

/// The row of `meta`.
#[derive(FromRow)]
pub(super) struct MetaRow {
    store_id: String,
    timeline: i64,
    permit_key: Vec<u8>,
}

/// What a new store is given at random: its id, and the key that breakers are named under, which is the first of its permits too.
pub(super) fn new_identity() -> Result<(String, [u8; 16]), StoreError> {
    let act = "make the store's identity";
    Ok((hex(u64::from_le_bytes(random(act)?)), random(act)?))
}

/// What tells a revision from the same revision in another history.
pub(super) fn new_nonce() -> Result<i64, StoreError> {
    random("draw a revision's nonce").map(i64::from_le_bytes)
}

impl MetaRow {
    pub(super) fn meta(self) -> Result<Meta, StoreError> {
        let reader = Reader { act: "read the store's identity", row: "meta" };
        let permit_key = self.permit_key.try_into();
        Ok(Meta {
            store_id: unhex(&self.store_id).ok_or_else(|| reader.wrong("store_id", &self.store_id))?,
            timeline: reader.number("timeline", self.timeline)?,
            id_key: permit_key.map_err(|_| reader.wrong("permit_key", "of another length"))?,
        })
    }
}

/// What stands in a row of `breaker` for the judge alone.
#[derive(FromRow, serde::Deserialize)]
pub(super) struct BesideRow {
    /// The outage that lasts.
    pub(super) episode: Option<String>,
    pub(super) act_epoch: i64,
    /// Written with the probes.
    pub(super) first_probe_at: Option<Timestamp>,
    pub(super) reconciled_epoch: Option<i64>,
}

impl BesideRow {
    pub(super) fn new(state: &BreakerState) -> Result<Self, StoreError> {
        Ok(Self {
            episode: episode_text(state.episode.as_ref())?,
            act_epoch: bigint("write the breakers", "act_epoch", state.act_epoch)?,
            first_probe_at: state.first_probe_at.map(Timestamp),
            reconciled_epoch: state
                .reconciled
                .map(|epoch| bigint("write the breakers", "reconciled_epoch", epoch))
                .transpose()?,
        })
    }
}

/// A row of `breaker`. In JSON its columns have the same names.
#[derive(FromRow, serde::Deserialize, serde::Serialize)]
pub(super) struct BreakerRow {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) epoch: i64,
    pub(super) state: String,
    pub(super) open_count: i64,
    pub(super) entered_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wait_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) override_actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) override_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) override_expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) override_scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) override_ttl_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) permitted: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failures_to_open: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) slow_to_open: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_wait_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after_max_wait: Option<String>,
    pub(super) config_revision: i64,
    pub(super) revision: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) entered_by: Option<String>,
}

impl BreakerRow {
    pub(super) fn new(key: &Key, state: &BreakerState) -> Result<Self, StoreError> {
        let act = "write a breaker";
        let snapshot = &state.snapshot;
        let set_by = snapshot.set_by.as_ref();
        let terms = snapshot.half_open.as_ref();
        Ok(Self {
            service: key.service().to_string(),
            name: key.name().to_string(),
            epoch: bigint(act, "epoch", snapshot.epoch)?,
            state: snapshot.state.as_str().to_owned(),
            open_count: snapshot.open_count.into(),
            entered_at: Timestamp(snapshot.entered_at),
            wait_us: snapshot.wait.map(micros),
            retry_after_us: snapshot.retry_after.map(micros),
            override_actor: set_by.map(|set_by| printable(&set_by.actor).into_owned()),
            override_reason: set_by.map(|set_by| printable(&set_by.reason).into_owned()),
            override_expires_at: set_by.and_then(|set_by| set_by.expires_at).map(Timestamp),
            override_scope: set_by.map(|set_by| set_by.scope.as_str().to_owned()),
            override_ttl_us: set_by.and_then(|set_by| set_by.ttl).map(micros),
            permitted: terms.map(|terms| terms.permitted.into()),
            failures_to_open: terms.map(|terms| terms.failures_to_open.into()),
            slow_to_open: terms.and_then(|terms| terms.slow_to_open).map(i64::from),
            lease_us: terms.map(|terms| micros(terms.lease)),
            max_wait_us: terms.and_then(|terms| terms.max_wait).map(micros),
            after_max_wait: terms.map(|terms| terms.after_max_wait.as_str().to_owned()),
            config_revision: bigint(act, "config_revision", snapshot.config_revision)?,
            revision: 0,
            entered_by: entered_by::to_json(state.entered_by.as_ref(), state.decided_by.as_ref())?,
        })
    }

    /// When half-open is due, for people; what counts is the wait.
    pub(super) fn open_until(&self) -> Option<Timestamp> {
        let wait = Duration::from_micros(self.wait_us?.unsigned_abs());
        Some(Timestamp(self.entered_at.0 + wait))
    }

    /// The columns that [`Self::cells`] has the values of, in the same order.
    pub(super) const COLUMNS: [Column; 26] = [
        Column::Plain("service"),
        Column::Plain("name"),
        Column::Plain("epoch"),
        Column::Plain("state"),
        Column::Plain("open_count"),
        Column::Time("entered_at"),
        Column::Plain("wait_us"),
        Column::Plain("retry_after_us"),
        Column::Time("open_until"),
        Column::Plain("override_actor"),
        Column::Plain("override_reason"),
        Column::Time("override_expires_at"),
        Column::Plain("permitted"),
        Column::Plain("failures_to_open"),
        Column::Plain("slow_to_open"),
        Column::Plain("lease_us"),
        Column::Plain("max_wait_us"),
        Column::Plain("after_max_wait"),
        Column::Plain("config_revision"),
        Column::Plain("revision"),
        Column::Plain("override_scope"),
        Column::Plain("override_ttl_us"),
        Column::Plain("episode"),
        Column::Plain("entered_by"),
        Column::Plain("act_epoch"),
        Column::Plain("reconciled_epoch"),
    ];

    /// What is written of it, in the order of [`Self::COLUMNS`].
    pub(super) fn cells<'a>(&'a self, beside: &'a BesideRow, revision: i64) -> [Cell<'a>; 26] {
        [
            (&self.service).into(),
            (&self.name).into(),
            self.epoch.into(),
            (&self.state).into(),
            self.open_count.into(),
            self.entered_at.into(),
            self.wait_us.into(),
            self.retry_after_us.into(),
            self.open_until().into(),
            self.override_actor.as_ref().into(),
            self.override_reason.as_ref().into(),
            self.override_expires_at.into(),
            self.permitted.into(),
            self.failures_to_open.into(),
            self.slow_to_open.into(),
            self.lease_us.into(),
            self.max_wait_us.into(),
            self.after_max_wait.as_ref().into(),
            self.config_revision.into(),
            revision.into(),
            self.override_scope.as_ref().into(),
            self.override_ttl_us.into(),
            beside.episode.as_ref().into(),
            self.entered_by.as_ref().into(),
            beside.act_epoch.into(),
            beside.reconciled_epoch.into(),
        ]
    }

    /// The row with what the judge keeps in it.
    pub(super) fn state(self, beside: &BesideRow) -> Result<BreakerState, StoreError> {
        let row = format!("breaker {}/{}", self.service, self.name);
        let reader = Reader { act: "read the breakers", row: &row };
        let act_epoch = reader.number("act_epoch", beside.act_epoch)?;
        let episode = read_episode(&reader, beside.episode.as_deref())?;
        let StoredBreaker { snapshot, entered_by, decided_by, .. } = self.breaker()?;
        let first_probe_at = beside.first_probe_at.map(|stamp| stamp.0);
        let reconciled =
            beside.reconciled_epoch.map(|epoch| reader.number("reconciled_epoch", epoch)).transpose()?;
        let is_stored = true;
        Ok(BreakerState {
            is_stored,
            snapshot,
            entered_by,
            decided_by,
            episode,
            act_epoch,
            first_probe_at,
            reconciled,
        })
    }

    pub(super) fn breaker(self) -> Result<StoredBreaker, StoreError> {
        let row = format!("breaker {}/{}", self.service, self.name);
        let reader = Reader { act: "read the breakers", row: &row };
        let key = Key::new(&self.service, &self.name).map_err(|error| reader.says(error))?;
        let state = reader.word("state", &self.state, State::parse)?;
        let set_by = reader.set_by(state, &self)?;
        let half_open = if state == State::HalfOpen { Some(reader.terms(&self)?) } else { None };
        let wait = self.wait_us.map(|wait| reader.duration("wait_us", wait)).transpose()?;
        if state == State::Open && wait.is_none() {
            return Err(reader.says("state is OPEN, and wait_us is empty"));
        }
        let entered_by = self.entered_by.as_deref().map(|text| entered_by::from_json(&reader, text));
        let (entered_by, decided_by) = entered_by.transpose()?.unzip();
        Ok(StoredBreaker {
            key,
            snapshot: Snapshot {
                epoch: reader.number("epoch", self.epoch)?,
                state,
                open_count: reader.number("open_count", self.open_count)?,
                entered_at: self.entered_at.0,
                wait,
                retry_after: self
                    .retry_after_us
                    .map(|us| reader.duration("retry_after_us", us))
                    .transpose()?,
                set_by,
                half_open,
                config_revision: reader.number("config_revision", self.config_revision)?,
            },
            entered_by,
            decided_by: decided_by.flatten(),
            revision: reader.number("revision", self.revision)?,
        })
    }
}

impl Reader<'_> {
    fn set_by(&self, state: State, row: &BreakerRow) -> Result<Option<Override>, StoreError> {
        let Some(kind) = OverrideKind::ALL.iter().copied().find(|kind| State::from(*kind) == state) else {
            return Ok(None);
        };
        let actor = self.set("override_actor", row.override_actor.clone())?;
        let reason = self.set("override_reason", row.override_reason.clone())?;
        let expires_at = row.override_expires_at.map(|stamp| stamp.0);
        let scope = match &row.override_scope {
            Some(scope) => self.word("override_scope", scope, Scope::parse)?,
            None => Scope::Breaker,
        };
        let ttl = row.override_ttl_us.map(|ttl| self.duration("override_ttl_us", ttl)).transpose()?;
        Ok(Some(Override { kind, scope, expires_at, ttl, actor, reason }))
    }

    fn terms(&self, row: &BreakerRow) -> Result<HalfOpenTerms, StoreError> {
        let after_max_wait = self.set("after_max_wait", row.after_max_wait.as_deref())?;
        Ok(HalfOpenTerms {
            permitted: self.number("permitted", self.set("permitted", row.permitted)?)?,
            failures_to_open: self
                .number("failures_to_open", self.set("failures_to_open", row.failures_to_open)?)?,
            slow_to_open: row.slow_to_open.map(|slow| self.number("slow_to_open", slow)).transpose()?,
            lease: self.duration("lease_us", self.set("lease_us", row.lease_us)?)?,
            max_wait: row.max_wait_us.map(|wait| self.duration("max_wait_us", wait)).transpose()?,
            after_max_wait: self.word("after_max_wait", after_max_wait, AfterMaxWait::parse)?,
        })
    }
}

/// A row of `episode`, as it is written.
pub(super) struct EpisodeRow<'a> {
    pub(super) revision: i64,
    pub(super) number: i64,
    pub(super) service: &'a str,
    pub(super) name: &'a str,
    pub(super) epoch: i64,
    pub(super) opened_at: Timestamp,
    pub(super) half_open_at: Option<Timestamp>,
    pub(super) closed_at: Option<Timestamp>,
    pub(super) lasted_us: Option<i64>,
    pub(super) reason: &'a str,
    pub(super) actor: Option<&'a str>,
    pub(super) why: Option<&'a str>,
    pub(super) failure_rate: Option<f64>,
    pub(super) slow_call_rate: Option<f64>,
    pub(super) error_class: Option<&'a str>,
    pub(super) caller: Option<&'a str>,
    pub(super) reopened: i64,
    pub(super) probes: i64,
    pub(super) rejected_calls: i64,
    pub(super) lost_transitions: i64,
    pub(super) ended_by: &'static str,
    pub(super) recorded_at: Timestamp,
}

impl<'a> EpisodeRow<'a> {
    pub(super) fn new(
        number: usize,
        key: &'a Key,
        ended: &'a EndedEpisode,
        bumped: Bumped,
    ) -> Result<Self, StoreError> {
        let act = "write the episodes";
        let EndedEpisode { episode, ended_by, closed_at } = ended;
        let time = |us| Timestamp(Time::from_micros(us));
        let stats = Stats {
            calls: episode.calls,
            failures: episode.failures,
            slow_calls: episode.slow_calls,
            ..Stats::default()
        };
        let percent = |thousandths: Option<u32>| thousandths.map(|rate| f64::from(rate) / 1_000.0);
        Ok(Self {
            revision: bumped.revision,
            number: bigint(act, "number", number as u64)?,
            service: key.service(),
            name: key.name(),
            epoch: bigint(act, "epoch", episode.epoch)?,
            opened_at: time(episode.opened_at_us),
            half_open_at: episode.half_open_at_us.map(time),
            closed_at: closed_at.map(Timestamp),
            lasted_us: closed_at.map(|_| bigint(act, "lasted_us", episode.lasted_us)).transpose()?,
            reason: &episode.reason,
            actor: episode.actor.as_deref(),
            why: episode.why.as_deref(),
            failure_rate: percent(stats.failure_rate()),
            slow_call_rate: percent(stats.slow_call_rate()),
            error_class: episode.error_class.as_deref(),
            caller: episode.caller.as_deref(),
            reopened: bigint(act, "reopened", episode.reopened)?,
            probes: bigint(act, "probes", episode.probes)?,
            rejected_calls: bigint(act, "rejected_calls", episode.rejected_calls)?,
            lost_transitions: bigint(act, "lost_transitions", episode.missing)?,
            ended_by: ended_by.as_str(),
            recorded_at: bumped.recorded_at,
        })
    }
}

fn read_episode(reader: &Reader<'_>, episode: Option<&str>) -> Result<Option<Episode>, StoreError> {
    let episode = episode.map(serde_json::from_str).transpose();
    episode.map_err(|error| reader.says(format_args!("episode cannot be read: {error}")))
}

/// An outage as it stands in its breaker's row.
fn episode_text(episode: Option<&Episode>) -> Result<Option<String>, StoreError> {
    let text = episode.map(serde_json::to_string).transpose();
    text.map_err(|error| StoreError::Corrupt { act: "write the breakers", problem: error.to_string() })
}

/// The keys of a batch, each once, in the order in which their rows are locked.
pub(super) fn keys(proposals: &[Proposal]) -> Vec<&Key> {
    let keys: HashSet<_> = proposals.iter().map(|proposal| &proposal.key).collect();
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_unstable();
    keys
}

/// A breaker that its history has gone of, and its epoch.
pub(super) fn old_breaker(service: &str, name: &str, epoch: i64) -> Result<(Key, u64), StoreError> {
    let corrupt = |problem: String| StoreError::Corrupt { act: "read old breakers", problem };
    let key = Key::new(service, name).map_err(|error| corrupt(error.to_string()))?;
    let epoch = u64::try_from(epoch).map_err(|_| corrupt(format!("{key} has the epoch {epoch}")))?;
    Ok((key, epoch))
}
