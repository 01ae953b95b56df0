//! The thread of a client. Its tasks do not live on a caller's runtime, which may end while the client is in use.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::changes::{StateChange, WAITING_MAX};
use crate::clock::Clock;
use crate::connection::{Addresses, follow};
use crate::error::BuildError;
use crate::log;
use crate::sender::Sender;
use crate::settings::{Builder, Listener};
use crate::shared::{REQUESTS_MAX, Shared};

/// How long the end of a client waits for its last report.
const LAST_REPORT_MAX: Duration = Duration::from_secs(1);
/// Of that, how long it waits for requests for permission, to give back what they get.
const LAST_REQUESTS_MAX: Duration = Duration::from_millis(500);
/// After a panic.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread of a client.
///
/// # Errors
/// [`BuildError`].
pub(crate) fn start(builder: Builder, addresses: Addresses) -> Result<Arc<Shared>, BuildError> {
    let runtime = OwnRuntime::new().map_err(BuildError::Thread)?;
    let shared = Arc::new(Shared::new(&builder, Clock::system(), Some(runtime.get().handle().clone()))?);
    #[cfg(feature = "prometheus")]
    crate::prometheus::show(&shared);
    let listeners = start_listeners(builder.listeners).map_err(BuildError::Thread)?;
    let work = Work { shared: Arc::clone(&shared), addresses, listeners };
    let supervise = move || runtime.get().block_on(supervise(Arc::new(work)));
    std::thread::Builder::new()
        .name("breakerd-client".to_owned())
        .spawn(supervise)
        .map_err(BuildError::Thread)?;
    Ok(shared)
}

/// The runtime of a client. It can be dropped on a caller's runtime, where one that waits for its tasks would panic: a setting is wrong,
/// or there are no more threads.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new() -> std::io::Result<Self> {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map(|runtime| Self(Some(runtime)))
    }

    fn get(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken by drop alone")
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Work {
    shared: Arc<Shared>,
    addresses: Addresses,
    /// Where the changes of state go. None: nobody listens.
    listeners: Option<SyncSender<StateChange>>,
}

/// Starts the thread of the listeners, if there are any. They may take their time: the thread of the client measures the deadlines of
/// calls and answers breakerd, and must not wait for them.
fn start_listeners(listeners: Vec<Listener>) -> std::io::Result<Option<SyncSender<StateChange>>> {
    if listeners.is_empty() {
        return Ok(None);
    }
    let (sender, changes) = sync_channel(WAITING_MAX);
    std::thread::Builder::new()
        .name("breakerd-listen".to_owned())
        .spawn(move || tell_listeners(&changes, &listeners))?;
    Ok(Some(sender))
}

/// Until the client ends.
fn tell_listeners(changes: &Receiver<StateChange>, listeners: &[Listener]) {
    for change in changes {
        for listener in listeners {
            if catch_unwind(AssertUnwindSafe(|| listener(&change))).is_err() {
                log::warning!(breaker = %change.key, "a listener of state changes panicked");
            }
        }
    }
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
        tokio::join!(follow(shared, addresses), sender.run(), tell(shared, listeners.as_ref()));
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let last_report = async {
        let no_requests = Arc::clone(&shared.requests).acquire_many_owned(REQUESTS_MAX);
        if let Ok(Ok(slots)) = tokio::time::timeout(LAST_REQUESTS_MAX, no_requests).await {
            // No new ones: what they would get could not be given back.
            slots.forget();
        }
        for cell in shared.all_cells() {
            cell.give_unused_back(&shared.context());
        }
        sender.flush().await;
    };
    let _ = tokio::time::timeout(LAST_REPORT_MAX, last_report).await;
    pass_on(shared, listeners.as_ref());
}

/// Logs changes of state, and passes them on to the listeners.
async fn tell(shared: &Shared, listeners: Option<&SyncSender<StateChange>>) {
    loop {
        shared.around.changes.some().await;
        pass_on(shared, listeners);
    }
}

fn pass_on(shared: &Shared, listeners: Option<&SyncSender<StateChange>>) {
    while let Some(change) = shared.around.changes.take() {
        log::info!(breaker = %change.key, from = %change.from, to = %change.to, by_breakerd = ?change.by_breakerd, "circuit breaker changed state");
        if let Some(Err(TrySendError::Full(change))) = listeners.map(|listeners| listeners.try_send(change)) {
            log::warning!(breaker = %change.key, "a change of state was not told: the listeners are too slow");
        }
    }
}
