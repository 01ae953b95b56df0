//! The tasks that post transitions, and what is left of their work at the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::app::App;
use crate::grpc;
use crate::supervisor::Supervisor;
use crate::webhook::{RandomShare, Sender, Webhooks};
use crate::webhook_files::WebhookFiles;

/// How long the end waits for notifications to be posted, within the grace period: a target that is away is not waited for.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Starts a task a target of `[[notify]]`, and one that reloads their files.
pub(super) fn start(tasks: &mut Supervisor, files: WebhookFiles, app: &Arc<App>) -> Result<()> {
    let targets = files.webhooks().targets().to_vec();
    if targets.is_empty() {
        return Ok(());
    }
    let (stop, json) = (tasks.stop_token(), grpc::notice_json().context("read the description of the API")?);
    // Without random numbers each pause is as long as can be.
    let random: RandomShare =
        Arc::new(|| getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX)));
    for target in targets {
        let (json, random, clock) = (Arc::clone(&json), Arc::clone(&random), Arc::clone(&app.clock));
        let stop = stop.clone();
        tasks.spawn_restarted("notify", move || {
            let (target, json) = (Arc::clone(&target), Arc::clone(&json));
            Sender::new(target, json, Arc::clone(&random), Arc::clone(&clock)).run(stop.clone())
        });
    }
    let (files, metrics) = (Arc::new(files), app.metrics.notify.clone());
    tasks.spawn_restarted("notify_file_reload", move || {
        let (files, metrics, stop) = (Arc::clone(&files), metrics.clone(), stop.clone());
        async move { files.reload_on_change(&metrics, stop).await }
    });
    Ok(())
}

/// Waits a while until what is queued is posted.
pub(super) async fn flush(webhooks: &Webhooks) {
    // What is left is logged.
    let _ = tokio::time::timeout(FLUSH_MAX, webhooks.emptied()).await;
}
