//! Seals permits, and names breakers and callers, under the secrets of the store.

use std::hash::Hasher;
use std::sync::Arc;

use arc_swap::ArcSwap;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::permit::{KeyId, Permit};
use super::permit_keys::{KeyRing, SealingKey, derive};
use super::sealed_permit::{self, PermitError, SealedPermit};

/// A service and a name of a breaker, and what stands between.
const JOINED_BYTES_MAX: usize = 2 * breaker::KEY_PART_BYTES_MAX + 1;

/// The secrets of the store, in use. Clones have their keys in common.
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
        sealed_permit::key_number(sealed).is_some_and(|number| self.keys.load().is_ahead(number))
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
        sealed_permit::seal(&self.keys.load().sealing, permit)
    }

    /// Reads a permit that came back.
    ///
    /// # Errors
    /// [`PermitError::Forged`] when it is not one of ours, down to the last bit, or its key was removed;
    /// [`PermitError::UnknownKey`] when it may be one that another replica sealed with a newer key.
    pub fn open(&self, sealed: &[u8]) -> Result<Permit, PermitError> {
        sealed_permit::open(&self.keys.load(), sealed)
    }
}

#[cfg(test)]
mod tests {
    use breaker::{Pass, Probe, Time};

    use super::super::permit::PermitKind;
    use super::super::sealed_permit::Forged;
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
