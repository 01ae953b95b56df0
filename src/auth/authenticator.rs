//! Authentication: which identity a credential has.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use siphasher::sip128::SipHasher24;

use super::callers::{Callers, Counts};
use super::identity::{Identity, Rights, Role};
use super::names::CertificateNames;
use super::pattern::Pattern;
use super::principals::Principals;
use super::token::{Digest, token_of_header};

/// The credential is missing or unknown. Which is not told: no token, an unknown one and an unknown certificate are answered alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unauthenticated;

/// The credentials of a request.
#[derive(Debug, Clone, Copy)]
pub enum Credentials<'a> {
    /// No `authorization`.
    Missing,
    /// The value of one.
    Authorization(&'a [u8]),
    /// Several; a client with one credential sends one.
    Multiple,
}

impl<'a> Credentials<'a> {
    /// The credentials in these headers.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => Self::Authorization(value.as_bytes()),
            (Some(_), Some(_)) => Self::Multiple,
        }
    }
}

/// Finds the identity of a credential. One for the process.
#[derive(Debug)]
pub struct Authenticator {
    mode: Mode,
    principals: ArcSwap<Principals>,
    /// Counts the token lists: what was found in an older one is looked up again.
    generation: AtomicU64,
    /// Headers are cached as a keyed hash, so that no token stays in memory.
    header_hasher: SipHasher24,
    callers: Callers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Authentication is disabled.
    Disabled,
    /// A client certificate of the CA has every right.
    Certificates,
    /// The token list grants rights.
    Principals,
}

impl Authenticator {
    /// Without authentication: every client has every right.
    pub fn disabled() -> Self {
        Self::new(Mode::Disabled, Principals::default(), &[0; 16])
    }

    /// Every client with a certificate of the CA has every right.
    pub fn with_certificates() -> Self {
        // A header is never read, nor cached.
        Self::new(Mode::Certificates, Principals::default(), &[0; 16])
    }

    /// Clients in the token list have the rights that it grants.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn with_principals(principals: Principals) -> io::Result<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key)?;
        Ok(Self::new(Mode::Principals, principals, &key))
    }

    fn new(mode: Mode, principals: Principals, key: &[u8; 16]) -> Self {
        Self {
            mode,
            principals: ArcSwap::from_pointee(principals),
            generation: AtomicU64::new(0),
            header_hasher: SipHasher24::new_with_key(key),
            callers: Callers::default(),
        }
    }

    /// Whether authentication is disabled.
    pub fn is_disabled(&self) -> bool {
        self.mode == Mode::Disabled
    }

    /// Replaces the token list.
    pub fn replace_principals(&self, principals: Principals) {
        self.principals.store(Arc::new(principals));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The counts of all that comes from `peer`.
    pub fn counts_at(&self, peer: IpAddr) -> Arc<Counts> {
        self.callers.at(peer)
    }

    fn identify(
        &self,
        credentials: Credentials<'_>,
        names: Option<&Arc<CertificateNames>>,
    ) -> Result<(Arc<Identity>, VerifiedCredential), Unauthenticated> {
        let verified = match (credentials, names) {
            // An invalid token fails, whatever other credential there is.
            (Credentials::Multiple, _) => return Err(Unauthenticated),
            (Credentials::Authorization(value), _) if self.mode == Mode::Principals => {
                VerifiedCredential::Token(token_of_header(value).map(Digest::of).ok_or(Unauthenticated)?)
            }
            (_, Some(names)) => VerifiedCredential::Certificate(Arc::clone(names)),
            (_, None) => return Err(Unauthenticated),
        };
        let identity = match (&verified, self.mode) {
            (VerifiedCredential::Certificate(names), Mode::Certificates) => {
                Arc::new(Identity::new(&names.display_name(), &[Role::Admin], vec![Pattern::any()]))
            }
            _ => verified.lookup(&self.principals.load()).ok_or(Unauthenticated)?,
        };
        Ok((identity, verified))
    }
}

/// Whether a credential still has the identity that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialStatus {
    /// It has.
    Valid,
    /// Its rights or its name changed.
    Changed,
    /// It is not in the token list any more.
    Revoked,
}

/// A credential that was verified: a digest or a certificate's names, never a token.
#[derive(Debug)]
enum VerifiedCredential {
    /// Not authenticated.
    Unauthenticated,
    Token(Digest),
    Certificate(Arc<CertificateNames>),
}

impl VerifiedCredential {
    fn lookup(&self, principals: &Principals) -> Option<Arc<Identity>> {
        match self {
            Self::Unauthenticated => None,
            Self::Token(digest) => principals.by_digest(digest).cloned(),
            Self::Certificate(names) => principals.by_certificate(names).cloned(),
        }
    }
}

/// The caller of a request, and what it has in progress.
#[derive(Debug)]
pub struct Caller {
    /// Who.
    pub identity: Arc<Identity>,
    /// What it has in progress, over all of its connections.
    pub counts: Arc<Counts>,
    credential: CredentialCheck,
}

impl Caller {
    /// Whether its credential is still valid and has the same identity: for streams, which outlive the check at their start.
    pub fn credential_status(&self) -> CredentialStatus {
        self.credential.status_of(&self.identity)
    }
}

/// What an identity was derived from, to check it again.
#[derive(Debug)]
struct CredentialCheck {
    authenticator: Arc<Authenticator>,
    verified: VerifiedCredential,
    /// The newest token list in which the identity was found unchanged.
    generation: AtomicU64,
}

impl CredentialCheck {
    fn status_of(&self, identity: &Identity) -> CredentialStatus {
        let generation = self.authenticator.generation.load(Ordering::Acquire);
        // Without credentials there is no token list to check.
        if self.generation.load(Ordering::Relaxed) == generation
            || matches!(self.verified, VerifiedCredential::Unauthenticated)
        {
            return CredentialStatus::Valid;
        }
        match self.verified.lookup(&self.authenticator.principals.load()) {
            Some(now) if *now == *identity => {
                self.generation.store(generation, Ordering::Relaxed);
                CredentialStatus::Valid
            }
            Some(_) => CredentialStatus::Changed,
            None => CredentialStatus::Revoked,
        }
    }
}

/// The authentication of one connection. It caches the last caller: a client sends the same token with every
/// call.
#[derive(Debug)]
pub struct ConnectionAuth {
    authenticator: Arc<Authenticator>,
    /// The names of the client certificate, if there is one.
    names: Option<Arc<CertificateNames>>,
    /// The caller of requests without a credential.
    anonymous: Arc<Caller>,
    /// Never contended: the calls of a connection arrive one after the other.
    cached: Mutex<Option<CachedCaller>>,
}

#[derive(Debug)]
struct CachedCaller {
    /// Of the `authorization` header; none: there is none.
    header_hash: Option<u128>,
    generation: u64,
    caller: Arc<Caller>,
}

impl ConnectionAuth {
    /// A connection from `peer`, with the names of its client certificate, if it has one.
    pub fn new(authenticator: Arc<Authenticator>, peer: IpAddr, names: Option<CertificateNames>) -> Self {
        let rights = if authenticator.is_disabled() { Rights::ALL } else { Rights::NONE };
        // As an IPv4-mapped IPv6 address it would be another caller.
        let peer = peer.to_canonical();
        let identity = Arc::new(Identity::anonymous(peer, rights));
        let credential = CredentialCheck {
            authenticator: Arc::clone(&authenticator),
            verified: VerifiedCredential::Unauthenticated,
            generation: AtomicU64::new(0),
        };
        let anonymous = Arc::new(Caller { identity, counts: authenticator.counts_at(peer), credential });
        Self { authenticator, names: names.map(Arc::new), anonymous, cached: Mutex::default() }
    }

    /// The caller of a request without a credential: all rights where authentication is disabled, none elsewhere.
    pub fn anonymous(&self) -> &Arc<Caller> {
        &self.anonymous
    }

    /// The caller of a request with these credentials.
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub fn caller(&self, credentials: Credentials<'_>) -> Result<Arc<Caller>, Unauthenticated> {
        if self.authenticator.is_disabled() {
            return Ok(Arc::clone(&self.anonymous));
        }
        let header_hash = match credentials {
            Credentials::Authorization(value) => Some(self.authenticator.header_hasher.hash(value).as_u128()),
            Credentials::Missing | Credentials::Multiple => None,
        };
        // Read before the token list, so that what was found in an old one is at most looked up once more.
        let generation = self.authenticator.generation.load(Ordering::Acquire);
        let mut cached = self.cached.lock();
        if let Some(known) = &*cached
            && known.header_hash == header_hash
            && known.generation == generation
            && !matches!(credentials, Credentials::Multiple)
        {
            return Ok(Arc::clone(&known.caller));
        }
        let (identity, verified) = self.authenticator.identify(credentials, self.names.as_ref())?;
        let counts = self.authenticator.callers.named(identity.name());
        let credential = CredentialCheck {
            authenticator: Arc::clone(&self.authenticator),
            verified,
            generation: AtomicU64::new(generation),
        };
        let caller = Arc::new(Caller { identity, counts, credential });
        *cached = Some(CachedCaller { header_hash, generation, caller: Arc::clone(&caller) });
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Right;
    use super::super::names::Subject;
    use super::super::token::{Digest, Token};
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn principals(entries: &[(&str, &Token)]) -> Principals {
        let mut principals = Principals::default();
        for (name, token) in entries {
            let identity = Identity::new(name, &[Role::Caller], vec![Pattern::any()]);
            principals.add_token(token.digest(), identity).unwrap();
        }
        principals
    }

    fn bearer(token: &Token) -> Vec<u8> {
        format!("Bearer {}", token.expose()).into_bytes()
    }

    fn name(connection: &ConnectionAuth, header: &[u8]) -> Result<String, Unauthenticated> {
        connection.caller(Credentials::Authorization(header)).map(|caller| caller.identity.actor())
    }

    #[test]
    fn without_authentication_every_caller_has_every_right() {
        let connection = ConnectionAuth::new(Arc::new(Authenticator::disabled()), PEER, None);
        for credentials in
            [Credentials::Missing, Credentials::Authorization(b"Bearer x"), Credentials::Multiple]
        {
            let caller = connection.caller(credentials).unwrap();
            assert_eq!(caller.identity.actor(), "anonymous@127.0.0.1");
            assert!(caller.identity.may_for_every_service(Right::Configure));
        }
    }

    #[test]
    fn a_token_is_known_until_the_roll_says_otherwise() {
        let (one, other) = (Token::draw().unwrap(), Token::draw().unwrap());
        let authenticator = Arc::new(
            Authenticator::with_principals(principals(&[("one", &one), ("other", &other)])).unwrap(),
        );
        let connection = ConnectionAuth::new(Arc::clone(&authenticator), PEER, None);
        for _ in 0..2 {
            assert_eq!(name(&connection, &bearer(&one)).as_deref(), Ok("one"));
            assert_eq!(name(&connection, &bearer(&one)).as_deref(), Ok("one"));
            assert_eq!(name(&connection, &bearer(&other)).as_deref(), Ok("other"));
            assert_eq!(name(&connection, b"Bearer bk_wrong"), Err(Unauthenticated));
            assert_eq!(connection.caller(Credentials::Missing).map(|_| ()), Err(Unauthenticated));
            assert_eq!(connection.caller(Credentials::Multiple).map(|_| ()), Err(Unauthenticated));
        }
        assert_eq!(name(&connection, &bearer(&one)).as_deref(), Ok("one"));
        authenticator.replace_principals(principals(&[("renamed", &other)]));
        assert_eq!(name(&connection, &bearer(&one)), Err(Unauthenticated), "remembered, and gone");
        assert_eq!(name(&connection, &bearer(&other)).as_deref(), Ok("renamed"));
        assert!(connection.anonymous().identity.has(Rights::NONE));
        assert!(!connection.anonymous().identity.has(Rights::ALL));
    }

    #[test]
    fn a_token_that_is_on_the_roll_twice_is_refused_the_second_time() {
        let token = Token::draw().unwrap();
        let mut principals = principals(&[("one", &token)]);
        let other = Identity::new("other", &[Role::Admin], vec![Pattern::any()]);
        assert!(principals.add_token(Digest::of(token.expose().as_bytes()), other).is_err());
        assert_eq!(principals.len(), 1);
    }

    #[test]
    fn a_certificate_is_who_the_roll_says_and_a_wrong_token_beside_it_is_wrong() {
        let certificate = |name: &str| {
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            let key = rcgen::KeyPair::generate().unwrap();
            Some(CertificateNames::of(params.self_signed(&key).unwrap().der()))
        };
        let token = Token::draw().unwrap();
        let mut principals = principals(&[("one", &token)]);
        let gateway = Identity::new("gateway", &[Role::Caller], vec![Pattern::any()]);
        principals.add_certificate(Subject::new("gw.example.org").unwrap(), gateway).unwrap();
        let authenticator = Arc::new(Authenticator::with_principals(principals).unwrap());
        let connection = ConnectionAuth::new(Arc::clone(&authenticator), PEER, certificate("gw.example.org"));
        assert_eq!(connection.caller(Credentials::Missing).unwrap().identity.actor(), "gateway");
        assert_eq!(name(&connection, &bearer(&token)).as_deref(), Ok("one"));
        assert_eq!(name(&connection, b"Bearer bk_wrong"), Err(Unauthenticated));
        assert_eq!(connection.caller(Credentials::Missing).unwrap().identity.actor(), "gateway");
        let stranger = ConnectionAuth::new(authenticator, PEER, certificate("other.example.org"));
        assert_eq!(stranger.caller(Credentials::Missing).map(|_| ()), Err(Unauthenticated));

        let authenticator = Arc::new(Authenticator::with_certificates());
        let connection =
            ConnectionAuth::new(Arc::clone(&authenticator), PEER, certificate("other.example.org"));
        let caller = connection.caller(Credentials::Missing).unwrap();
        assert_eq!(caller.identity.actor(), "other.example.org");
        assert!(caller.identity.may_for_every_service(Right::Configure));
        let anonymous = ConnectionAuth::new(authenticator, PEER, None);
        assert_eq!(
            anonymous.caller(Credentials::Authorization(b"Bearer x")).map(|_| ()),
            Err(Unauthenticated)
        );
    }
}
