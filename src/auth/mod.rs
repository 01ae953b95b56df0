//! Who may do what.
//!
//! Both transports use this, and report the same errors. A connection has a [`ConnectionAuth`]: it has the client certificate
//! and finds the caller of each request, by its token or else by that certificate. The result is an
//! [`Identity`]: a name for the audit, rights, and the services that they are for. What a method or a page needs,
//! the transports know.
//!
//! Nothing here knows gRPC or HTTP, and nothing that is secret leaves: a token is compared by its digest, in
//! constant time, and cached as a keyed hash; errors are the same whatever was invalid.

mod authenticator;
mod callers;
mod identity;
mod names;
mod pattern;
mod principals;
mod protocol;
mod tls;
mod token;

use std::sync::Arc;

pub use authenticator::{
    Authenticator, Caller, ConnectionAuth, CredentialStatus, Credentials, Unauthenticated,
};
pub use callers::{ConcurrencyCounter, ConnectionCounts, CountGuard, Counts};
pub use identity::{Identity, NAME_BYTES_MAX, Right, Rights, Role, is_name};
pub use names::{CertificateNames, SUBJECT_BYTES_MAX, Subject};
pub use pattern::Pattern;
pub use principals::{Duplicate, ENTRIES_MAX, Principals};
pub use protocol::Protocol;
pub use tls::{ClientCertificate, Pem, Tls, TlsError, names_of};
pub use token::{Digest, Token};

/// Authentication and TLS of one transport.
#[derive(Debug, Clone)]
pub struct TransportSecurity {
    /// Authenticates callers.
    pub authenticator: Arc<Authenticator>,
    /// TLS; none: plain text.
    pub tls: Option<Arc<Tls>>,
}

impl TransportSecurity {
    /// Neither: every client may do everything, in plain text.
    pub fn disabled() -> Self {
        Self { authenticator: Arc::new(Authenticator::disabled()), tls: None }
    }
}
