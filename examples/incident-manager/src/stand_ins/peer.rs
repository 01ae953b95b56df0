//! A server on loopback with a behavior that can be changed at any time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Requests that are remembered: the newest.
const RECEIVED_MAX: usize = 100;

/// How a service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// It works.
    Answer,
    /// It works after a delay.
    Slow(Duration),
    /// It answers with this HTTP status or SMTP reply code.
    Status(u16),
    /// It answers 429 with a `Retry-After` of so many seconds.
    Throttle(u64),
    /// It reads, and never answers.
    Hang,
    /// It resets the connection.
    Reset,
    /// It answers with what is not its protocol.
    Garbage,
    /// It answers in its protocol, with a content that makes no sense.
    WrongContent,
}

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The request line.
    pub line: String,
    /// The header, or the commands of SMTP.
    pub head: String,
    /// The body, or the message.
    pub body: String,
}

/// What a peer remembers.
#[derive(Debug, Clone, Default)]
pub(super) struct Record(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    count: u64,
    newest: VecDeque<Received>,
}

impl Record {
    pub(super) fn add(&self, request: Received) {
        let mut log = self.log();
        log.count += 1;
        if log.newest.len() == RECEIVED_MAX {
            log.newest.pop_front();
        }
        log.newest.push_back(request);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running stand-in. It ends when this is dropped: connections are refused then.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    behavior: watch::Sender<Behavior>,
    record: Record,
    accepting: JoinHandle<()>,
}

impl Peer {
    /// Serves each connection with `serve`, on a free port.
    pub(super) async fn start<F>(
        serve: impl Fn(TcpStream, Behavior, Record) -> F + Send + 'static,
    ) -> std::io::Result<Self>
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (behavior, told) = watch::channel(Behavior::Answer);
        let record = Record::default();
        let accepting = tokio::spawn(accept(listener, told, record.clone(), serve));
        Ok(Self { address, behavior, record, accepting })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// From now on it behaves so. Calls that hang are cut off.
    pub fn behave(&self, behavior: Behavior) {
        self.behavior.send_replace(behavior);
    }

    /// Requests that have arrived, whatever it answered.
    pub fn count(&self) -> u64 {
        self.record.log().count
    }

    /// The newest requests, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.record.log().newest.iter().cloned().collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<F>(
    listener: TcpListener,
    mut told: watch::Receiver<Behavior>,
    record: Record,
    serve: impl Fn(TcpStream, Behavior, Record) -> F,
) where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    // They end with the peer.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((connection, _)) = listener.accept().await else { continue };
        // A conversation of many short lines would wait for acknowledgments otherwise.
        let _ = connection.set_nodelay(true);
        while connections.try_join_next().is_some() {}
        let behavior = *told.borrow_and_update();
        let mut told = told.clone();
        let serving = serve(connection, behavior, record.clone());
        connections.spawn(async move {
            tokio::select! {
                // A client that disconnects is none of our errors.
                _ = serving => {}
                _ = told.changed() => {}
            }
        });
    }
}

/// Closes a connection with RST instead of FIN.
pub(super) fn reset(connection: &TcpStream) -> std::io::Result<()> {
    connection.set_zero_linger()
}
