//! Connections: how many, how long, and how they end.
//!
//! `axum::serve` waits at shutdown for every connection, for as long as its client likes, and has no bound
//! on their number or on the time that a request's head may take. So the loop is ours: hyper speaks HTTP/1,
//! a set of tasks holds the connections, and whatever is left of it after the grace time is dropped.

use std::io;
use std::net::IpAddr;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::router;
use crate::app::App;
use crate::auth::{CertificateNames, ConnectionAuth, CountGuard, EdgeSecurity, Protocol, Tls, names_of};
use crate::log_throttle::LogThrottle;
use crate::metrics::{Entry, Refusal};

/// Connections at one time: scrapers, probes and people are few. At the bound newcomers wait in the
/// listener's queue, until an idle one is closed at the latest.
const CONNECTIONS_MAX: usize = 256;
/// Of one address; a further one is closed at once. Half, so that whoever opens all they can does not keep the probes out:
/// a process that does not answer those is restarted.
const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
/// How long the head of a request may take; an idle connection waits no longer for its next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The life of a connection: whoever reads a page byte by byte holds its place no longer.
const CONNECTION_LIFE_MAX: Duration = Duration::from_mins(5);
/// How long the last page of a connection may take after its life.
const LAST_PAGE_MAX: Duration = Duration::from_secs(10);
/// The most that is read ahead of one connection: many times the head of a scrape.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long nobody is accepted after that failed: most likely the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How long the server waits for its clients.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a client to take some of a page; then its connection is closed.
    pub write: Duration,
    /// For pages that were asked for, once the shutdown began.
    pub grace: Duration,
}

/// Serves the pages of `app`, behind the door, until `shutdown`; then answers what was asked, for at most the grace time, and
/// ends.
///
/// # Errors
/// None so far: what fails, fails one connection.
pub async fn serve(
    app: Arc<App>,
    door: EdgeSecurity,
    listener: TcpListener,
    shutdown: CancellationToken,
    timeouts: Timeouts,
) -> io::Result<()> {
    let Timeouts { write: write_timeout, grace } = timeouts;
    let router = router(Arc::clone(&app));
    let host = Host { router, app, door, told: Arc::default(), write_timeout, shutdown };
    let shutdown = &host.shutdown;
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => {
                log_panic(ended);
                continue;
            }
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = peer.ip().to_canonical();
                if let Some(place) = host.place(peer) {
                    let received = host.clone().receive(stream, peer);
                    connections.spawn(async move {
                        received.await;
                        drop(place);
                    });
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept an HTTP connection");
                shutdown.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
    drop(listener);
    let answered = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if tokio::time::timeout(grace, answered).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "HTTP connections outlived the shutdown grace period"
        );
        connections.shutdown().await;
    }
    Ok(())
}

/// What every connection needs.
#[derive(Clone)]
struct Host {
    app: Arc<App>,
    router: Router,
    door: EdgeSecurity,
    /// When a connection that was refused, or failed at TLS, was last told of in the log.
    told: Arc<LogThrottle>,
    write_timeout: Duration,
    shutdown: CancellationToken,
}

impl Host {
    /// A place among the connections of one address.
    fn place(&self, peer: IpAddr) -> Option<CountGuard> {
        let max = CONNECTIONS_PER_ADDRESS_MAX;
        let place = self.door.guard.counts_at(peer).enter(|counts| &counts.pages, max);
        if place.is_some() {
            return place;
        }
        self.app.metrics.access.refused(Entry::Http, Refusal::CallerLimit);
        if self.told.is_due(self.app.clock.now()) {
            tracing::warn!(%peer, max, "HTTP connections closed: too many of one address");
        }
        None
    }

    async fn receive(self, stream: TcpStream, peer: IpAddr) {
        match self.door.tls.clone() {
            None => self.converse(stream, peer, None).await,
            Some(tls) => self.shake(stream, peer, &tls).await,
        }
    }

    async fn shake(self, stream: TcpStream, peer: IpAddr, tls: &Tls) {
        let shaking = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream, Protocol::Http1));
        let Some(shaken) = self.shutdown.run_until_cancelled(shaking).await else { return };
        match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let names = names_of(&stream);
                self.converse(stream, peer, names).await;
            }
            Err(error) => {
                self.app.metrics.tls.failed(Entry::Http);
                if self.told.is_due(self.app.clock.now()) {
                    tracing::warn!(%peer, %error, "TLS handshake of an HTTP connection failed");
                }
            }
        }
    }

    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: IpAddr,
        names: Option<CertificateNames>,
    ) {
        let visitor = Arc::new(ConnectionAuth::new(Arc::clone(&self.door.guard), peer, names));
        let router = self.router.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&visitor));
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
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = last_page(&self.shutdown) => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(LAST_PAGE_MAX, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an http connection failed");
        }
    }
}

/// Ends when a connection may begin no other page.
async fn last_page(shutdown: &CancellationToken) {
    shutdown.run_until_cancelled(tokio::time::sleep(CONNECTION_LIFE_MAX)).await;
}

/// Its client went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "HTTP connection task panicked");
    }
}
