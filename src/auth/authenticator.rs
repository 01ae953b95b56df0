//! Who is known, and who it is that comes.

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
use super::token::{Digest, of_authorization};

/// The credential is missing or unknown. Which is not said: no token, a wrong one and an unknown certificate are answered alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// What a request shows of who sends it.
#[derive(Debug, Clone, Copy)]
pub enum Credentials<'a> {
    /// No `authorization`.
    Nothing,
    /// The value of one.
    Authorization(&'a [u8]),
    /// Several; a client with one credential sends one.
    Several,
}

impl<'a> Credentials<'a> {
    /// What these headers show.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => Self::Authorization(value.as_bytes()),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

/// Knows who is who. One for the process.
#[derive(Debug)]
pub struct Authenticator {
    mode: Mode,
    principals: ArcSwap<Principals>,
    /// Counts the rolls: what was found in an older one is looked up again.
    generation: AtomicU64,
    /// Headers are remembered under this key, so that no token stays in memory.
    memory: SipHasher24,
    callers: Callers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Authentication is disabled.
    Open,
    /// Whoever has a certificate of the authority may do everything.
    Certificates,
    /// Whoever is on the roll may do what it says.
    Principals,
}

impl Authenticator {
    /// Lets everybody do everything.
    pub fn open() -> Self {
        Self::new(Mode::Open, Principals::default(), &[0; 16])
    }

    /// Lets everybody do everything who has a certificate of the authority.
    pub fn with_certificates() -> Self {
        // A header is never looked at, nor remembered.
        Self::new(Mode::Certificates, Principals::default(), &[0; 16])
    }

    /// Lets those do who are on the roll.
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
            memory: SipHasher24::new_with_key(key),
            callers: Callers::default(),
        }
    }

    /// Whether authentication is disabled.
    pub fn is_open(&self) -> bool {
        self.mode == Mode::Open
    }

    /// From now on these are known and no others.
    pub fn take(&self, principals: Principals) {
        self.principals.store(Arc::new(principals));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The counts of all that comes from `peer`.
    pub fn counts_at(&self, peer: IpAddr) -> Arc<Counts> {
        self.callers.at(peer)
    }

    fn identify(
        &self,
        shown: Credentials<'_>,
        names: Option<&Arc<CertificateNames>>,
    ) -> Result<(Arc<Identity>, Proof), Unknown> {
        let proof = match (shown, names) {
            // A wrong token is wrong, whatever else is shown.
            (Credentials::Several, _) => return Err(Unknown),
            (Credentials::Authorization(value), _) if self.mode == Mode::Principals => {
                Proof::Token(of_authorization(value).map(Digest::of).ok_or(Unknown)?)
            }
            (_, Some(names)) => Proof::Certificate(Arc::clone(names)),
            (_, None) => return Err(Unknown),
        };
        let identity = match (&proof, self.mode) {
            (Proof::Certificate(names), Mode::Certificates) => {
                Arc::new(Identity::new(&names.title(), &[Role::Admin], vec![Pattern::any()]))
            }
            _ => proof.look_up(&self.principals.load()).ok_or(Unknown)?,
        };
        Ok((identity, proof))
    }
}

/// Whether somebody is still who they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialStatus {
    /// They are.
    Still,
    /// What they may do, or their name, is another.
    Changed,
    /// What they showed is on the roll no more.
    NoMore,
}

/// By what somebody is known: a digest at the most, no token.
#[derive(Debug)]
enum Proof {
    /// They are not asked, or not known.
    Nothing,
    Token(Digest),
    Certificate(Arc<CertificateNames>),
}

impl Proof {
    fn look_up(&self, principals: &Principals) -> Option<Arc<Identity>> {
        match self {
            Self::Nothing => None,
            Self::Token(digest) => principals.by_digest(digest).cloned(),
            Self::Certificate(names) => principals.by_certificate(names).cloned(),
        }
    }
}

/// Who sends a request, and what they have in progress.
#[derive(Debug)]
pub struct Caller {
    /// Who.
    pub identity: Arc<Identity>,
    /// What they have in progress, over all of their connections.
    pub counts: Arc<Counts>,
    credential: CredentialCheck,
}

impl Caller {
    /// Whether their credential is still valid and means what it meant: for streams, which outlive the check at their start.
    pub fn credential_status(&self) -> CredentialStatus {
        self.credential.status_of(&self.identity)
    }
}

/// What an identity was derived from, to check it again.
#[derive(Debug)]
struct CredentialCheck {
    authenticator: Arc<Authenticator>,
    proof: Proof,
    /// The newest roll on which they were found as they are.
    generation: AtomicU64,
}

impl CredentialCheck {
    fn status_of(&self, identity: &Identity) -> CredentialStatus {
        let generation = self.authenticator.generation.load(Ordering::Acquire);
        // There is another roll only where there is one.
        if self.generation.load(Ordering::Relaxed) == generation || matches!(self.proof, Proof::Nothing) {
            return CredentialStatus::Still;
        }
        match self.proof.look_up(&self.authenticator.principals.load()) {
            Some(now) if *now == *identity => {
                self.generation.store(generation, Ordering::Relaxed);
                CredentialStatus::Still
            }
            Some(_) => CredentialStatus::Changed,
            None => CredentialStatus::NoMore,
        }
    }
}

/// One connection, as the authenticator sees it. It remembers who came last: a client shows the same token with every
/// call.
#[derive(Debug)]
pub struct ConnectionAuth {
    authenticator: Arc<Authenticator>,
    /// What the certificate says, if one was shown.
    names: Option<Arc<CertificateNames>>,
    /// The caller of requests without a credential.
    anonymous: Arc<Caller>,
    /// Never contended: the calls of a connection come one after the other.
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    /// Of what was shown; none: nothing.
    seal: Option<u128>,
    generation: u64,
    caller: Arc<Caller>,
}

impl ConnectionAuth {
    /// A connection from `peer`, with what its certificate says, if it has shown one.
    pub fn new(authenticator: Arc<Authenticator>, peer: IpAddr, names: Option<CertificateNames>) -> Self {
        let rights = if authenticator.is_open() { Rights::ALL } else { Rights::NONE };
        // Dressed up as an address of the other family it would be another caller.
        let peer = peer.to_canonical();
        let identity = Arc::new(Identity::anonymous(peer, rights));
        let credential = CredentialCheck {
            authenticator: Arc::clone(&authenticator),
            proof: Proof::Nothing,
            generation: AtomicU64::new(0),
        };
        let anonymous = Arc::new(Caller { identity, counts: authenticator.counts_at(peer), credential });
        Self { authenticator, names: names.map(Arc::new), anonymous, last: Mutex::default() }
    }

    /// The caller of a request without a credential: all rights where authentication is disabled, none elsewhere.
    pub fn anonymous(&self) -> &Arc<Caller> {
        &self.anonymous
    }

    /// Who sends a request that shows this.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn caller(&self, shown: Credentials<'_>) -> Result<Arc<Caller>, Unknown> {
        if self.authenticator.is_open() {
            return Ok(Arc::clone(&self.anonymous));
        }
        let seal = match shown {
            Credentials::Authorization(value) => Some(self.authenticator.memory.hash(value).as_u128()),
            Credentials::Nothing | Credentials::Several => None,
        };
        // Read before the roll, so that what an old roll says is at most looked up once more.
        let generation = self.authenticator.generation.load(Ordering::Acquire);
        let mut last = self.last.lock();
        if let Some(known) = &*last
            && known.seal == seal
            && known.generation == generation
            && !matches!(shown, Credentials::Several)
        {
            return Ok(Arc::clone(&known.caller));
        }
        let (identity, proof) = self.authenticator.identify(shown, self.names.as_ref())?;
        let counts = self.authenticator.callers.named(identity.name());
        let credential = CredentialCheck {
            authenticator: Arc::clone(&self.authenticator),
            proof,
            generation: AtomicU64::new(generation),
        };
        let caller = Arc::new(Caller { identity, counts, credential });
        *last = Some(Last { seal, generation, caller: Arc::clone(&caller) });
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

    fn name(connection: &ConnectionAuth, header: &[u8]) -> Result<String, Unknown> {
        connection.caller(Credentials::Authorization(header)).map(|caller| caller.identity.actor())
    }

    #[test]
    fn without_authentication_every_caller_has_every_right() {
        let connection = ConnectionAuth::new(Arc::new(Authenticator::open()), PEER, None);
        for shown in [Credentials::Nothing, Credentials::Authorization(b"Bearer x"), Credentials::Several] {
            let caller = connection.caller(shown).unwrap();
            assert_eq!(caller.identity.actor(), "anonymous@127.0.0.1");
            assert!(caller.identity.may_everywhere(Right::Configure));
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
            assert_eq!(name(&connection, b"Bearer bk_wrong"), Err(Unknown));
            assert_eq!(connection.caller(Credentials::Nothing).map(|_| ()), Err(Unknown));
            assert_eq!(connection.caller(Credentials::Several).map(|_| ()), Err(Unknown));
        }
        assert_eq!(name(&connection, &bearer(&one)).as_deref(), Ok("one"));
        authenticator.take(principals(&[("renamed", &other)]));
        assert_eq!(name(&connection, &bearer(&one)), Err(Unknown), "remembered, and gone");
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
        assert_eq!(connection.caller(Credentials::Nothing).unwrap().identity.actor(), "gateway");
        assert_eq!(name(&connection, &bearer(&token)).as_deref(), Ok("one"));
        assert_eq!(name(&connection, b"Bearer bk_wrong"), Err(Unknown));
        assert_eq!(connection.caller(Credentials::Nothing).unwrap().identity.actor(), "gateway");
        let stranger = ConnectionAuth::new(authenticator, PEER, certificate("other.example.org"));
        assert_eq!(stranger.caller(Credentials::Nothing).map(|_| ()), Err(Unknown));

        let authenticator = Arc::new(Authenticator::with_certificates());
        let connection =
            ConnectionAuth::new(Arc::clone(&authenticator), PEER, certificate("other.example.org"));
        let caller = connection.caller(Credentials::Nothing).unwrap();
        assert_eq!(caller.identity.actor(), "other.example.org");
        assert!(caller.identity.may_everywhere(Right::Configure));
        let anonymous = ConnectionAuth::new(authenticator, PEER, None);
        assert_eq!(anonymous.caller(Credentials::Authorization(b"Bearer x")).map(|_| ()), Err(Unknown));
    }
}
