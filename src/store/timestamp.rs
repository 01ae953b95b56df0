//! A point in time as the databases keep it.

use breaker::Time;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::types::time::OffsetDateTime;
use sqlx::{Decode, Encode, Postgres, Sqlite, Type};

/// Microseconds since the Unix epoch: `timestamptz` in Postgres, an integer in SQLite, and exact in both.
///
/// What does not fit into an `i64` is `infinity` in Postgres, the largest integer in SQLite, and read as
/// [`Time::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "i64", into = "i64")]
pub(super) struct Timestamp(pub(super) Time);

/// From the Unix epoch to 2000-01-01, where `timestamptz` counts from.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// How Postgres writes `infinity`.
const INFINITY: i64 = i64::MAX;

impl Timestamp {
    pub(super) fn micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(INFINITY)
    }

    /// As a `timestamptz` has it.
    pub(super) fn postgres_micros(self) -> i64 {
        match self.micros() {
            INFINITY => INFINITY,
            micros => micros - POSTGRES_EPOCH_US,
        }
    }
}

impl From<Timestamp> for i64 {
    fn from(stamp: Timestamp) -> Self {
        stamp.micros()
    }
}

impl TryFrom<i64> for Timestamp {
    type Error = &'static str;

    fn try_from(micros: i64) -> Result<Self, &'static str> {
        if micros == INFINITY {
            return Ok(Self(Time::MAX));
        }
        let micros = u64::try_from(micros).map_err(|_| "a time before 1970")?;
        Ok(Self(Time::from_micros(micros)))
    }
}

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for Timestamp {
    fn array_type_info() -> PgTypeInfo {
        <OffsetDateTime as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Postgres>>::encode_by_ref(&self.postgres_micros(), buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        // Every query here is prepared, and what is prepared is answered in binary.
        if value.format() != PgValueFormat::Binary {
            return Err("a time that came as text".into());
        }
        let stamp = <i64 as Decode<Postgres>>::decode(value)?;
        Ok(Self::try_from(stamp.saturating_add(POSTGRES_EPOCH_US))?)
    }
}

impl Type<Sqlite> for Timestamp {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(info: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(info)
    }
}

impl Encode<'_, Sqlite> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Sqlite>>::encode_by_ref(&self.micros(), buffer)
    }
}

impl<'r> Decode<'r, Sqlite> for Timestamp {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self::try_from(<i64 as Decode<Sqlite>>::decode(value)?)?)
    }
}
