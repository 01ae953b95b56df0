//! The file that declares thresholds: taken as soon as it changes, or as soon as it can be.

use std::sync::Arc;

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;

use crate::catalog::Declaration;
use crate::config::Config;
use crate::config::watch::{FileEvent, Watcher};
use crate::control::{Control, ControlError};
use crate::metrics::ConfigMetrics;

/// Takes a changed file at once; a wrong one is refused whole, and the last good one stays. One that contradicts what
/// was set over the API is tried again each time that the configuration changes: `running` too, what the file declared
/// at the start, if it is not in force.
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
    let mut taker = Taker { control, metrics, contradicting };
    if taker.contradicting.is_some() {
        taker.refused();
    }
    stop.run_until_cancelled(taker.run(watcher)).await.unwrap_or(Ok(()))
}

struct Taker {
    control: Arc<Control>,
    metrics: ConfigMetrics,
    /// What the file declares, and cannot be in force beside what was set over the API.
    contradicting: Option<Declaration>,
}

impl Taker {
    async fn run(&mut self, mut watcher: Watcher) -> Result<()> {
        let mut newest = self.control.watch();
        loop {
            tokio::select! {
                event = watcher.next() => match event {
                    Some(event) => self.take(event).await,
                    None => bail!("the configuration file is not watched any more"),
                },
                changed = newest.changed(), if self.contradicting.is_some() => match changed {
                    Ok(()) => self.try_again().await,
                    Err(_) => bail!("the configuration is gone"),
                },
            }
        }
    }

    async fn take(&mut self, event: FileEvent) {
        self.contradicting = None;
        match event {
            FileEvent::Loaded { config, needs_restart } => {
                if !needs_restart.is_empty() {
                    let keys = needs_restart.join(", ");
                    tracing::warn!(keys, "changed settings take effect after a restart");
                }
                self.declare(*config).await;
            }
            FileEvent::Wrong(errors) => {
                self.refused();
                for problem in &errors {
                    tracing::error!(%problem, "config file is invalid, keeping the previous version");
                }
            }
            FileEvent::Unreadable(problem) => {
                self.refused();
                tracing::error!(%problem, "config file cannot be read, keeping the previous version");
            }
        }
    }

    async fn declare(&mut self, config: Config) {
        match self.control.declare(&config.declaration).await {
            Ok(revision) => self.in_force(revision),
            Err(error) => {
                self.refused();
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

    /// What was refused once is refused again without a word.
    async fn try_again(&mut self) {
        if let Some(declaration) = &self.contradicting
            && let Ok(revision) = self.control.declare(declaration).await
        {
            self.contradicting = None;
            self.in_force(revision);
        }
    }

    fn in_force(&self, revision: u64) {
        self.metrics.last_reload_successful.set(1);
        tracing::info!(revision, "config file reloaded");
    }

    fn refused(&self) {
        self.metrics.reload_errors_total.inc();
        self.metrics.last_reload_successful.set(0);
    }
}
