//! Tells of writes by whichever replica, by LISTEN on a connection of its own.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Connection as _, Executor as _};
use tokio::time::timeout;

use super::address::Address;
use super::connector::{ANSWER_TIMEOUT, Connector};
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
    match follow(server, address, None, told).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// The same, by way of a URL of its own; the database there must be the one of `store_id`.
pub(super) async fn listen_apart(
    connector: &Connector,
    store_id: &str,
    told: &(dyn Fn(Told) + Send + Sync),
) -> StoreError {
    let server = match connector.connect().await {
        Ok((connection, server)) => {
            // It says which server there is.
            drop(timeout(ANSWER_TIMEOUT, connection.close()).await);
            server
        }
        Err(error) => return error,
    };
    match follow(&server, &Address::of(&server), Some(store_id), told).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn follow(
    server: &PgConnectOptions,
    address: &Address,
    store_id: Option<&str>,
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
    if let Some(store_id) = store_id {
        let found =
            timeout(ANSWER_TIMEOUT, sqlx::query_scalar("SELECT store_id FROM meta").fetch_one(&mut listener));
        let found: String = found.await.map_err(|_| too_slow(act))?.map_err(fault(act))?;
        if found != store_id {
            let problem = "store.listen_url names another database than store.url".to_owned();
            return Err(StoreError::Refused(problem));
        }
    }
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
