//! Permits: what an allowed call carries, and hands back with its outcome.
//!
//! Opaque to clients, at most 96 bytes, sealed with a MAC so that nobody can invent one. The keys of the
//! seal are kept in the store, so that a permit outlives a restart and any replica reads it. A permit says which key sealed it.
//!
//! There are two layouts. Under the first key of a store a permit is as it was before there were several: 92 bytes, and no number. So it
//! passes between a replica of that release and one of this. Under a later key it is 96 bytes, and has the number.
//!
//! The MAC is SipHash-2-4 with 128 bits (Aumasson and Bernstein, 2012), which was made for short inputs under
//! a secret key: docs/adr/0004-permits.md weighs it against HMAC and BLAKE3.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use breaker::{Pass, Probe, Time};
use siphasher::sip128::{Hasher128, SipHasher13, SipHasher24};
use subtle::ConstantTimeEq;

use super::permit_keys::{FIRST_PERMIT_KEY, HeldKey, KeyRing, SealingKey, derive};

/// Bytes of a sealed permit, at most; clients may rely on "at most 96".
pub const SEALED_BYTES: usize = 96;
const TAG_BYTES: usize = 16;
/// The number of the key, where a permit has it.
const NUMBER_BYTES: usize = 4;
/// How long a permit is good for: an outcome under an older one is late. Whatever is kept for the sake of permits has to be
/// kept for so long, and no longer.
pub const PERMIT_LIFE: Duration = Duration::from_hours(24);
/// A service and a name of a breaker, and what stands between.
const JOINED_BYTES_MAX: usize = 2 * breaker::KEY_PART_BYTES_MAX + 1;
/// Says how the rest is laid out; another layout takes another number.
const LAYOUT: u8 = 1;
/// The same, behind the number of the key.
const LAYOUT_NUMBERED: u8 = 2;

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

/// Why a permit cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    /// It does not carry our seal.
    #[error(transparent)]
    Forged(#[from] Forged),
    /// It is sealed with a key that is newer than all that this process has.
    #[error("the permit is sealed with key {number}, which this replica does not have yet")]
    UnknownKey {
        /// The number of the key.
        number: u32,
    },
}

/// A permit as it goes out.
#[derive(Debug, Clone, Copy)]
pub struct SealedPermit {
    bytes: [u8; SEALED_BYTES],
    length: usize,
}

impl std::ops::Deref for SealedPermit {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Seals permits and names breakers and callers, under the secrets of the store. Clones have their keys in common.
#[derive(Clone)]
pub struct Seals {
    /// Read by every call, on every core: a lock would be one word that all of them write.
    keys: Arc<ArcSwap<KeyRing>>,
    /// Never changes: what it names is kept by its name.
    key_id: SipHasher13,
}

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seals(..)")
    }
}

impl Seals {
    /// Derives a key for each purpose from the store's `secret`, which is the first key of permits as well, until
    /// [`Seals::hold`] says otherwise.
    pub fn new(secret: &[u8; 16]) -> Self {
        Self {
            keys: Arc::new(ArcSwap::from_pointee(KeyRing::of_first(secret))),
            key_id: SipHasher13::new_with_key(&derive(secret, b"breakerd key id")),
        }
    }

    /// Accepts permits under these keys from now on, which are all that the store has, and seals with the one of the number
    /// `sealing`. Without a key, or without that one, nothing changes.
    pub fn hold(&self, keys: &[SealingKey], sealing: u32) {
        self.keys.rcu(|ring| ring.replaced(keys, sealing));
    }

    /// The number of the newest key that the store had; at least 1.
    pub fn newest_key(&self) -> u32 {
        self.keys.load().newest()
    }

    /// The number of the key that seals.
    pub fn sealing_key(&self) -> u32 {
        self.keys.load().sealing.number
    }

    /// Whether a permit says that it is sealed with a key that is newer than all that are held.
    pub fn lacks_key_of(&self, sealed: &[u8]) -> bool {
        let Some((LAYOUT_NUMBERED, rest)) = sealed.split_first().map(|(first, rest)| (*first, rest)) else {
            return false;
        };
        let number = rest.first_chunk().map(|number| u32::from_le_bytes(*number));
        sealed.len() == SEALED_BYTES && number.is_some_and(|number| self.keys.load().is_ahead(number))
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
    pub fn seal(&self, permit: &Permit) -> SealedPermit {
        let keys = self.keys.load();
        let HeldKey { number, mac } = &keys.sealing;
        let fields = write_fields(permit);
        if *number == FIRST_PERMIT_KEY {
            return sealed(mac, [LAYOUT], &fields);
        }
        let mut header = [LAYOUT_NUMBERED; NUMBERED_HEADER_BYTES];
        header[1..].copy_from_slice(&number.to_le_bytes());
        sealed(mac, header, &fields)
    }

    /// Reads a permit that came back.
    ///
    /// # Errors
    /// [`PermitError::Forged`] when it is not one of ours, down to the last bit, or its key was removed;
    /// [`PermitError::UnknownKey`] when it may be one that another replica sealed with a newer key.
    pub fn open(&self, sealed: &[u8]) -> Result<Permit, PermitError> {
        let keys = self.keys.load();
        if let Ok(sealed) = <&[u8; FIRST_BYTES]>::try_from(sealed) {
            let held = keys.key(FIRST_PERMIT_KEY).ok_or(Forged)?;
            let ([LAYOUT], fields) = opened(&held.mac, sealed)? else { return Err(Forged.into()) };
            return Ok(read_fields(fields)?);
        }
        let sealed: &[u8; SEALED_BYTES] = sealed.try_into().map_err(|_| Forged)?;
        let [LAYOUT_NUMBERED, number @ ..] = first_chunk::<NUMBERED_HEADER_BYTES>(sealed)? else {
            return Err(Forged.into());
        };
        let number = u32::from_le_bytes(*number);
        match keys.key(number).filter(|_| number > FIRST_PERMIT_KEY) {
            Some(held) => {
                let (_, fields): (&[u8; NUMBERED_HEADER_BYTES], _) = opened(&held.mac, sealed)?;
                Ok(read_fields(fields)?)
            }
            None if keys.is_ahead(number) => Err(PermitError::UnknownKey { number }),
            None => Err(Forged.into()),
        }
    }
}

/// What stands before the fields where the number of the key does: the layout and the number.
const NUMBERED_HEADER_BYTES: usize = 1 + NUMBER_BYTES;
/// What a permit says, in both layouts.
const FIELDS_BYTES: usize = SEALED_BYTES - NUMBERED_HEADER_BYTES - TAG_BYTES;
/// Bytes of a permit under the first key.
const FIRST_BYTES: usize = 1 + FIELDS_BYTES + TAG_BYTES;

/// Of a length that the compiler knows, which takes a quarter of the time from the seal.
fn sealed<const HEADER: usize>(
    mac: &SipHasher24,
    header: [u8; HEADER],
    fields: &[u8; FIELDS_BYTES],
) -> SealedPermit {
    let mut bytes = [0; SEALED_BYTES];
    let body = HEADER + FIELDS_BYTES;
    bytes[..HEADER].copy_from_slice(&header);
    bytes[HEADER..body].copy_from_slice(fields);
    let tag = mac.hash(&bytes[..body]).as_bytes();
    let length = body + TAG_BYTES;
    bytes[body..length].copy_from_slice(&tag);
    SealedPermit { bytes, length }
}

/// The header and the fields of a permit that carries the seal of this key.
fn opened<'a, const HEADER: usize, const SEALED: usize>(
    mac: &SipHasher24,
    sealed: &'a [u8; SEALED],
) -> Result<(&'a [u8; HEADER], &'a [u8; FIELDS_BYTES]), Forged> {
    let (body, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Forged)?;
    let expected = mac.hash(body).as_bytes();
    if !bool::from(expected[..].ct_eq(tag)) {
        return Err(Forged);
    }
    let (header, fields) = body.split_first_chunk().ok_or(Forged)?;
    Ok((header, fields.try_into().map_err(|_| Forged)?))
}

fn first_chunk<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], Forged> {
    bytes.first_chunk().ok_or(Forged)
}

fn write_fields(permit: &Permit) -> [u8; FIELDS_BYTES] {
    let probe = permit.pass.probe;
    let kind = match (permit.kind, probe) {
        (PermitKind::Tracked, None) => 0,
        (PermitKind::Tracked, Some(_)) => 1,
        (PermitKind::Untracked, _) => 2,
    };
    let mut writer = Writer { bytes: [0; FIELDS_BYTES], at: 0 };
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
    writer.bytes
}

fn read_fields(bytes: &[u8]) -> Result<Permit, Forged> {
    let mut reader = Reader { bytes };
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

struct Writer {
    bytes: [u8; FIELDS_BYTES],
    at: usize,
}

impl Writer {
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
        let forged = Err(PermitError::Forged(Forged));
        for key in [1, 3] {
            seals.hold(&[key_of(1), key_of(3)], key);
            let sealed = seals.seal(&permit(None));
            assert_eq!(seals.open(&sealed), Ok(permit(None)));
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                // A bit of the number: it says that it is of a key that may come.
                let opened = seals.open(&changed);
                let may_come =
                    key == 3 && matches!(opened, Err(PermitError::UnknownKey { number }) if number > 3);
                assert_eq!(may_come, seals.lacks_key_of(&changed), "bit {bit}");
                assert!(may_come || opened == forged, "bit {bit}: {opened:?}");
            }
            assert_eq!(seals.open(&sealed[..sealed.len() - 1]), forged);
            assert!(Seals::new(&[2; 16]).open(&sealed).is_err(), "another store's");
        }
        assert_eq!(seals.open(&[]), forged);
    }

    fn key_of(number: u32) -> SealingKey {
        SealingKey { number, secret: [u8::try_from(number).unwrap(); 16] }
    }

    #[test]
    fn under_the_first_key_a_permit_is_as_the_release_before_sealed_it() {
        let probe = permit(Some(Probe { slot: 999, nonce: 5 }));
        let sealed = Seals::new(&[1; 16]).seal(&probe);
        let hex = sealed.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let (first, last) = (
            "010700000000000000000000000000000010000000ffffffffffffffff0300000001e70305000000000000006300",
            "0000000000000c0000000000000000401e18240a06000400000000000000e87f800324b115348cf23bd625198ea2",
        );
        assert_eq!(hex, format!("{first}{last}"));
    }

    #[test]
    fn a_permit_is_read_under_every_key_that_is_held_and_no_other() {
        let (seals, ahead) = (Seals::new(&[1; 16]), Seals::new(&[1; 16]));
        let first = seals.seal(&permit(None));
        ahead.hold(&[key_of(1), key_of(2)], 2);
        let second = ahead.seal(&permit(None));
        assert_eq!((first.len(), second.len()), (92, 96));
        assert_eq!((ahead.open(&first), ahead.open(&second)), (Ok(permit(None)), Ok(permit(None))));
        // The one that does not have the new key yet.
        assert_eq!(seals.open(&second), Err(PermitError::UnknownKey { number: 2 }));
        assert!(seals.lacks_key_of(&second) && !seals.lacks_key_of(&first));
        seals.hold(&[key_of(1), key_of(2)], 1);
        assert_eq!((seals.open(&second), seals.seal(&permit(None)).len()), (Ok(permit(None)), 92));
        // The old key is removed.
        seals.hold(&[key_of(2)], 2);
        assert_eq!((seals.newest_key(), seals.sealing_key()), (2, 2));
        assert_eq!(seals.open(&first), Err(PermitError::Forged(Forged)));
        assert_eq!(seals.open(&second), Ok(permit(None)));
        // The names of breakers and callers stay.
        assert_eq!(seals.key_id("a", "b"), Seals::new(&[1; 16]).key_id("a", "b"));
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
        assert_eq!(format!("{:?}", key_of(1)), "SealingKey { number: 1, .. }");
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
