//! Rows of the keys of permits, the same for both stores.

use sqlx::FromRow;

use super::StoreError;
use super::columns::{Reader, micros, random};
use super::permit_key_store::{PERMIT_KEY_KEPT, PermitKey};

/// Gives a store whose identity is new its first key.
pub(super) const FIRST_KEY_ACT: &str = "make the first permit key";

/// Lets a key seal, and deletes old ones.
pub(super) const ADVANCE_ACT: &str = "advance the permit keys";

/// A row of `permit_key`, its times as ages.
#[derive(FromRow)]
pub(super) struct PermitKeyRow {
    number: i64,
    secret: Vec<u8>,
    age_us: i64,
    sealing_us: Option<i64>,
}

impl PermitKeyRow {
    pub(super) fn key(self) -> Result<PermitKey, StoreError> {
        let reader = Reader { act: "read the permit keys", row: "permit_key" };
        // Clocks of databases are set back.
        let age = |micros: i64| std::time::Duration::from_micros(micros.max(0).unsigned_abs());
        Ok(PermitKey {
            number: reader.number("number", self.number)?,
            secret: self.secret.try_into().map_err(|_| reader.wrong("secret", "of another length"))?,
            age: age(self.age_us),
            sealing_for: self.sealing_us.map(age),
        })
    }
}

/// What a transaction that adds a key reads of one that is there.
#[derive(Debug, Clone, Copy, FromRow)]
pub(super) struct PresentKey {
    pub(super) number: i64,
    pub(super) seals: bool,
}

/// A secret that nobody can guess.
pub(super) fn new_secret() -> Result<[u8; 16], StoreError> {
    random("make a permit key")
}

/// See [`PERMIT_KEY_KEPT`].
pub(super) fn kept_micros() -> i64 {
    micros(PERMIT_KEY_KEPT)
}
