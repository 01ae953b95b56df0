//! The thread of a client. Its tasks do not live on a caller's runtime, which may end while the client is in use.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::connection::{Addresses, follow};
use crate::error::BuildError;
use crate::log;
use crate::sender::Sender;
use crate::settings::{Builder, Listener};
use crate::shared::Shared;

/// How long the end of a client waits for its last report.
const LAST_REPORT_MAX: Duration = Duration::from_secs(1);
/// After a panic.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread of a client.
///
/// # Errors
/// [`BuildError`].
pub(crate) fn start(builder: Builder, addresses: Addresses) -> Result<Arc<Shared>, BuildError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BuildError::Thread)?;
    let shared = Arc::new(Shared::new(&builder, Clock::system(), Some(runtime.handle().clone()))?);
    #[cfg(feature = "prometheus")]
    crate::prometheus::show(&shared);
    let work = Work { shared: Arc::clone(&shared), addresses, listeners: builder.listeners };
    let supervise = move || runtime.block_on(supervise(Arc::new(work)));
    std::thread::Builder::new()
        .name("breakerd-client".to_owned())
        .spawn(supervise)
        .map_err(BuildError::Thread)?;
    Ok(shared)
}

struct Work {
    shared: Arc<Shared>,
    addresses: Addresses,
    listeners: Vec<Listener>,
}

/// Runs the work of a client until the client ends. Should it panic, it begins anew.
async fn supervise(work: Arc<Work>) {
    while let Err(panicked) = tokio::spawn(run(Arc::clone(&work))).await {
        log::warning!(error = %panicked, "the work of the client panicked");
        work.shared.session.send_replace(None);
        tokio::time::sleep(RESTART_PAUSE).await;
    }
    let Work { shared, .. } = &*work;
    shared.session.send_replace(None);
    shared.around.link.forget();
    shared.stopped.send_replace(true);
}

async fn run(work: Arc<Work>) {
    let Work { shared, addresses, listeners } = &*work;
    let mut stop = shared.stop.subscribe();
    let mut sender = Sender::new(Arc::clone(shared));
    let work = async {
        tokio::join!(follow(shared, addresses), sender.run(), tell(shared, listeners));
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let _ = tokio::time::timeout(LAST_REPORT_MAX, sender.flush()).await;
    tell_listeners(shared, listeners);
}

/// Tells listeners of state changes.
async fn tell(shared: &Shared, listeners: &[Listener]) {
    loop {
        shared.around.changes.some().await;
        tell_listeners(shared, listeners);
    }
}

fn tell_listeners(shared: &Shared, listeners: &[Listener]) {
    loop {
        // Not while a listener runs: it may ask for a state.
        let Some(change) = shared.around.changes.take() else { return };
        log::info!(breaker = %change.key, from = %change.from, to = %change.to, by_breakerd = ?change.by_breakerd, "circuit breaker changed state");
        for listener in listeners {
            if catch_unwind(AssertUnwindSafe(|| listener(&change))).is_err() {
                log::warning!(breaker = %change.key, "a listener of state changes panicked");
            }
        }
    }
}
