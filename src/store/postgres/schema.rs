//! The tables: how they are brought up to date, and what a release does that finds those of a newer one.
//!
//! Replicas of two releases share a database during an upgrade, and one of the earlier release may be started again. So
//! migrations that this release does not know are no reason to stop, as long as it knows the one that
//! `meta.compatible_from` names. Whoever writes a migration that a release before cannot live with sets that number to the
//! migration's own, and takes the name of the replicas away, in the same transaction:
//!
//! ```sql
//! UPDATE meta SET compatible_from = 30;
//! UPDATE revision SET holder = NULL;
//! ```
//!
//! Each write of transitions, probes and configuration compares the name, so none of a release that does not know the migration is
//! taken after it. Not compared is it by the exchange of counts, the rows of replicas, and what cleans up: a migration has to be one
//! that these can live with.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::address::Address;
use crate::store::StoreError;
use crate::store::sqlx_error::{fault, postgres_migration_fault, too_slow};

/// Making the tables of a new release may take longer than any call.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(10);

/// What a release knows of the tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema {
    /// The newest migration that it knows.
    newest: i64,
}

/// To be run under the locks of [`super::lock::Lock::take`]: without that of sqlx, which is held by a session, and would stay on
/// one of a pooler's that nobody can give it back on.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.set_locking(false);
    migrator
}

impl Schema {
    pub(super) fn of_this_release() -> Self {
        Self { newest: migrator().iter().map(|migration| migration.version).max().unwrap_or_default() }
    }

    /// Brings the tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where a newer release has changed them so that this one must not write to them, or another program
    /// keeps its migrations there.
    pub(super) async fn migrate(
        self,
        connection: &mut PgConnection,
        address: &Address,
    ) -> Result<(), StoreError> {
        let compatible_from = compatible_from(connection).await?;
        if let Some(needed) = compatible_from {
            self.check(needed, address).map_err(|error| StoreError::Refused(error.to_string()))?;
        }
        let mut migrator = migrator();
        // Without that number they may be another program's.
        migrator.set_ignore_missing(compatible_from.is_some());
        let migrated = timeout(MIGRATION_TIMEOUT, migrator.run_direct(None, connection, false)).await;
        migrated
            .map_err(|_| too_slow("create the tables"))?
            .map_err(|error| postgres_migration_fault(address, error))
    }

    /// Whether this release may write where that migration has to be known.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] if not.
    pub(super) fn check(self, compatible_from: i64, address: &Address) -> Result<(), StoreError> {
        if compatible_from <= self.newest {
            return Ok(());
        }
        Err(StoreError::NewerSchema(format!(
            "{address} was upgraded by a newer breakerd: who writes to it must know migration {compatible_from}, and this one \
             knows them up to {}: run the newer version",
            self.newest
        )))
    }
}

/// What stands in `meta.compatible_from`; none: there is no such column yet.
async fn compatible_from(connection: &mut PgConnection) -> Result<Option<i64>, StoreError> {
    let act = "read the version of the tables";
    let is_there: bool = sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT FROM pg_attribute
             WHERE attrelid = to_regclass('meta') AND attname = 'compatible_from' AND NOT attisdropped
         )",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(fault(act))?;
    if !is_there {
        return Ok(None);
    }
    // It has no row while another is about to make it.
    sqlx::query_scalar("SELECT compatible_from FROM meta")
        .fetch_optional(connection)
        .await
        .map_err(fault(act))
}

/// What stands in `revision.holder` while replicas have the database.
pub(super) async fn shared_holder(connection: &mut PgConnection) -> Result<String, StoreError> {
    Ok(match compatible_from(connection).await? {
        None | Some(0) => "shared".to_owned(),
        Some(needed) => format!("shared from {needed}"),
    })
}
