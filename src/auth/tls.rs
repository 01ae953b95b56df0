//! TLS: the certificate that is shown, and the authority that clients' certificates must be of.
//!
//! A reloaded pair is used for the next connection; open connections keep theirs.

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use breaker::Time;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::names::CertificateNames;
use super::protocol::Protocol;

/// Whether a client of gRPC must show a certificate, where there is an authority for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It must.
    Required,
    /// It may; without one it needs a token.
    Optional,
}

/// The texts of the files. They hold a key, and so do not show themselves.
pub struct Pem<'a> {
    /// The server's certificate, and those between it and its authority.
    pub certificate: &'a str,
    /// Its key.
    pub key: &'a str,
    /// The CA certificates for clients' certificates; none: none is requested.
    pub client_ca: Option<&'a str>,
}

impl fmt::Debug for Pem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem(..)")
    }
}

/// Why files are not taken. Each begins with the setting that names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No PEM, or nothing of the expected kind.
    #[error("{setting}: holds no {what} in PEM")]
    Missing {
        /// Which file.
        setting: &'static str,
        /// The expected kind.
        what: &'static str,
    },
    /// A certificate that cannot be read.
    #[error("{setting}: {problem}")]
    Unreadable {
        /// Which file.
        setting: &'static str,
        /// The problem.
        problem: String,
    },
    /// Certificate and key are not of one pair, or of no kind that we can use.
    #[error("tls.certificate and tls.key: {0}")]
    Pair(#[source] rustls::Error),
    /// It is too late for it.
    #[error("tls.certificate: expired {0} s ago")]
    Expired(u64),
}

/// The active TLS configuration.
pub struct Tls {
    client_certificate: ClientCertificate,
    current: ArcSwap<Configs>,
}

struct Configs {
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    expires_at: Time,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("client_certificate", &self.client_certificate).finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS with the content of the files. An expired certificate is accepted: it is better than none.
    ///
    /// # Errors
    /// [`TlsError`], but for [`TlsError::Expired`].
    pub fn new(pem: &Pem<'_>, client_certificate: ClientCertificate) -> Result<Self, TlsError> {
        let configs = Configs::read(pem, client_certificate)?;
        Ok(Self { client_certificate, current: ArcSwap::from_pointee(configs) })
    }

    /// Uses the present content of the files for new connections.
    ///
    /// # Errors
    /// [`TlsError`]; the previous configuration stays active.
    pub fn take(&self, pem: &Pem<'_>, now: Time) -> Result<(), TlsError> {
        let configs = Configs::read(pem, self.client_certificate)?;
        if configs.expires_at <= now {
            return Err(TlsError::Expired(now.since(configs.expires_at).as_secs()));
        }
        self.current.store(Arc::new(configs));
        Ok(())
    }

    /// Until when the certificate is good, or the first of those between it and its authority that ends.
    pub fn expires_at(&self) -> Time {
        self.current.load().expires_at
    }

    /// The TLS handshake.
    ///
    /// # Errors
    /// When the client does not speak TLS, disconnects, or sends an invalid certificate.
    pub async fn accept(&self, stream: TcpStream, protocol: Protocol) -> io::Result<TlsStream<TcpStream>> {
        let config = {
            let current = self.current.load();
            Arc::clone(match protocol {
                Protocol::Grpc => &current.grpc,
                Protocol::Http => &current.http,
            })
        };
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// The names in the certificate that the client has shown, if it has.
pub fn names_of(stream: &TlsStream<TcpStream>) -> Option<CertificateNames> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    Some(CertificateNames::of(leaf))
}

impl Configs {
    fn read(pem: &Pem<'_>, client_certificate: ClientCertificate) -> Result<Self, TlsError> {
        let chain = certificates("tls.certificate", pem.certificate)?;
        let expires_at = expiry(&chain)?;
        let key = || {
            let missing = TlsError::Missing { setting: "tls.key", what: "private key" };
            PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(|_| missing)
        };
        let provider = Arc::new(ring::default_provider());
        let authorities = pem.client_ca.map(authorities).transpose()?;
        let config = |protocol: Protocol, presence| {
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Pair)?;
            let builder = match &authorities {
                Some(authorities) => {
                    builder.with_client_cert_verifier(verifier(authorities, &provider, presence)?)
                }
                None => builder.with_no_client_auth(),
            };
            let mut config = builder.with_single_cert(chain.clone(), key()?).map_err(TlsError::Pair)?;
            config.alpn_protocols = vec![protocol.alpn().to_vec()];
            Ok(Arc::new(config))
        };
        Ok(Self {
            grpc: config(Protocol::Grpc, client_certificate)?,
            // A certificate is optional here, and checked where a page requires authentication: health probes of pods
            // have none.
            http: config(Protocol::Http, ClientCertificate::Optional)?,
            expires_at,
        })
    }
}

fn certificates(setting: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |problem: String| TlsError::Unreadable { setting, problem };
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(format!("is no PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(TlsError::Missing { setting, what: "certificate" });
    }
    Ok(certificates)
}

fn authorities(pem: &str) -> Result<Arc<RootCertStore>, TlsError> {
    const SETTING: &str = "tls.client_ca";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(SETTING, pem)? {
        roots.add(certificate).map_err(|error| TlsError::Unreadable {
            setting: SETTING,
            problem: format!("holds a certificate that is none: {error}"),
        })?;
    }
    Ok(Arc::new(roots))
}

fn verifier(
    authorities: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    presence: ClientCertificate,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), Arc::clone(provider));
    let builder = match presence {
        ClientCertificate::Required => builder,
        ClientCertificate::Optional => builder.allow_unauthenticated(),
    };
    builder
        .build()
        .map_err(|error| TlsError::Unreadable { setting: "tls.client_ca", problem: error.to_string() })
}

/// When the first certificate of a chain ends.
fn expiry(chain: &[CertificateDer<'_>]) -> Result<Time, TlsError> {
    let mut first = Time::MAX;
    for certificate in chain {
        let (_, read) = X509Certificate::from_der(certificate).map_err(|error| TlsError::Unreadable {
            setting: "tls.certificate",
            problem: format!("holds a certificate that is none: {error}"),
        })?;
        let seconds = u64::try_from(read.validity().not_after.timestamp()).unwrap_or(0);
        first = first.min(Time::from_micros(seconds.saturating_mul(1_000_000)));
    }
    Ok(first)
}
