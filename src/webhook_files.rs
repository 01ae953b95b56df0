//! The targets of webhooks from the settings: their files are read at the start, and again when they change.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use breakerd_common::clock::Clock;
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::config::watch::{Method, TextsEvent, Watcher};
use crate::config::{self, FILE_BYTES_MAX, FileText, Settings};
use crate::metrics::NotifyMetrics;
use crate::webhook::{
    Endpoint, EndpointError, EndpointTexts, Proxy, Target, TargetSettings, UrlSource, Webhooks,
};

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Url,
    Secrets,
    Ca,
}

impl Purpose {
    fn key(self) -> &'static str {
        match self {
            Self::Url => "url_file",
            Self::Secrets => "secret_file",
            Self::Ca => "ca_file",
        }
    }
}

/// The files of one target.
#[derive(Clone)]
struct TargetFiles(Vec<(Purpose, PathBuf, FileText)>);

impl TargetFiles {
    fn read(settings: &TargetSettings) -> Result<Self, Vec<anyhow::Error>> {
        let url = match &settings.url {
            UrlSource::Given(_) => None,
            UrlSource::File(path) => Some(path),
        };
        let named = [
            (Purpose::Url, url),
            (Purpose::Secrets, settings.secret_file.as_ref()),
            (Purpose::Ca, settings.ca_file.as_ref()),
        ];
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for (purpose, path) in named {
            let Some(path) = path else { continue };
            match config::read_small(path) {
                Ok(text) => files.push((purpose, path.clone(), text)),
                Err(error) => problems.push(anyhow!("notify {}: {}: {error}", settings.name, purpose.key())),
            }
        }
        if problems.is_empty() { Ok(Self(files)) } else { Err(problems) }
    }

    fn endpoint(&self, settings: &TargetSettings, proxy: Proxy) -> Result<Endpoint, EndpointError> {
        let text = |wanted: Purpose| {
            let file = self.0.iter().find(|(purpose, _, _)| *purpose == wanted);
            file.map(|(_, _, text)| text.expose())
        };
        let texts =
            EndpointTexts { url: text(Purpose::Url), secrets: text(Purpose::Secrets), ca: text(Purpose::Ca) };
        Endpoint::new(settings, texts, proxy)
    }

    /// With other texts, in the same order.
    fn with(&self, texts: Vec<FileText>) -> Self {
        let with = |((purpose, path, _), text): (&(Purpose, PathBuf, FileText), FileText)| {
            (*purpose, path.clone(), text)
        };
        Self(self.0.iter().zip(texts).map(with).collect())
    }
}

/// The targets, and the files that they were read from.
pub struct WebhookFiles {
    webhooks: Arc<Webhooks>,
    files: Vec<TargetFiles>,
    proxy: Proxy,
}

impl WebhookFiles {
    /// From the settings.
    ///
    /// # Errors
    /// When a file that they name cannot be read, or is invalid: all errors, a line each.
    pub fn build(settings: &Settings, metrics: &NotifyMetrics, clock: Arc<dyn Clock>) -> Result<Self> {
        let proxy = Proxy::Environment;
        let read = read(&settings.notify, proxy).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            anyhow!(lines.join("\n"))
        })?;
        let (files, endpoints): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        let targets = settings.notify.iter().zip(endpoints).map(|(settings, endpoint)| {
            let (notify_target, url) = (&*settings.name, endpoint.url());
            tracing::info!(notify_target, %url, format = settings.format.name(), "transitions are posted");
            if !url.is_encrypted() && !url.is_local() {
                tracing::warn!(notify_target, "notifications are sent in plain text: use https");
            }
            Target::new(settings.clone(), endpoint, metrics)
        });
        let webhooks = Arc::new(Webhooks::new(targets.collect(), &settings.replica, clock));
        Ok(Self { webhooks, files, proxy })
    }

    /// What [`WebhookFiles::build`] would refuse.
    ///
    /// # Errors
    /// All errors of the files that the settings name.
    pub fn check(settings: &Settings) -> Result<(), Vec<anyhow::Error>> {
        read(&settings.notify, Proxy::Never).map(drop)
    }

    /// The targets.
    pub fn webhooks(&self) -> &Arc<Webhooks> {
        &self.webhooks
    }

    /// Reloads changed files at once, until `stop`; invalid ones are rejected, and the last valid ones stay.
    ///
    /// # Errors
    /// When a file is not watched any more.
    pub async fn reload_on_change(&self, metrics: &NotifyMetrics, stop: CancellationToken) -> Result<()> {
        let watched = self.webhooks.targets().iter().zip(&self.files);
        let all = try_join_all(watched.map(|(target, files)| self.watch(target, files, metrics)));
        // Without a target there is nothing to wait for.
        let all = async { if self.files.is_empty() { pending().await } else { all.await.map(drop) } };
        stop.run_until_cancelled(all).await.unwrap_or(Ok(()))
    }

    async fn watch(&self, target: &Target, files: &TargetFiles, metrics: &NotifyMetrics) -> Result<()> {
        if files.0.is_empty() {
            return pending().await;
        }
        let settings = target.settings();
        let notify_target = &*settings.name;
        let texts = files.0.iter().map(|(_, path, text)| (path.clone(), text.clone())).collect();
        let mut watcher = Watcher::of_texts(texts, FILE_BYTES_MAX, Method::Folder);
        while let Some(event) = watcher.next().await {
            let problems = match event {
                TextsEvent::Changed(texts) => match files.with(texts).endpoint(settings, self.proxy) {
                    Ok(endpoint) => {
                        target.replace_endpoint(endpoint);
                        metrics.last_reload_successful.with_label_values(&[notify_target]).set(1);
                        tracing::info!(notify_target, "files of a notification target reloaded");
                        continue;
                    }
                    Err(error) => vec![error.to_string()],
                },
                TextsEvent::Unreadable(errors) => errors.iter().map(ToString::to_string).collect(),
            };
            metrics.reload_errors_total.with_label_values(&[notify_target]).inc();
            metrics.last_reload_successful.with_label_values(&[notify_target]).set(0);
            for problem in problems {
                tracing::error!(
                    notify_target,
                    problem,
                    "file of a notification target is invalid, keeping the previous version"
                );
            }
        }
        bail!("the files of a notification target are not watched any more")
    }
}

/// The files of all targets, and what they come to.
fn read(
    targets: &[TargetSettings],
    proxy: Proxy,
) -> Result<Vec<(TargetFiles, Endpoint)>, Vec<anyhow::Error>> {
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    for settings in targets {
        match TargetFiles::read(settings) {
            Ok(files) => match files.endpoint(settings, proxy) {
                Ok(endpoint) => read.push((files, endpoint)),
                Err(error) => problems.push(anyhow!("notify {}: {error}", settings.name)),
            },
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}
