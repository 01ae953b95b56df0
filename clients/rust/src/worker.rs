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
    let (of_thread, listeners) = (Arc::clone(&shared), builder.listeners);
    let run = move || {
        runtime.block_on(run(Arc::clone(&of_thread), addresses, &listeners));
        of_thread.session.send_replace(None);
        of_thread.stopped.send_replace(true);
    };
    std::thread::Builder::new().name("breakerd-client".to_owned()).spawn(run).map_err(BuildError::Thread)?;
    Ok(shared)
}

async fn run(shared: Arc<Shared>, addresses: Addresses, listeners: &[Listener]) {
    let mut stop = shared.stop.subscribe();
    let mut sender = Sender::new(Arc::clone(&shared));
    let work = async {
        tokio::join!(follow(Arc::clone(&shared), addresses), sender.run(), tell(&shared, listeners));
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let _ = tokio::time::timeout(LAST_REPORT_MAX, sender.flush()).await;
    tell_listeners(&shared, listeners);
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
