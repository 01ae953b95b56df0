//! incident-manager [CONFIG]: runs the incident manager, with `config.toml` unless another file is named.

use std::path::PathBuf;

use anyhow::Context;
use incident_manager::app::App;
use incident_manager::config::Config;
use incident_manager::routes;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let path = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("config.toml"), PathBuf::from);
    let config = Config::read(&path)?;
    let app = App::start(&config).await?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
    let shutdown = shutdown()?;
    println!("incident manager: http://{}", listener.local_addr()?);
    axum::serve(listener, routes::router(app.clone())).with_graceful_shutdown(shutdown).await?;
    app.shutdown().await;
    Ok(())
}

/// Ends with SIGINT or SIGTERM.
fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
