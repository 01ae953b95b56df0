//! The file that declares thresholds: taken as soon as it changes, or as soon as it can be.

use std::sync::Arc;

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

use crate::catalog::Declaration;
use crate::config::Config;
use crate::config::watch::{FileEvent, Watcher};
use crate::control::{Control, ControlError};
use crate::metrics::ConfigMetrics;

/// Reloads a changed file at once; an invalid one is rejected whole, and the last valid one stays. One that contradicts what
/// was set over the API is tried again each time that the configuration changes: `running` too, what the file declared
/// at the start, if it is not effective.
///
/// # Errors
/// When the file is not watched any more.
pub async fn run_file(
    control: Arc<Control>,
    metrics: ConfigMetrics,
    running: Option<Declaration>,
    watcher: Watcher,
    stop: CancellationToken,
) -> Result<()> {
    let contradicting = running.filter(|running| control.differs_from(running));
    let mut reloader = FileReloader { control, metrics, contradicting };
    if reloader.contradicting.is_some() {
        reloader.reload_failed();
    }
    stop.run_until_cancelled(reloader.run(watcher)).await.unwrap_or(Ok(()))
}

struct FileReloader {
    control: Arc<Control>,
    metrics: ConfigMetrics,
    /// What the file declares, where it contradicts what was set through the API.
    contradicting: Option<Declaration>,
}

impl FileReloader {
    async fn run(&mut self, mut watcher: Watcher) -> Result<()> {
        let mut newest = self.control.watch();
        loop {
            tokio::select! {
                event = watcher.next() => match event {
                    Some(event) => self.handle(event).await,
                    None => bail!("the configuration file is not watched any more"),
                },
                changed = newest.changed(), if self.contradicting.is_some() => match changed {
                    Ok(()) => self.retry().await,
                    Err(_) => bail!("the configuration is gone"),
                },
            }
        }
    }

    async fn handle(&mut self, event: FileEvent) {
        self.contradicting = None;
        match event {
            FileEvent::Loaded { config, needs_restart } => {
                self.metrics
                    .settings_pending_restart
                    .set(i64::try_from(needs_restart.len()).unwrap_or(i64::MAX));
                if !needs_restart.is_empty() {
                    let keys = needs_restart.join(", ");
                    tracing::warn!(keys, "changed settings take effect after a restart");
                }
                self.declare(*config).await;
            }
            FileEvent::Invalid(errors) => {
                self.reload_failed();
                for problem in &errors {
                    tracing::error!(%problem, "config file is invalid, keeping the previous version");
                }
            }
            FileEvent::Unreadable(problem) => {
                self.reload_failed();
                tracing::error!(%problem, "config file cannot be read, keeping the previous version");
            }
        }
    }

    async fn declare(&mut self, config: Config) {
        match self.control.declare(&config.declaration).await {
            Ok(revision) => self.applied(revision),
            Err(error) => {
                self.reload_failed();
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "config file not applied, keeping the previous version"
                );
                if matches!(error, ControlError::Contradiction(_)) {
                    self.contradicting = Some(config.declaration);
                }
            }
        }
    }

    /// A declaration that is rejected again is not logged again.
    async fn retry(&mut self) {
        if let Some(declaration) = &self.contradicting
            && let Ok(revision) = self.control.declare(declaration).await
        {
            self.contradicting = None;
            self.applied(revision);
        }
    }

    fn applied(&self, revision: u64) {
        self.metrics.last_reload_successful.set(1);
        tracing::info!(revision, "config file reloaded");
    }

    fn reload_failed(&self) {
        self.metrics.reload_errors_total.inc();
        self.metrics.last_reload_successful.set(0);
    }
}
