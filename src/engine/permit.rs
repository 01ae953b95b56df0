//! Permits: what an allowed call carries, and hands back with its outcome.
//!
//! Opaque to clients, at most 96 bytes, sealed with a MAC so that nobody can invent one. The key of the
//! seal is kept in the store, so that a permit outlives a restart and any replica reads it.
//!
//! The MAC is SipHash-2-4 with 128 bits (Aumasson and Bernstein, 2012), which was made for short inputs under
//! a secret key: docs/adr/0004-permits.md weighs it against HMAC and BLAKE3.

use std::hash::Hasher;
use std::time::Duration;

use breaker::{Pass, Probe, Time};
use siphasher::sip128::{Hasher128, SipHasher13, SipHasher24};
use subtle::ConstantTimeEq;

/// Bytes of a sealed permit; clients may rely on "at most 96".
pub const SEALED_BYTES: usize = 92;
const TAG_BYTES: usize = 16;
const BODY_BYTES: usize = SEALED_BYTES - TAG_BYTES;
/// How long a permit is good for: an outcome under an older one is late. Whatever is kept for the sake of permits has to be
/// kept for so long, and no longer.
pub const PERMIT_LIFE: Duration = Duration::from_hours(24);
/// A service and a name of a breaker, and what stands between.
const JOINED_BYTES_MAX: usize = 2 * breaker::KEY_PART_BYTES_MAX + 1;
/// Says how the rest is laid out; another layout takes another number.
const LAYOUT: u8 = 1;

/// The hash of a breaker's key under the store's secret: what a permit and the registry know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u128);

impl KeyId {
    /// Any 64 bits of a hash are one.
    #[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
    pub(crate) const fn hash(self) -> u64 {
        self.0 as u64
    }
}

/// What a permit says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The timeline of the store it was given under.
    pub timeline: u32,
    /// The breaker.
    pub key: KeyId,
    /// 0: the store's own line of epochs; else a replica's that decides alone.
    pub branch: u32,
    /// Whether the breaker was recording at all.
    pub kind: PermitKind,
    /// Epoch, number and probe.
    pub pass: Pass,
    /// Which life of which process gave it.
    pub issuer: u64,
    /// When.
    pub issued_at: Time,
    /// The revision of the thresholds in force.
    pub config_revision: u64,
}

impl Permit {
    /// Whether its life is over.
    pub(super) fn has_expired(&self, now: Time) -> bool {
        now.since(self.issued_at) >= PERMIT_LIFE
    }

    /// Names it among all permits of all issuers, so well as 64 bits can. The key's id is a keyed hash: nobody can choose
    /// permits whose hashes meet.
    pub(super) fn hash(&self) -> u64 {
        let secret = self.key.0.to_le_bytes();
        let mut hasher = SipHasher13::new_with_key(&secret);
        hasher.write(&self.issuer.to_le_bytes());
        hasher.write(&self.pass.number.to_le_bytes());
        hasher.finish128().h1
    }
}

/// What an outcome under a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermitKind {
    /// The breaker.
    Tracked,
    /// Nothing: breakerd was disabled as a whole.
    Untracked,
}

/// A permit that does not carry our seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the permit was not issued by this breakerd")]
pub struct Forged;

/// Seals permits and names keys, under the store's secret.
#[derive(Clone)]
pub struct Seals {
    mac: SipHasher24,
    key_id: SipHasher13,
}

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seals(..)")
    }
}

impl Seals {
    /// Derives a key for each purpose from the store's `secret`.
    pub fn new(secret: &[u8; 16]) -> Self {
        let derive = |purpose: &[u8]| {
            let mut hasher = SipHasher24::new_with_key(secret);
            hasher.write(purpose);
            hasher.finish128().as_bytes()
        };
        Self {
            mac: SipHasher24::new_with_key(&derive(b"breakerd permit")),
            key_id: SipHasher13::new_with_key(&derive(b"breakerd key id")),
        }
    }

    /// The id of `(service, name)`; an empty name is the service's own.
    ///
    /// Neither needs to be a valid key: what is too long, or holds a NUL, gets an id that no valid key has.
    pub fn key_id(&self, service: &str, name: &str) -> KeyId {
        let name = if name.is_empty() { service } else { name };
        let (service, name) = (service.as_bytes(), name.as_bytes());
        let mut joined = [0; JOINED_BYTES_MAX];
        let length = service.len() + 1 + name.len();
        if let Some(joined) = joined.get_mut(..length) {
            joined[..service.len()].copy_from_slice(service);
            joined[service.len() + 1..].copy_from_slice(name);
            return KeyId(self.key_id.hash(joined).as_u128());
        }
        let mut hasher = self.key_id;
        hasher.write(service);
        hasher.write(&[0]);
        hasher.write(name);
        KeyId(hasher.finish128().as_u128())
    }

    /// A number for whoever says it is `caller`, within the identity that is known of it; the same in every process
    /// on this store.
    pub fn caller_id(&self, identity: Option<&str>, caller: &str) -> breaker::CallerId {
        let Some(identity) = identity else {
            if caller.is_empty() {
                return breaker::CallerId::ANONYMOUS;
            }
            return breaker::CallerId(self.key_id.hash(caller.as_bytes()).h1 | 1);
        };
        // No caller holds a NUL: somebody without an identity cannot pass for one who has it.
        let mut hasher = self.key_id;
        hasher.write(identity.as_bytes());
        hasher.write(&[0]);
        hasher.write(caller.as_bytes());
        breaker::CallerId(hasher.finish128().h1 | 1)
    }

    /// The permit as it goes out.
    pub fn seal(&self, permit: &Permit) -> [u8; SEALED_BYTES] {
        let mut sealed = [0; SEALED_BYTES];
        let probe = permit.pass.probe;
        let kind = match (permit.kind, probe) {
            (PermitKind::Tracked, None) => 0,
            (PermitKind::Tracked, Some(_)) => 1,
            (PermitKind::Untracked, _) => 2,
        };
        let mut writer = Writer { bytes: &mut sealed, at: 0 };
        writer.put([LAYOUT]);
        writer.put(permit.timeline.to_le_bytes());
        writer.put(permit.key.0.to_le_bytes());
        writer.put(permit.pass.epoch.to_le_bytes());
        writer.put(permit.branch.to_le_bytes());
        writer.put([kind]);
        writer.put(probe.map_or(0, |probe| probe.slot).to_le_bytes());
        writer.put(probe.map_or(0, |probe| probe.nonce).to_le_bytes());
        writer.put(permit.issuer.to_le_bytes());
        writer.put(permit.pass.number.to_le_bytes());
        writer.put(permit.issued_at.as_micros().to_le_bytes());
        writer.put(permit.config_revision.to_le_bytes());
        let tag = self.mac.hash(&sealed[..BODY_BYTES]).as_bytes();
        sealed[BODY_BYTES..].copy_from_slice(&tag);
        sealed
    }

    /// Reads a permit that came back.
    ///
    /// # Errors
    /// [`Forged`] when it is not one of ours, down to the last bit.
    pub fn open(&self, sealed: &[u8]) -> Result<Permit, Forged> {
        let sealed: &[u8; SEALED_BYTES] = sealed.try_into().map_err(|_| Forged)?;
        let (body, tag) = sealed.split_at(BODY_BYTES);
        let expected = self.mac.hash(body).as_bytes();
        if !bool::from(expected[..].ct_eq(tag)) {
            return Err(Forged);
        }
        let mut reader = Reader { bytes: body };
        if reader.take()? != [LAYOUT] {
            return Err(Forged);
        }
        let timeline = u32::from_le_bytes(reader.take()?);
        let key = KeyId(u128::from_le_bytes(reader.take()?));
        let epoch = u64::from_le_bytes(reader.take()?);
        let branch = u32::from_le_bytes(reader.take()?);
        let [kind] = reader.take()?;
        let slot = u16::from_le_bytes(reader.take()?);
        let nonce = u64::from_le_bytes(reader.take()?);
        let issuer = u64::from_le_bytes(reader.take()?);
        let number = u64::from_le_bytes(reader.take()?);
        let issued_at = Time::from_micros(u64::from_le_bytes(reader.take()?));
        let config_revision = u64::from_le_bytes(reader.take()?);
        let (kind, probe) = match kind {
            0 => (PermitKind::Tracked, None),
            1 => (PermitKind::Tracked, Some(Probe { slot, nonce })),
            2 => (PermitKind::Untracked, None),
            _ => return Err(Forged),
        };
        let pass = Pass { epoch, number, probe };
        Ok(Permit { timeline, key, branch, kind, pass, issuer, issued_at, config_revision })
    }
}

struct Writer<'a> {
    bytes: &'a mut [u8; SEALED_BYTES],
    at: usize,
}

impl Writer<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(&field);
        self.at += N;
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Forged> {
        let (field, rest) = self.bytes.split_first_chunk().ok_or(Forged)?;
        self.bytes = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(probe: Option<Probe>) -> Permit {
        Permit {
            timeline: 7,
            key: KeyId(1 << 100),
            branch: 3,
            kind: PermitKind::Tracked,
            pass: Pass { epoch: u64::MAX, number: 12, probe },
            issuer: 99,
            issued_at: Time::from_micros(1_700_000_000_000_000),
            config_revision: 4,
        }
    }

    #[test]
    fn a_permit_comes_back_as_it_went_out() {
        let seals = Seals::new(&[1; 16]);
        let untracked = Permit { kind: PermitKind::Untracked, ..permit(None) };
        for permit in [permit(None), permit(Some(Probe { slot: 999, nonce: 5 })), untracked] {
            assert_eq!(seals.open(&seals.seal(&permit)), Ok(permit));
        }
    }

    #[test]
    fn a_permit_with_any_bit_changed_is_forged() {
        let seals = Seals::new(&[1; 16]);
        let sealed = seals.seal(&permit(None));
        for bit in 0..SEALED_BYTES * 8 {
            let mut changed = sealed;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seals.open(&changed), Err(Forged), "bit {bit}");
        }
        assert_eq!(seals.open(&sealed[..91]), Err(Forged));
        assert_eq!(seals.open(&[]), Err(Forged));
        assert_eq!(Seals::new(&[2; 16]).open(&sealed), Err(Forged), "another store's");
    }

    #[test]
    fn a_caller_is_counted_within_its_identity() {
        let seals = Seals::new(&[1; 16]);
        let id = |identity, caller| seals.caller_id(identity, caller);
        assert_eq!(id(None, ""), breaker::CallerId::ANONYMOUS);
        assert_ne!(id(Some("a"), ""), breaker::CallerId::ANONYMOUS);
        assert_eq!(id(Some("a"), "pod-1"), id(Some("a"), "pod-1"));
        let all = [
            id(None, "a"),
            id(None, "pod-1"),
            id(Some("a"), ""),
            id(Some("a"), "pod-1"),
            id(Some("b"), "pod-1"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn nobody_who_says_who_it_is_has_the_number_of_those_who_do_not() {
        let seals = Seals::new(&[1; 16]);
        for number in 0..64 {
            let caller = format!("pod-{number}");
            for identity in [None, Some("a")] {
                // It is even, and those of callers are odd.
                let breaker::CallerId(id) = seals.caller_id(identity, &caller);
                assert_eq!(id % 2, 1, "{caller}");
            }
        }
        assert_eq!(breaker::CallerId::ANONYMOUS.0 % 2, 0);
    }

    #[test]
    fn debug_output_says_nothing_of_the_secret() {
        assert_eq!(format!("{:?}", Seals::new(&[1; 16])), "Seals(..)");
    }

    #[test]
    fn keys_of_other_parts_have_other_ids() {
        let seals = Seals::new(&[1; 16]);
        assert_eq!(seals.key_id("a", ""), seals.key_id("a", "a"));
        assert_ne!(seals.key_id("a", "bc"), seals.key_id("ab", "c"));
        assert_ne!(seals.key_id("a", "b"), seals.key_id("a", ""));
        let long = "x".repeat(1_000);
        assert_ne!(seals.key_id(&long, ""), seals.key_id(&long, "y"));
    }
}
