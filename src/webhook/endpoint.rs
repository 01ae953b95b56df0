//! Where a target is posted to: its URL, its secrets and its client, all of which can be changed while breakerd runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::settings::{SecretUrl, TargetSettings, UrlSource};
use super::signature::Secrets;
use crate::retry_after::RetryAfter;

/// The most bytes that are read of an answer, so that its connection can be used again: nothing in it matters.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// How long a connection is kept that nothing is posted over.
const IDLE: Duration = Duration::from_secs(30);

/// What the files of a target hold, each as far as it has one.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointTexts<'a> {
    /// The URL.
    pub url: Option<&'a str>,
    /// The secrets.
    pub secrets: Option<&'a str>,
    /// Certificates of authorities, in PEM.
    pub ca: Option<&'a str>,
}

/// How a target is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    Environment,
    /// Directly.
    Never,
}

/// Why there is no endpoint. Nothing of what the files hold is in it.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct EndpointError {
    /// The key of the target that is wrong.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl EndpointError {
    fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

/// A URL, and what to reach it with.
pub struct Endpoint {
    url: SecretUrl,
    secrets: Option<Secrets>,
    client: Client,
}

impl Endpoint {
    /// From the settings of a target and the texts of its files.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn new(
        settings: &TargetSettings,
        texts: EndpointTexts<'_>,
        proxy: Proxy,
    ) -> Result<Self, EndpointError> {
        let url = match (&settings.url, texts.url) {
            (UrlSource::Given(url), _) => url.clone(),
            (UrlSource::File(_), text) => {
                SecretUrl::parse(text.unwrap_or_default().trim()).map_err(|problem| {
                    EndpointError::new("url_file", format!("must hold a URL http(s)://...: {problem}"))
                })?
            }
        };
        let secrets = texts.secrets.map(Secrets::parse).transpose();
        let secrets = secrets.map_err(|problem| EndpointError::new("secret_file", problem))?;
        let roots = match texts.ca {
            Some(ca) if url.is_encrypted() => given_roots(ca)?,
            Some(_) => {
                return Err(EndpointError::new(
                    "ca_file",
                    "needs a URL https://...: over http no certificate is looked at",
                ));
            }
            None if url.is_encrypted() => system_roots()?,
            // No certificate is looked at.
            None => RootCertStore::empty(),
        };
        let client = client(roots, proxy).map_err(|error| EndpointError::new("ca_file", error))?;
        Ok(Self { url, secrets, client })
    }

    /// Where it posts, without what is secret.
    pub fn url(&self) -> &SecretUrl {
        &self.url
    }

    /// Posts once. `timestamp` is in seconds since 1970, for the signature.
    ///
    /// # Errors
    /// Why there is no answer, without the URL.
    pub(super) async fn post(&self, id: &str, timestamp: u64, body: Bytes) -> Result<Posted, String> {
        let headers = self.headers(id, timestamp, &body);
        let request = self.client.post(self.url.expose().clone()).headers(headers).body(body);
        let response = request.send().await.map_err(|error| reason(&error.without_url()))?;
        Ok(Posted { status: response.status(), retry_after: retry_after(response.headers()), response })
    }

    fn headers(&self, id: &str, timestamp: u64, body: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut insert = |name, value: &str| {
            // Names of replicas, numbers and base64 have no character that a header cannot have.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        insert("webhook-id", id);
        insert("webhook-timestamp", &timestamp.to_string());
        if let Some(secrets) = &self.secrets {
            insert("webhook-signature", &secrets.sign(id, timestamp, body));
        }
        headers
    }
}

/// An answer.
pub(super) struct Posted {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<RetryAfter>,
    response: Response,
}

impl Posted {
    /// Reads the rest of it, so that the connection can be used again; gives the connection up, if there is too much, or if this
    /// is dropped before its end.
    pub(super) async fn finish(mut self) {
        let mut left = ANSWER_BYTES_MAX;
        while let Ok(Some(chunk)) = self.response.chunk().await
            && left > chunk.len()
        {
            left -= chunk.len();
        }
    }
}

/// When a target wants the next request.
fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    RetryAfter::parse(headers.get(RETRY_AFTER)?.to_str().ok()?)
}

/// All that went wrong, from the outside to the inside.
fn reason(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn client(roots: RootCertStore, proxy: Proxy) -> Result<Client, String> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = Client::builder()
        .use_preconfigured_tls(tls)
        .user_agent(concat!("breakerd/", env!("CARGO_PKG_VERSION")))
        // Whoever is redirected to would be told what was meant for another.
        .redirect(Policy::none())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(1);
    let builder = if proxy == Proxy::Never { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| reason(&error))
}

fn given_roots(pem: &str) -> Result<RootCertStore, EndpointError> {
    let wrong = |problem: String| EndpointError::new("ca_file", problem);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| wrong(format!("is no PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(format!("holds a certificate that is none: {error}")))?;
    }
    if roots.is_empty() { Err(wrong("holds no certificate in PEM".to_owned())) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, EndpointError> {
    let mut roots = RootCertStore::empty();
    // Some that cannot be read are no reason not to trust the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let problem = "not set, and this system has no CA certificates: install them, or set it";
        return Err(EndpointError::new("ca_file", problem));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let read = |text: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]))
        };
        assert_eq!(read("120"), Some(RetryAfter::In(Duration::from_mins(2))));
        let date = read("Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(date, Some(RetryAfter::At(Duration::from_secs(1_700_000_000))));
        assert_eq!([read("soon"), read("-1"), read("")], [None; 3]);
    }
}
