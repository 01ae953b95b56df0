//! HTTP/1 on one connection: its limits, and its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::router;
use crate::app::App;
use crate::auth::{Authenticator, ConnectionAuth, Protocol, TransportSecurity};
use crate::listener::{Connection, ConnectionHandler, ConnectionLimits, Drained, Listener, WhenFull};

/// Connections at one time: scrapers, probes and people are few. At the bound newcomers wait in the
/// listener's queue, until an idle one is closed at the latest.
const CONNECTIONS_MAX: usize = 256;
/// Of one address; a further one is closed at once. Half, so that one client cannot keep the probes out:
/// a process that does not answer those is restarted.
const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
/// How long the head of a request may take; an idle connection waits no longer for its next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest life of a connection: a client that reads a page byte by byte holds its slot no longer.
const CONNECTION_LIFE_MAX: Duration = Duration::from_mins(5);
/// How long the last page of a connection may take after its life.
const LAST_PAGE_MAX: Duration = Duration::from_secs(10);
/// The most that is read ahead of one connection: many times the head of a scrape.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// How long the server waits for its clients.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a client to take some of a page; then its connection is closed.
    pub write: Duration,
    /// For pages that were requested, once the shutdown began.
    pub grace: Duration,
}

/// Serves the pages of `app` on `socket` until `shutdown`; then answers pending requests, for at most the grace period, and
/// ends.
pub async fn serve(
    app: Arc<App>,
    security: TransportSecurity,
    socket: TcpListener,
    shutdown: CancellationToken,
    timeouts: Timeouts,
) -> Drained {
    let limits = ConnectionLimits {
        connections_max: CONNECTIONS_MAX,
        when_full: WhenFull::Wait,
        connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
        handshakes_max: CONNECTIONS_MAX,
        silence_max: HEAD_TIMEOUT,
        grace: timeouts.grace,
    };
    let pages = Pages {
        router: router(Arc::clone(&app)),
        authenticator: Arc::clone(&security.authenticator),
        write_timeout: timeouts.write,
    };
    let (metrics, clock) = (Arc::clone(&app.metrics), Arc::clone(&app.clock));
    Listener::new(Protocol::Http, security, limits, metrics, clock).serve(socket, pages, shutdown).await
}

/// What every connection needs.
#[derive(Clone)]
struct Pages {
    router: Router,
    authenticator: Arc<Authenticator>,
    write_timeout: Duration,
}

impl ConnectionHandler for Pages {
    async fn handle<S>(self, stream: S, connection: Connection)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Connection { peer, certificate, shutdown, kill, .. } = connection;
        let auth = Arc::new(ConnectionAuth::new(self.authenticator, peer, certificate));
        let router = self.router.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&auth));
            request
        });
        let mut stream = TimeoutStream::new(stream);
        // A client that reads nothing keeps a page, and a connection.
        stream.set_write_timeout(Some(self.write_timeout));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
        let mut connection = pin!(connection);
        let served = async {
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = last_page(&shutdown) => {
                    connection.as_mut().graceful_shutdown();
                    tokio::time::timeout(LAST_PAGE_MAX, connection).await.unwrap_or(Ok(()))
                }
            }
        };
        if let Some(Err(error)) = kill.run_until_cancelled(served).await {
            tracing::debug!(%error, "an HTTP connection failed");
        }
    }
}

/// Ends when a connection may begin no other page.
async fn last_page(shutdown: &CancellationToken) {
    shutdown.run_until_cancelled(tokio::time::sleep(CONNECTION_LIFE_MAX)).await;
}
