//! Where a server listens.

use std::io;
use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use tokio::net::TcpListener;

use crate::config::Settings;

/// The two sockets, bound.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For metrics and health pages.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds both, as the settings say.
    ///
    /// # Errors
    /// When one cannot be bound: which, and what to do about it.
    pub async fn bind(settings: &Settings) -> Result<Self> {
        Ok(Self {
            grpc: bind(settings.grpc_listen, "gRPC", "grpc.listen (BREAKERD_GRPC_LISTEN, --grpc-listen)")
                .await?,
            http: bind(settings.http_listen, "HTTP", "http.listen (BREAKERD_HTTP_LISTEN, --http-listen)")
                .await?,
        })
    }
}

async fn bind(address: SocketAddr, what: &str, setting: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "the port is in use by another process".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied for this port".to_owned(),
            _ => error.to_string(),
        };
        anyhow!("cannot listen on {address} ({what}): {why}; change {setting}")
    })
}
