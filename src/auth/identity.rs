//! Identities, roles and rights.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::pattern::Pattern;

/// What an identity is for. It may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Asks about calls and reports them: the processes that the breakers protect.
    Caller,
    /// Looks, and changes nothing: dashboards, scrapers.
    Reader,
    /// Also operator actions: people on call.
    Operator,
    /// May do everything.
    Admin,
}

/// What a method, or a page, takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Requesting permission for calls, and reporting their outcomes.
    Call = 1,
    /// Looking at breakers, their history and their thresholds.
    Read = 2,
    /// Operator actions: overrides, resets, probes, deletions.
    Operate = 4,
    /// Changing thresholds.
    Configure = 8,
}

/// Several rights; where they are required, one of them is enough.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rights(u8);

impl Role {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Caller, Self::Reader, Self::Operator, Self::Admin];

    /// As it is written in files and on command lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role that is written so.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// What it brings.
    pub const fn rights(self) -> Rights {
        match self {
            Self::Caller => Rights::of(&[Right::Call]),
            Self::Reader => Rights::of(&[Right::Read]),
            Self::Operator => Rights::of(&[Right::Read, Right::Operate]),
            Self::Admin => Rights::ALL,
        }
    }
}

impl Right {
    const ALL: [Self; 4] = [Self::Call, Self::Read, Self::Operate, Self::Configure];

    /// As errors name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "CALL",
            Self::Read => "READ",
            Self::Operate => "OPERATE",
            Self::Configure => "CONFIGURE",
        }
    }

    /// The least role that has it.
    pub const fn role(self) -> Role {
        match self {
            Self::Call => Role::Caller,
            Self::Read => Role::Reader,
            Self::Operate => Role::Operator,
            Self::Configure => Role::Admin,
        }
    }
}

impl Rights {
    /// None: required, every client has them.
    pub const NONE: Self = Self(0);
    /// Every one; required, any authenticated client has one.
    pub const ALL: Self = Self::of(&Right::ALL);

    /// These.
    pub const fn of(rights: &[Right]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < rights.len() {
            bits |= rights[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Those of both.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether `right` is among them.
    pub const fn has(self, right: Right) -> bool {
        self.0 & right as u8 != 0
    }

    /// Whether there are none.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether these satisfy a requirement of one of `required`.
    pub const fn satisfies(self, required: Self) -> bool {
        required.is_none() || self.0 & required.0 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// An identity: a name, rights, and the services that they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: Arc<str>,
    is_anonymous: bool,
    rights: Rights,
    services: Services,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Services {
    All,
    Like(Box<[Pattern]>),
}

impl Services {
    fn of(patterns: Vec<Pattern>) -> Self {
        if patterns.iter().any(Pattern::is_any) { Self::All } else { Self::Like(patterns.into()) }
    }
}

/// The most bytes of a name: with the rest of a line of the audit it fits the 256 of an actor.
pub const NAME_BYTES_MAX: usize = 128;

/// Whether `name` can be the name of an identity: 1 to 128 letters, digits and `. _ : / @ -`, the first a letter or
/// a digit. `anonymous` is reserved.
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'@' | b'-')
        })
        && name.split('@').next() != Some(ANONYMOUS)
}

const ANONYMOUS: &str = "anonymous";

impl Identity {
    /// An authenticated identity, for services that match `patterns`. The name is valid ([`is_name`]).
    pub fn new(name: &str, roles: &[Role], patterns: Vec<Pattern>) -> Self {
        let rights = roles.iter().fold(Rights::NONE, |rights, role| rights.with(role.rights()));
        Self { name: name.into(), is_anonymous: false, rights, services: Services::of(patterns) }
    }

    /// An unauthenticated client at `peer`, with `rights` for every service: all of them without authentication,
    /// and none elsewhere.
    pub fn anonymous(peer: IpAddr, rights: Rights) -> Self {
        let name = format!("{ANONYMOUS}@{peer}").into();
        Self { name, is_anonymous: true, rights, services: Services::All }
    }

    /// The name. For the log, the audit and the client itself; not for other clients.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it is unauthenticated.
    pub fn is_anonymous(&self) -> bool {
        self.is_anonymous
    }

    /// The actor in the audit: at most 256 bytes.
    pub fn actor(&self) -> String {
        self.name.to_string()
    }

    /// Whether it has one of `required` for any service at all.
    pub fn has(&self, required: Rights) -> bool {
        self.rights.satisfies(required)
    }

    /// Whether it has `right` for `service`.
    pub fn may(&self, right: Right, service: &str) -> bool {
        self.rights.has(right) && self.covers(service)
    }

    /// Whether it has `right` for every service there may be.
    pub fn may_for_every_service(&self, right: Right) -> bool {
        self.rights.has(right) && matches!(self.services, Services::All)
    }

    fn covers(&self, service: &str) -> bool {
        match &self.services {
            Services::All => true,
            Services::Like(patterns) => patterns.iter().any(|pattern| pattern.matches(service)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(roles: &[Role], services: &[&str]) -> Identity {
        Identity::new("somebody", roles, services.iter().map(|text| Pattern::new(text).unwrap()).collect())
    }

    #[test]
    fn a_role_brings_its_rights_and_no_other() {
        use Right::{Call, Configure, Operate, Read};
        for (roles, rights) in [
            (&[Role::Caller][..], &[Call][..]),
            (&[Role::Reader], &[Read]),
            (&[Role::Operator], &[Read, Operate]),
            (&[Role::Admin], &[Call, Read, Operate, Configure]),
            (&[Role::Caller, Role::Operator], &[Call, Read, Operate]),
        ] {
            let identity = of(roles, &["*"]);
            for right in Right::ALL {
                assert_eq!(identity.may(right, "any"), rights.contains(&right), "{roles:?}: {right:?}");
            }
        }
    }

    #[test]
    fn a_right_ends_where_the_services_do() {
        let caller = of(&[Role::Caller], &["payments", "billing.*"]);
        for (service, may) in
            [("payments", true), ("billing.eu", true), ("billing", false), ("payments2", false), ("", false)]
        {
            assert_eq!(caller.may(Right::Call, service), may, "{service}");
        }
        assert!(!caller.may(Right::Read, "payments"));
        assert!(!caller.may_for_every_service(Right::Call));
        assert!(of(&[Role::Caller], &["payments", "*"]).may_for_every_service(Right::Call));
        assert!(!of(&[Role::Caller], &[]).may(Right::Call, "payments"), "no pattern, no service");
    }

    #[test]
    fn one_of_several_rights_is_enough_and_none_asked_is_none_needed() {
        let reader = of(&[Role::Reader], &["*"]);
        assert!(reader.has(Rights::of(&[Right::Call, Right::Read])));
        assert!(!reader.has(Rights::of(&[Right::Call, Right::Operate])));
        assert!(reader.has(Rights::ALL));
        let nobody = Identity::anonymous([127, 0, 0, 1].into(), Rights::NONE);
        assert!(nobody.has(Rights::NONE) && !nobody.has(Rights::ALL));
        assert_eq!(nobody.actor(), "anonymous@127.0.0.1");
    }

    #[test]
    fn a_name_fits_a_line_of_the_audit() {
        for name in ["payments-api", "ada@example.org", "spiffe://cluster/ns/a", &"a".repeat(128)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "a\n", "-a", "ä", "anonymous", "anonymous@10.0.0.1", &"a".repeat(129)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
