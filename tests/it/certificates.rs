//! Certificates for tests: an authority, and what it signs.

use std::net::SocketAddr;
use std::sync::Arc;

use breakerd::auth::{ClientCertificate, Pem, Tls, TlsError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// When a certificate is good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dates {
    Good,
    Over,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn signs(&self, names: Vec<SanType>, dates: Dates) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        if dates == Dates::Over {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// For a server on localhost.
    pub(crate) fn server(&self, dates: Dates) -> Pair {
        self.signs(vec![SanType::DnsName("localhost".try_into().unwrap())], dates)
    }

    /// For a client that is called so.
    pub(crate) fn client(&self, uri: &str) -> Pair {
        self.signs(vec![SanType::URI(uri.try_into().unwrap())], Dates::Good)
    }

    /// Shakes hands with `address` as a client that trusts this authority.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        pair: Option<&Pair>,
        protocol: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

impl Pair {
    pub(crate) fn pem<'a>(&'a self, client_ca: Option<&'a Authority>) -> Pem<'a> {
        let client_ca = client_ca.map(|authority| authority.pem.as_str());
        Pem { certificate: &self.certificate, key: &self.key, client_ca }
    }

    pub(crate) fn tls(
        &self,
        client_ca: Option<&Authority>,
        presence: ClientCertificate,
    ) -> Result<Arc<Tls>, TlsError> {
        Tls::new(&self.pem(client_ca), presence).map(Arc::new)
    }
}

/// The certificate that the server showed.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}
