//! Authentication and TLS of both transports: built from the settings, reloaded when a file changes, and warned about where
//! they are missing on an address that other machines can reach.

use std::future::pending;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use breaker::Time;
use breakerd_common::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::auth::{Authenticator, Pem, Tls, TransportSecurity};
use crate::config::watch::{Method, TextsEvent, Watcher};
use crate::config::{self, FILE_BYTES_MAX, FileText, Settings, access};
use crate::metrics::{AccessMetrics, Metrics, TlsMetrics};

/// Authentication and TLS of both transports.
pub struct Security {
    /// Of gRPC.
    pub grpc: TransportSecurity,
    /// Of the HTTP pages.
    pub http: TransportSecurity,
    tokens: Option<(PathBuf, FileText)>,
    pem: Option<PemFiles>,
}

/// The files of TLS, in this order: certificate, key and, if there is one, the authority of clients.
struct PemFiles(Vec<(PathBuf, FileText)>);

impl PemFiles {
    /// Reads those that the settings name; without a certificate and its key there is nothing to do with the others.
    fn read(settings: &Settings) -> Result<Option<Self>, Vec<anyhow::Error>> {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for (setting, path) in [
            ("tls.certificate", &settings.tls_certificate),
            ("tls.key", &settings.tls_key),
            ("tls.client_ca", &settings.tls_client_ca),
        ] {
            let Some(path) = path else { continue };
            match config::read_small(path) {
                Ok(text) => files.push((path.clone(), text)),
                Err(error) => problems.push(anyhow!("{setting}: {error}")),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let is_tls = settings.tls_certificate.is_some() && settings.tls_key.is_some();
        Ok(is_tls.then_some(Self(files)))
    }
}

/// A transport's TLS, and the files that it was read from.
struct TlsFiles {
    tls: Arc<Tls>,
    files: PemFiles,
}

impl TlsFiles {
    fn read(settings: &Settings, metrics: &Metrics, now: Time) -> Result<Option<Self>, Vec<anyhow::Error>> {
        let Some(files) = PemFiles::read(settings)? else { return Ok(None) };
        let texts: Vec<_> = files.0.iter().map(|(_, text)| text.clone()).collect();
        let tls = pem(&texts)
            .context("read the certificate and its key")
            .and_then(|pem| Tls::new(&pem, settings.tls_client_certificate).context("read the files of TLS"))
            .map_err(|error| vec![error])?;
        if tls.expires_at() <= now {
            tracing::error!("tls.certificate has expired: clients will reject it");
        }
        show_expiry(&metrics.tls, &tls);
        Ok(Some(Self { tls: Arc::new(tls), files }))
    }
}

/// The authenticator, and the tokens file that it was loaded from, with its text.
type Access = (Authenticator, Option<(PathBuf, FileText)>);

fn access_of(settings: &Settings) -> Result<Access> {
    match &settings.auth_tokens_file {
        Some(path) => {
            let text = access::read(path).map_err(|error| anyhow!("auth.tokens_file: {error}"))?;
            let principals = access::parse(&text, path).map_err(|errors| wrong(&errors))?;
            if principals.is_empty() {
                tracing::warn!("auth.tokens_file has no entries: all calls will be rejected");
            }
            let authenticator = Authenticator::with_principals(principals).context("draw a random number")?;
            Ok((authenticator, Some((path.clone(), text))))
        }
        None if settings.tls_client_ca.is_some() => Ok((Authenticator::with_certificates(), None)),
        None => Ok((Authenticator::disabled(), None)),
    }
}

fn pem(texts: &[FileText]) -> Option<Pem<'_>> {
    let (certificate, key) = (texts.first()?.expose(), texts.get(1)?.expose());
    Some(Pem { certificate, key, client_ca: texts.get(2).map(FileText::expose) })
}

impl Security {
    /// From the settings.
    ///
    /// # Errors
    /// When a file that they name cannot be read, or is invalid: all errors, a line each.
    pub fn build(settings: &Settings, metrics: &Metrics, now: Time) -> Result<Self> {
        Self::read(settings, metrics, now).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(|problem| format!("{problem:#}")).collect();
            anyhow!(lines.join("\n"))
        })
    }

    fn read(settings: &Settings, metrics: &Metrics, now: Time) -> Result<Self, Vec<anyhow::Error>> {
        let (tls, authenticator, tokens) = match (TlsFiles::read(settings, metrics, now), access_of(settings))
        {
            (Ok(tls), Ok((authenticator, tokens))) => (tls, Arc::new(authenticator), tokens),
            (tls, access) => {
                return Err(tls.err().into_iter().flatten().chain(access.err()).collect());
            }
        };
        let (tls, pem) = tls.map(|TlsFiles { tls, files }| (tls, files)).unzip();
        let http = TransportSecurity {
            authenticator: if settings.http_auth {
                Arc::clone(&authenticator)
            } else {
                Arc::new(Authenticator::disabled())
            },
            tls: tls.clone().filter(|_| settings.http_tls),
        };
        Ok(Self { grpc: TransportSecurity { authenticator, tls }, http, tokens, pem })
    }

    /// What [`Security::build`] would refuse.
    ///
    /// # Errors
    /// All errors of the files that the settings name.
    pub fn check(settings: &Settings) -> Result<(), Vec<anyhow::Error>> {
        Self::read(settings, &Metrics::default(), Time::ZERO).map(drop)
    }

    /// Warns of a transport that other machines can reach and that lacks authentication or TLS.
    pub fn warn_if_exposed(&self, grpc: SocketAddr, http: SocketAddr) {
        for (transport, address, security, authentication, tls) in [
            ("gRPC", grpc, &self.grpc, "auth.tokens_file", "tls.certificate and tls.key"),
            (
                "HTTP",
                http,
                &self.http,
                "auth.tokens_file (and http.auth)",
                "tls.certificate and tls.key (and http.tls)",
            ),
        ] {
            if address.ip().to_canonical().is_loopback() {
                continue;
            }
            if security.authenticator.is_disabled() {
                tracing::warn!(
                    %address,
                    "{transport} authentication is disabled on a non-loopback address: any client has full access; set \
                     {authentication}"
                );
            }
            if security.tls.is_none() {
                tracing::warn!(
                    %address,
                    "{transport} TLS is disabled on a non-loopback address: traffic and tokens are sent in plain text; set \
                     {tls}"
                );
            }
        }
    }

    /// Reloads changed files at once, until `stop`; invalid ones are rejected whole, and the last valid ones stay.
    ///
    /// # Errors
    /// When a file is not watched any more.
    pub async fn reload_on_change(
        &self,
        metrics: &Metrics,
        clock: &dyn Clock,
        stop: CancellationToken,
    ) -> Result<()> {
        let Self { grpc: TransportSecurity { authenticator, tls }, tokens, pem, .. } = self;
        let tokens = async {
            let Some((path, text)) = tokens else { return pending().await };
            let mut watcher =
                Watcher::of_texts(vec![(path.clone(), text.clone())], access::BYTES_MAX, Method::Folder);
            while let Some(event) = watcher.next().await {
                take_tokens(authenticator, event, path, &metrics.access);
            }
            bail!("the tokens file is not watched any more")
        };
        let certificates = async {
            let (Some(PemFiles(files)), Some(tls)) = (pem, tls) else { return pending().await };
            let mut watcher = Watcher::of_texts(files.clone(), FILE_BYTES_MAX, Method::Folder);
            while let Some(event) = watcher.next().await {
                take_certificates(tls, event, clock.wall(), &metrics.tls);
            }
            bail!("the files of TLS are not watched any more")
        };
        let both = async { tokio::try_join!(tokens, certificates).map(|((), ())| ()) };
        stop.run_until_cancelled(both).await.unwrap_or(Ok(()))
    }
}

fn take_tokens(authenticator: &Authenticator, event: TextsEvent, path: &Path, metrics: &AccessMetrics) {
    let principals = match event {
        TextsEvent::Changed(texts) => match texts.first() {
            Some(text) => access::parse(text, path),
            None => return,
        },
        TextsEvent::Unreadable(errors) => Err(errors),
    };
    match principals {
        Ok(principals) => {
            let entries = principals.len();
            authenticator.replace_principals(principals);
            metrics.last_reload_successful.set(1);
            tracing::info!(entries, "tokens file reloaded");
        }
        Err(errors) => {
            metrics.reload_errors_total.inc();
            metrics.last_reload_successful.set(0);
            for problem in &errors {
                tracing::error!(%problem, "tokens file is invalid, keeping the previous version");
            }
        }
    }
}

fn take_certificates(tls: &Tls, event: TextsEvent, now: Time, metrics: &TlsMetrics) {
    let problems = match event {
        TextsEvent::Changed(texts) => match pem(&texts).map(|pem| tls.take(&pem, now)) {
            Some(Ok(())) => {
                metrics.last_reload_successful.set(1);
                show_expiry(metrics, tls);
                tracing::info!("certificate reloaded for new connections");
                return;
            }
            Some(Err(error)) => vec![error.to_string()],
            None => return,
        },
        TextsEvent::Unreadable(errors) => errors.iter().map(ToString::to_string).collect(),
    };
    metrics.reload_errors_total.inc();
    metrics.last_reload_successful.set(0);
    for problem in problems {
        tracing::error!(problem, "certificate is invalid, keeping the previous version");
    }
}

fn show_expiry(metrics: &TlsMetrics, tls: &Tls) {
    let seconds = tls.expires_at().as_micros() / 1_000_000;
    metrics.certificate_expiry_timestamp_seconds.set(i64::try_from(seconds).unwrap_or(i64::MAX));
}

fn wrong(errors: &[config::Error]) -> anyhow::Error {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    anyhow!("invalid auth.tokens_file\n{}", lines.join("\n"))
}
