//! A permit as it goes out: its bytes, and the seal.
//!
//! It is opaque to clients, at most 96 bytes, and sealed with a MAC so that nobody can invent one. The keys of the
//! seal are kept in the store, so that a permit outlives a restart and any replica reads it. A permit says which key sealed it.
//!
//! There are two layouts. Under the first key of a store a permit is as it was before there were several: 92 bytes, and no number. So it
//! passes between a replica of that release and one of this. Under a later key it is 96 bytes, and has the number.
//!
//! The MAC is SipHash-2-4 with 128 bits (Aumasson and Bernstein, 2012), which was made for short inputs under
//! a secret key: docs/adr/0004-permits.md weighs it against HMAC and BLAKE3.

use breaker::{Pass, Probe, Time};
use siphasher::sip128::SipHasher24;
use subtle::ConstantTimeEq;

use super::permit::{KeyId, Permit, PermitKind};
use super::permit_keys::{FIRST_PERMIT_KEY, HeldKey, KeyRing};

/// Bytes of a sealed permit, at most; clients may rely on "at most 96".
pub const SEALED_BYTES: usize = 96;
const TAG_BYTES: usize = 16;
/// The number of the key, where a permit has it.
const NUMBER_BYTES: usize = 4;
/// Says how the rest is laid out; another layout takes another number.
const LAYOUT: u8 = 1;
/// The same, behind the number of the key.
const LAYOUT_NUMBERED: u8 = 2;
/// What stands before the fields where the number of the key does: the layout and the number.
const NUMBERED_HEADER_BYTES: usize = 1 + NUMBER_BYTES;
/// What a permit says, in both layouts.
const FIELDS_BYTES: usize = SEALED_BYTES - NUMBERED_HEADER_BYTES - TAG_BYTES;
/// Bytes of a permit under the first key.
const FIRST_BYTES: usize = 1 + FIELDS_BYTES + TAG_BYTES;

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

/// Seals a permit. Under the first key it is as it was before there were several.
pub(super) fn seal(key: &HeldKey, permit: &Permit) -> SealedPermit {
    let HeldKey { number, mac } = key;
    let fields = write_fields(permit);
    if *number == FIRST_PERMIT_KEY {
        return sealed(mac, [LAYOUT], &fields);
    }
    let mut header = [LAYOUT_NUMBERED; NUMBERED_HEADER_BYTES];
    header[1..].copy_from_slice(&number.to_le_bytes());
    sealed(mac, header, &fields)
}

/// Reads a permit that came back, by the keys that are held.
pub(super) fn open(keys: &KeyRing, sealed: &[u8]) -> Result<Permit, PermitError> {
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

/// The number of the key that a permit says it is sealed with; none: it says none.
pub(super) fn key_number(sealed: &[u8]) -> Option<u32> {
    let (&LAYOUT_NUMBERED, rest) = sealed.split_first()? else { return None };
    let number = rest.first_chunk().filter(|_| sealed.len() == SEALED_BYTES)?;
    Some(u32::from_le_bytes(*number))
}

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
