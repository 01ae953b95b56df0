//! What a client certificate calls its owner.
//!
//! That the certificate is good (its chain, its dates, its key) rustls has seen to by then; here it is only read.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::identity;
use super::token::Digest;

/// The most names that are read of one certificate.
const NAMES_MAX: usize = 64;
/// The most bytes of a name that can be in the file, or be anybody.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// Digits of a certificate's digest that name it when it has no name of its own.
const FINGERPRINT_DIGITS: usize = 16;

/// One name of a certificate.
///
/// A URI and a host name are not the same kind of thing: an authority that checks one may let the client choose
/// the other. So only a URI of a certificate matches a subject that is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A URI of the alternative names, such as a SPIFFE id.
    Uri(String),
    /// A DNS name of the alternative names; of a certificate without alternative names, the common name.
    Name(String),
}

impl Subject {
    /// What is meant in a file: with `://` in it, a URI. None: it is empty, or longer than 256 bytes.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > SUBJECT_BYTES_MAX || text.contains(char::is_control) {
            return None;
        }
        Some(if text.contains("://") { Self::Uri(text.to_owned()) } else { Self::Name(text.to_owned()) })
    }

    fn text(&self) -> &str {
        match self {
            Self::Uri(text) | Self::Name(text) => text,
        }
    }
}

/// The names of one certificate, in the order in which they are looked up: URIs, DNS names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNames {
    names: Vec<Subject>,
    fingerprint: String,
}

impl CertificateNames {
    /// Reads those of a certificate, as DER. One that cannot be read has none.
    pub fn of(certificate: &[u8]) -> Self {
        let mut fingerprint = Digest::of(certificate).to_string();
        fingerprint.truncate(FINGERPRINT_DIGITS);
        let names =
            X509Certificate::from_der(certificate).map_or_else(|_| Vec::new(), |(_, read)| names(&read));
        Self { names, fingerprint }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subject> {
        self.names.iter()
    }

    /// A name for the owner of the certificate, for logs and the audit.
    pub(super) fn display_name(&self) -> String {
        let mut names = self.names.iter().map(Subject::text);
        names
            .find(|name| identity::is_name(name))
            .map_or_else(|| format!("certificate-{}", self.fingerprint), str::to_owned)
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<Subject> {
    let alternatives = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => &*extension.value.general_names,
        Ok(None) => return common_name(certificate).into_iter().collect(),
        // Duplicate, or malformed: none of its names is trusted.
        Err(_) => return Vec::new(),
    };
    let uris = alternatives.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(Subject::Uri((*uri).to_owned())),
        _ => None,
    });
    let hosts = alternatives.iter().filter_map(|name| match name {
        GeneralName::DNSName(host) => Some(Subject::Name((*host).to_owned())),
        _ => None,
    });
    uris.chain(hosts)
        .filter(|name| !name.text().is_empty() && name.text().len() <= SUBJECT_BYTES_MAX)
        .take(NAMES_MAX)
        .collect()
}

/// The common name, when there is exactly one.
fn common_name(certificate: &X509Certificate<'_>) -> Option<Subject> {
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    let name = name.as_str().ok().filter(|name| !name.is_empty() && name.len() <= SUBJECT_BYTES_MAX)?;
    Some(Subject::Name(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn of(common_name: Option<&str>, alternatives: Vec<SanType>) -> CertificateNames {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = alternatives;
        let key = KeyPair::generate().unwrap();
        CertificateNames::of(params.self_signed(&key).unwrap().der())
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn host(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    #[test]
    fn alternative_names_come_before_the_common_name_and_instead_of_it() {
        let names = of(Some("payments"), vec![host("a.example.org"), uri("spiffe://cluster/ns/a")]);
        let found: Vec<_> = names.iter().cloned().collect();
        assert_eq!(
            found,
            [Subject::Uri("spiffe://cluster/ns/a".into()), Subject::Name("a.example.org".into())]
        );
        assert_eq!(names.display_name(), "spiffe://cluster/ns/a");
        let names = of(Some("payments"), vec![]);
        assert_eq!(names.iter().cloned().collect::<Vec<_>>(), [Subject::Name("payments".into())]);
    }

    #[test]
    fn a_common_name_is_no_uri() {
        let names = of(Some("spiffe://cluster/ns/a"), vec![]);
        assert_ne!(names.iter().next(), Subject::new("spiffe://cluster/ns/a").as_ref());
    }

    #[test]
    fn what_has_no_name_is_called_by_its_digest() {
        let nameless = of(None, vec![]);
        assert_eq!(nameless.iter().count(), 0);
        assert!(nameless.display_name().starts_with("certificate-"), "{}", nameless.display_name());
        assert!(of(Some("anonymous"), vec![]).display_name().starts_with("certificate-"));
        assert_eq!(CertificateNames::of(b"no certificate").iter().count(), 0);
        assert_eq!(CertificateNames::of(&[]).iter().count(), 0);
    }
}
