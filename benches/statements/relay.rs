//! Between a replica and Postgres, to see what passes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Bytes since it began, of all connections.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    to_postgres: AtomicU64,
    from_postgres: AtomicU64,
}

impl Relay {
    /// Begins; answers where it listens, beside itself.
    pub(crate) async fn to(postgres: &str) -> io::Result<(Arc<Self>, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (relay, postgres) = (Arc::new(Self::default()), postgres.to_owned());
        let all = Arc::clone(&relay);
        tokio::spawn(async move {
            while let Ok((replica, _)) = listener.accept().await {
                let Ok(postgres) = TcpStream::connect(&postgres).await else { continue };
                let _ = (replica.set_nodelay(true), postgres.set_nodelay(true));
                let ((from_replica, to_replica), (from_postgres, to_postgres)) =
                    (replica.into_split(), postgres.into_split());
                let relay = Arc::clone(&all);
                tokio::spawn(async move { pass(from_replica, to_postgres, &relay.to_postgres).await });
                let relay = Arc::clone(&all);
                tokio::spawn(async move { pass(from_postgres, to_replica, &relay.from_postgres).await });
            }
        });
        Ok((relay, address))
    }

    /// Bytes to Postgres, and from it.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.to_postgres.load(Relaxed), self.from_postgres.load(Relaxed))
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, sum: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        sum.fetch_add(read as u64, Relaxed);
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}
