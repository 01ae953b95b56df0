//! What a replica knows of its store, as text: what it needs to serve while the store is away.
//!
//! Lines of JSON below a line that names the format, and has the length and a checksum of the rest. A breaker is a row of the
//! table, with the names of its columns. What is read is checked as a row of the database is.

mod configuration_json;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use breaker::Time;
use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher24;

use self::configuration_json::ConfigurationJson;
use super::columns::{bigint, hex, unhex};
use super::judge::BreakerState;
use super::rows::BreakerRow;
use super::{Meta, StoreError, StoredBreaker, StoredConfiguration};

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;
/// How the first line begins.
const NAME: &str = "breakerd-snapshot";
/// Under which what is written is hashed: against damage, not against anybody.
const CHECKSUM_KEY: &[u8; 16] = b"breakerd snapsho";
/// The first line, and the ends of lines, with room to spare.
const HEAD_BYTES: usize = 128;

/// What a replica knows of its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSnapshot {
    /// What the store is; the timeline is the one that the rows are of.
    pub meta: Meta,
    /// Where it is, without its secrets: a database elsewhere is another one.
    pub store_address: String,
    /// When this was taken, by the wall clock.
    pub taken_at: Time,
    /// The keys of permits, by number. Secret.
    pub permit_keys: Vec<SnapshotKey>,
    /// The number of the one that seals.
    pub sealing_key: u32,
    /// What services are judged by.
    pub configuration: StoredConfiguration,
    /// The rows of breakers, in any order. Those that let calls through are the first to be left out where there are too many.
    pub breakers: Vec<StoredBreaker>,
}

/// A key of permits.
#[derive(Clone, PartialEq, Eq)]
pub struct SnapshotKey {
    /// Its number.
    pub number: u32,
    /// Secret.
    pub secret: [u8; 16],
}

impl std::fmt::Debug for SnapshotKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotKey").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Why a snapshot cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is not what was written.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// Another version wrote it.
    #[error("is of format {found}, and this version of breakerd reads format {FORMAT} only")]
    OtherFormat {
        /// The format.
        found: u32,
    },
}

impl From<StoreError> for SnapshotError {
    fn from(error: StoreError) -> Self {
        Self::Damaged(error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct HeadJson {
    store_id: String,
    timeline: u32,
    id_key: String,
    store_address: String,
    taken_at_us: u64,
    permit_keys: BTreeMap<u32, String>,
    sealing_key: u32,
    configuration: ConfigurationJson,
    breakers: usize,
}

/// A snapshot as text, and how many breakers it has no room for.
pub struct EncodedSnapshot {
    /// The text.
    pub text: String,
    /// Breakers that were left out.
    pub left_out: usize,
}

impl LocalSnapshot {
    /// The snapshot as text of at most `bytes_max` bytes, however many breakers there are: those that reject calls come first.
    ///
    /// # Errors
    /// When something has no place in a row, or there is no room even for what is no breaker.
    pub fn encode(&self, bytes_max: usize) -> Result<EncodedSnapshot, StoreError> {
        let mut breakers: Vec<_> = self.breakers.iter().collect();
        breakers.sort_by_key(|stored| {
            (stored.snapshot.state == breaker::State::Closed, stored.snapshot.epoch == 0)
        });
        let mut lines = String::new();
        let head_bytes = to_text(&self.head(usize::MAX))?.len() + HEAD_BYTES;
        let mut kept = 0;
        for stored in breakers {
            let line = breaker_line(stored)?;
            if head_bytes + lines.len() + line.len() + 1 > bytes_max {
                break;
            }
            lines.push_str(&line);
            lines.push('\n');
            kept += 1;
        }
        if head_bytes > bytes_max {
            let problem = format!("the configuration takes {head_bytes} bytes, and the limit is {bytes_max}");
            return Err(StoreError::Corrupt { act: "make a local snapshot", problem });
        }
        let body = format!("{}\n{lines}", to_text(&self.head(kept))?);
        let text = format!("{NAME} {FORMAT} {} {}\n{body}", checksum(&body), body.len());
        Ok(EncodedSnapshot { text, left_out: self.breakers.len() - kept })
    }

    /// Reads what [`LocalSnapshot::encode`] wrote.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn decode(text: &str) -> Result<Self, SnapshotError> {
        let damaged = |problem: &str| SnapshotError::Damaged(problem.to_owned());
        let (first, body) = text.split_once('\n').ok_or_else(|| damaged("it has no first line"))?;
        let mut words = first.split(' ');
        if words.next() != Some(NAME) {
            return Err(damaged("it does not begin as a snapshot"));
        }
        let found = words.next().and_then(|word| word.parse().ok());
        let found = found.ok_or_else(|| damaged("its format is no number"))?;
        if found != FORMAT {
            return Err(SnapshotError::OtherFormat { found });
        }
        let (sum, length) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if length != body.len().to_string() {
            return Err(SnapshotError::Damaged(format!(
                "it has {} bytes, and should have {length}",
                body.len()
            )));
        }
        if sum != checksum(body) {
            return Err(damaged("its checksum is wrong"));
        }
        let mut lines = body.lines();
        let head: HeadJson = from_text(lines.next().unwrap_or_default())?;
        let breakers = lines.map(read_breaker).collect::<Result<Vec<_>, _>>()?;
        if breakers.len() != head.breakers {
            return Err(SnapshotError::Damaged(format!(
                "it has {} breakers of {}",
                breakers.len(),
                head.breakers
            )));
        }
        head.snapshot(breakers)
    }

    fn head(&self, breakers: usize) -> HeadJson {
        let Self { meta, store_address, taken_at, permit_keys, sealing_key, configuration, breakers: _ } =
            self;
        HeadJson {
            store_id: hex(meta.store_id),
            timeline: meta.timeline,
            id_key: secret_text(&meta.id_key),
            store_address: store_address.clone(),
            taken_at_us: taken_at.as_micros(),
            permit_keys: permit_keys.iter().map(|key| (key.number, secret_text(&key.secret))).collect(),
            sealing_key: *sealing_key,
            configuration: configuration.into(),
            breakers,
        }
    }
}

impl HeadJson {
    fn snapshot(self, breakers: Vec<StoredBreaker>) -> Result<LocalSnapshot, SnapshotError> {
        let secret = |text: &str| {
            read_secret(text).ok_or_else(|| SnapshotError::Damaged("a key is of another length".to_owned()))
        };
        let keys = self.permit_keys.iter().map(|(number, text)| {
            Ok::<_, SnapshotError>(SnapshotKey { number: *number, secret: secret(text)? })
        });
        Ok(LocalSnapshot {
            meta: Meta {
                store_id: unhex(&self.store_id)
                    .ok_or_else(|| SnapshotError::Damaged("the store's id is no number".to_owned()))?,
                timeline: self.timeline,
                id_key: secret(&self.id_key)?,
            },
            permit_keys: keys.collect::<Result<_, _>>()?,
            store_address: self.store_address,
            taken_at: Time::from_micros(self.taken_at_us),
            sealing_key: self.sealing_key,
            configuration: self.configuration.stored()?,
            breakers,
        })
    }
}

fn breaker_line(stored: &StoredBreaker) -> Result<String, StoreError> {
    let StoredBreaker { key, snapshot, entered_by, decided_by, revision } = stored;
    let state = BreakerState {
        is_stored: true,
        snapshot: snapshot.clone(),
        entered_by: *entered_by,
        decided_by: decided_by.clone(),
        episode: None,
        act_epoch: 0,
        first_probe_at: None,
        reconciled: None,
    };
    let row = BreakerRow::new(key, &state)?;
    to_text(&BreakerRow { revision: bigint("make a local snapshot", "revision", *revision)?, ..row })
}

fn read_breaker(line: &str) -> Result<StoredBreaker, SnapshotError> {
    Ok(from_text::<BreakerRow>(line)?.breaker()?)
}

fn to_text(value: &impl Serialize) -> Result<String, StoreError> {
    let text = serde_json::to_string(value);
    text.map_err(|error| StoreError::Corrupt { act: "make a local snapshot", problem: error.to_string() })
}

fn from_text<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, SnapshotError> {
    serde_json::from_str(line).map_err(|error| SnapshotError::Damaged(error.to_string()))
}

fn checksum(body: &str) -> String {
    hex128(SipHasher24::new_with_key(CHECKSUM_KEY).hash(body.as_bytes()).as_u128())
}

fn hex128(number: u128) -> String {
    format!("{number:032x}")
}

fn secret_text(secret: &[u8; 16]) -> String {
    secret.iter().fold(String::with_capacity(32), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_secret(text: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use breaker::{
        Attribution, EnteredBy, Field, Key, Layer, Override, OverrideKind, Reason, Scope, Snapshot, State,
        Stats, Value,
    };

    use super::*;
    use crate::catalog::{Changed, Declaration, StoredDeclaration};
    use crate::store::ServiceOverride;

    fn breaker(name: &str, state: State) -> StoredBreaker {
        let set_by = Override {
            kind: OverrideKind::ForcedOpen,
            scope: Scope::Breaker,
            expires_at: Some(Time::from_micros(9)),
            ttl: Some(Duration::from_secs(7)),
            actor: "ann".to_owned(),
            reason: "a \"drill\"\n".to_owned(),
        };
        StoredBreaker {
            key: Key::new("db", name).unwrap(),
            snapshot: Snapshot {
                epoch: 3,
                state,
                open_count: 2,
                entered_at: Time::from_micros(1_700_000_000_000_001),
                wait: (state == State::Open).then_some(Duration::from_mins(1)),
                set_by: (state == State::ForcedOpen).then_some(set_by),
                config_revision: 8,
                ..Snapshot::pristine()
            },
            entered_by: Some(EnteredBy {
                from: State::Closed,
                reason: Reason::FailureCount,
                stats: Stats::default(),
            }),
            decided_by: None,
            revision: 41,
        }
    }

    fn snapshot() -> LocalSnapshot {
        let mut layer = Layer::default();
        layer.set(Field::FailureThreshold, Value::Count(9)).unwrap();
        let declaration = Declaration { generation: Some(4), enabled: true, ..Declaration::default() };
        let set = ServiceOverride {
            kind: OverrideKind::Disabled,
            expires_at: None,
            ttl: Some(Duration::from_mins(1)),
            attribution: Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() },
            set_at: Time::from_micros(5),
            revision: 6,
        };
        LocalSnapshot {
            meta: Meta { store_id: 0xfeed, timeline: 7, id_key: *b"0123456789abcdef" },
            store_address: "db:5432/breakerd".to_owned(),
            taken_at: Time::from_micros(1_700_000_000_000_000),
            permit_keys: vec![
                SnapshotKey { number: 2, secret: [2; 16] },
                SnapshotKey { number: 3, secret: [0xf3; 16] },
            ],
            sealing_key: 3,
            configuration: StoredConfiguration {
                declared: Some(StoredDeclaration { declaration, revision: 2 }),
                set: [("db".to_owned(), layer)].into(),
                overrides: [("web".to_owned(), set)].into(),
                changed: [("db".to_owned(), Changed { revision: 6, at: Time::from_micros(3) })].into(),
                revision: 6,
                forgotten: 1,
            },
            breakers: vec![
                breaker("a", State::Closed),
                breaker("b", State::Open),
                breaker("c", State::ForcedOpen),
            ],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let encoded = snapshot().encode(1 << 20).unwrap();
        assert_eq!(encoded.left_out, 0);
        let mut read = LocalSnapshot::decode(&encoded.text).unwrap();
        read.breakers.sort_by(|one, two| one.key.cmp(&two.key));
        assert_eq!(read, snapshot());
        assert!(!format!("{:?}", snapshot().permit_keys).contains("secret"));
    }

    #[test]
    fn a_snapshot_that_was_changed_anywhere_is_refused() {
        let text = snapshot().encode(1 << 20).unwrap().text;
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(LocalSnapshot::decode(&changed).is_err(), "byte {at}");
            assert!(LocalSnapshot::decode(&text[..at]).is_err(), "cut at {at}");
        }
        let later = text.replacen("breakerd-snapshot 1 ", "breakerd-snapshot 2 ", 1);
        assert_eq!(LocalSnapshot::decode(&later), Err(SnapshotError::OtherFormat { found: 2 }));
    }

    #[test]
    fn where_there_is_no_room_the_closed_ones_are_left_out_first() {
        let whole = snapshot().encode(1 << 20).unwrap().text.len();
        let encoded = snapshot().encode(whole - 1).unwrap();
        assert_eq!(encoded.left_out, 1);
        assert!(encoded.text.len() < whole);
        let read = LocalSnapshot::decode(&encoded.text).unwrap();
        let mut states: Vec<_> = read.breakers.iter().map(|stored| stored.snapshot.state).collect();
        states.sort_unstable_by_key(|state| state.as_str());
        assert_eq!(states, [State::ForcedOpen, State::Open]);
        assert!(snapshot().encode(100).is_err());
    }
}
