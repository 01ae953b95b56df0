//! A transaction whose connection is thrown away when it did not end well.
//!
//! A statement or a commit that fails can leave its connection in a state that the driver does not know: a full disk
//! makes SQLite roll back by itself, or stay in the transaction whose commit failed; a dropped future leaves Postgres
//! in the middle of a statement. The next transaction on such a connection would fail, and so would each one after it.
//! So a connection goes back to its pool after a commit or a rollback that succeeded; otherwise it is closed, which
//! rolls back, and the pool opens another.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Database, Executor, Pool};

use super::StoreError;
use super::sqlx_error::fault;

/// A transaction on a connection of a pool. Dropped before [`Transaction::commit`] or [`Transaction::rollback`] has
/// succeeded, it closes the connection.
pub(super) struct Transaction<DB: Database> {
    connection: PoolConnection<DB>,
    ended: bool,
}

impl<DB: Database> Transaction<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Takes a connection and runs `begin` on it: a `BEGIN`, and what else is set for this transaction alone.
    pub(super) async fn begin(pool: &Pool<DB>, begin: &'static str) -> Result<Self, StoreError> {
        let act = "begin a transaction";
        let connection = pool.acquire().await.map_err(fault(act))?;
        let mut transaction = Self { connection, ended: false };
        transaction.run(begin).await.map_err(fault(act))?;
        Ok(transaction)
    }

    /// Commits. `act` says what failed, if it does.
    pub(super) async fn commit(mut self, act: &'static str) -> Result<(), StoreError> {
        self.run("COMMIT").await.map_err(fault(act))?;
        self.ended = true;
        Ok(())
    }

    /// Runs these statements and commits, all in one message. They have no parameters: their values are written out.
    pub(super) async fn commit_after(
        mut self,
        statements: String,
        act: &'static str,
    ) -> Result<(), StoreError> {
        let last = AssertSqlSafe(format!("{statements}; COMMIT"));
        self.connection.execute(sqlx::raw_sql(last)).await.map_err(fault(act))?;
        self.ended = true;
        Ok(())
    }

    /// Ends a transaction that has nothing to write.
    pub(super) async fn rollback(mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK").await.map_err(fault("roll back a transaction"))?;
        self.ended = true;
        Ok(())
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        // Not prepared: a statement that is kept for the next time would be one more thing that can be out of step.
        self.connection.execute(sqlx::raw_sql(statement)).await.map(drop)
    }
}

impl<DB: Database> Drop for Transaction<DB> {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

impl<DB: Database> Deref for Transaction<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.connection
    }
}

impl<DB: Database> DerefMut for Transaction<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }
}
