//! Tells of writes by whichever replica, by LISTEN on a connection of its own.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::timeout;

use super::address::Address;
use super::connector::ANSWER_TIMEOUT;
use crate::store::sqlx_error::{connect_fault, fault, too_slow};
use crate::store::{StoreError, Told};

/// The channel of [`super::write_transaction::bump`].
const CHANGES: &str = "breakerd";
/// That of [`super::counts`].
const COUNTS: &str = "breakerd_counts";
/// A connection that has been silent for so long is asked whether it still stands.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Calls `told` for each write that is told of, until the connection is lost; answers why.
pub(super) async fn listen(
    server: &PgConnectOptions,
    address: &Address,
    told: &(dyn Fn(Told) + Send + Sync),
) -> StoreError {
    match follow(server, address, told).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn follow(
    server: &PgConnectOptions,
    address: &Address,
    told: &(dyn Fn(Told) + Send + Sync),
) -> Result<std::convert::Infallible, StoreError> {
    let act = "listen for changes";
    let mut listener = timeout(ANSWER_TIMEOUT, async {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(server.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen_all([CHANGES, COUNTS]).await.map(|()| listener)
    })
    .await
    .map_err(|_| too_slow(act))?
    .map_err(|error| connect_fault(address, act, error))?;
    // What was written before it listened was not told.
    told(Told::Changes);
    told(Told::Counts);
    loop {
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(heard))) if heard.channel() == COUNTS => told(Told::Counts),
            Ok(Ok(Some(_))) => told(Told::Changes),
            Ok(Ok(None)) => return Err(too_slow(act)),
            Ok(Err(error)) => return Err(fault(act)(error)),
            Err(_) => {
                let asked = timeout(ANSWER_TIMEOUT, listener.execute("SELECT 1")).await;
                asked.map_err(|_| too_slow(act))?.map_err(fault(act))?;
            }
        }
    }
}
