//! The way to the collector: gRPC, or protobuf over HTTP/1.1.

use std::error::Error as _;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use http::Uri;
use http::header::{HeaderMap, HeaderValue};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use super::compression::CollectorChannel;
use super::grpc_export::GrpcExport;
use super::http_export::HttpExport;
use super::request::{ANSWER_BYTES_MAX, ExportError, Taken, shortened, taken};
use crate::config::{TraceCompression, TraceEndpoint, TraceProtocol};

/// Connects when something is sent, and again when that connection is gone.
pub(super) enum Transport {
    Grpc(GrpcExport),
    Http(HttpExport),
}

impl Transport {
    /// To `endpoint`, whose certificate is verified with those in `ca`, or with the system's.
    ///
    /// # Errors
    /// When `ca` holds no certificate, or the system has none.
    pub(super) fn new(
        protocol: TraceProtocol,
        endpoint: &TraceEndpoint,
        ca: Option<&str>,
        compression: TraceCompression,
        timeout: Duration,
    ) -> Result<Self> {
        let roots = ca.map(roots).transpose()?;
        match protocol {
            TraceProtocol::Grpc => grpc(endpoint, ca, compression, timeout),
            TraceProtocol::Http => http(endpoint, roots, compression),
        }
    }

    /// What [`Transport::new`] would refuse. It needs no runtime.
    ///
    /// # Errors
    /// As [`Transport::new`].
    pub(super) fn check(
        protocol: TraceProtocol,
        endpoint: &TraceEndpoint,
        ca: Option<&str>,
        compression: TraceCompression,
        timeout: Duration,
    ) -> Result<()> {
        let roots = ca.map(roots).transpose()?;
        match protocol {
            TraceProtocol::Grpc => grpc_endpoint(endpoint, ca, timeout).map(drop),
            TraceProtocol::Http => http(endpoint, roots, compression).map(drop),
        }
    }

    /// Sends one batch.
    ///
    /// # Errors
    /// [`ExportError`]: it was not taken.
    pub(super) async fn send(&mut self, message: Bytes, headers: &HeaderMap) -> Result<Taken, ExportError> {
        match self {
            Self::Grpc(client) => {
                client.export(message, headers).await.map(taken).map_err(|status| failed(&status))
            }
            Self::Http(client) => client.export(message, headers).await,
        }
    }
}

fn grpc(
    endpoint: &TraceEndpoint,
    ca: Option<&str>,
    compression: TraceCompression,
    timeout: Duration,
) -> Result<Transport> {
    let channel = grpc_endpoint(endpoint, ca, timeout)?.connect_lazy();
    let channel = CollectorChannel::new(channel, compression);
    Ok(Transport::Grpc(GrpcExport::new(channel, ANSWER_BYTES_MAX)))
}

fn grpc_endpoint(endpoint: &TraceEndpoint, ca: Option<&str>, timeout: Duration) -> Result<Endpoint> {
    let mut channel = Endpoint::from(endpoint.uri().clone())
        .connect_timeout(timeout)
        .timeout(timeout)
        .tcp_nodelay(true)
        .user_agent(user_agent())
        .context("tracing.endpoint")?;
    if endpoint.is_https() {
        let tls = match ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        channel = channel.tls_config(tls).context("tracing.ca")?;
    }
    Ok(channel)
}

fn http(
    endpoint: &TraceEndpoint,
    roots: Option<RootCertStore>,
    compression: TraceCompression,
) -> Result<Transport> {
    let connector = HttpsConnectorBuilder::new();
    let connector = match roots {
        Some(roots) => connector.with_tls_config(
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .context("tracing.ca")?
                .with_root_certificates(roots)
                .with_no_client_auth(),
        ),
        None if endpoint.is_https() => connector
            .with_provider_and_native_roots(ring::default_provider())
            .context("tracing.ca is not set, and the system has no CA certificates")?,
        // No certificate will be seen.
        None => connector.with_tls_config(
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .context("prepare TLS")?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
        ),
    };
    let client =
        Client::builder(TokioExecutor::new()).build(connector.https_or_http().enable_http1().build());
    let mut parts = endpoint.uri().clone().into_parts();
    parts.path_and_query = Some(endpoint.http_path().parse().context("tracing.endpoint")?);
    let uri = Uri::from_parts(parts).context("tracing.endpoint")?;
    let (client, user_agent) = (Box::new(client), HeaderValue::from_static(user_agent()));
    Ok(Transport::Http(HttpExport { client, uri, compression, user_agent }))
}

fn roots(pem: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| anyhow!("tracing.ca: {error}"))?;
        roots.add(certificate).map_err(|error| anyhow!("tracing.ca: {error}"))?;
    }
    if roots.is_empty() {
        return Err(anyhow!("tracing.ca: holds no certificate in PEM"));
    }
    Ok(roots)
}

const fn user_agent() -> &'static str {
    concat!("breakerd/", env!("CARGO_PKG_VERSION"))
}

/// From the collector, or made here: then it has a source, and the connection is what failed, whatever code it has.
fn failed(status: &Status) -> ExportError {
    let mut problem = format!("{:?}: {}", status.code(), status.message());
    for cause in successors(status.source(), |error| (*error).source()).map(ToString::to_string) {
        // Each layer has the text of the one below it, or "transport error".
        if !problem.contains(&cause) {
            problem.push_str(": ");
            problem.push_str(&cause);
        }
    }
    let can_retry = status.source().is_some() || can_retry(status.code());
    ExportError { problem: shortened(&problem), can_retry }
}

/// Those that OTLP names.
fn can_retry(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_retried_under_every_code_and_named_once() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let lost = failed(&Status::from_error(Box::new(refused)));
        assert_eq!((lost.problem.as_str(), lost.can_retry), ("Unknown: connection refused", true));
        let said = failed(&Status::unknown("no such tenant"));
        assert_eq!((said.problem.as_str(), said.can_retry), ("Unknown: no such tenant", false));
        assert!(failed(&Status::unavailable("busy")).can_retry);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert_eq!(roots("").unwrap_err().to_string(), "tracing.ca: holds no certificate in PEM");
    }
}
