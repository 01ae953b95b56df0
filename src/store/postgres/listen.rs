//! Tells of writes by whichever replica, by LISTEN on a connection of its own.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::timeout;

use super::address::Address;
use super::connector::ANSWER_TIMEOUT;
use crate::store::StoreError;
use crate::store::sqlx_error::{connect_fault, fault, too_slow};

/// The channel of [`super::write_transaction::bump`].
const CHANNEL: &str = "breakerd";
/// A connection that has been silent for so long is asked whether it still stands.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Calls `changed` for each write that is told of, until the connection is lost; answers why.
pub(super) async fn listen(
    server: &PgConnectOptions,
    address: &Address,
    changed: &(dyn Fn() + Send + Sync),
) -> StoreError {
    match follow(server, address, changed).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn follow(
    server: &PgConnectOptions,
    address: &Address,
    changed: &(dyn Fn() + Send + Sync),
) -> Result<std::convert::Infallible, StoreError> {
    let act = "listen for changes";
    let mut listener = timeout(ANSWER_TIMEOUT, async {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(server.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await.map(|()| listener)
    })
    .await
    .map_err(|_| too_slow(act))?
    .map_err(|error| connect_fault(address, act, error))?;
    // What was written before it listened was not told.
    changed();
    loop {
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(_))) => changed(),
            Ok(Ok(None)) => return Err(too_slow(act)),
            Ok(Err(error)) => return Err(fault(act)(error)),
            Err(_) => {
                let asked = timeout(ANSWER_TIMEOUT, listener.execute("SELECT 1")).await;
                asked.map_err(|_| too_slow(act))?.map_err(fault(act))?;
            }
        }
    }
}
