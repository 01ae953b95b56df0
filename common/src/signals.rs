//! Signals of the operating system.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Listens for signals from now on. The token is cancelled by the first SIGTERM or SIGINT; the second ends the
/// process at once. SIGHUP does nothing: a changed file is reloaded without it.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn shutdown() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let shutdown = token.clone();
    // Ends with the runtime: there is no moment at which the process stops listening. Should it panic all the same, the
    // guard shuts the process down: one that handles no signal could only be killed.
    let guard = token.clone().drop_guard();
    tokio::spawn(async move {
        let _guard = guard;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => continue,
            }
            if shutdown.is_cancelled() {
                tracing::warn!("second shutdown signal received, exiting immediately");
                std::process::exit(130);
            }
            tracing::info!("shutdown signal received");
            shutdown.cancel();
        }
    });
    Ok(token)
}
