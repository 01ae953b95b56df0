//! Page tokens: where a list continues.
//!
//! Opaque: base64url of a version, a position and a checksum over both and over the list's method and filters, so that
//! a token of another list, or a modified one, is detected. It is no secret: a client that
//! forges one reads what it could have requested anyway. Hence a checksum, and not a MAC.

use std::hash::Hasher;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use siphasher::sip::SipHasher24;

use super::violations::{Kind, Violations};

/// Says how the rest is laid out, and what a position is.
const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;
/// More than the largest position in base64: two parts of a key, a separator, version and checksum.
const TOKEN_CHARS_MAX: usize = 512;

/// What a token of a list is bound to: its method, and the filters of its request. `request` has no page size, which may
/// change from page to page, and no token. Two lists whose filters are encoded alike are two by their methods.
pub(crate) fn filters(method: &'static str, request: &impl Message) -> Vec<u8> {
    // No method has a NUL in its name.
    let mut filters = [method.as_bytes(), &[0]].concat();
    filters.extend_from_slice(&request.encode_to_vec());
    filters
}

/// The token for what comes after `position` in the list with these filters.
pub(crate) fn token(filters: &[u8], position: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(1 + position.len() + CHECK_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(position);
    let check = check(filters, &bytes);
    bytes.extend_from_slice(&check);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The position that `token` encodes, in the list with these filters.
pub(crate) fn position(filters: &[u8], token: &str) -> Result<Vec<u8>, Violations> {
    read(filters, token).ok_or_else(invalid_token)
}

/// The violation for an invalid token.
#[cold]
pub(crate) fn invalid_token() -> Violations {
    Violations::one(
        "page_token",
        Kind::InvalidToken,
        "invalid page token: must be a token returned for the same filters",
    )
}

fn read(filters: &[u8], token: &str) -> Option<Vec<u8>> {
    if token.len() > TOKEN_CHARS_MAX {
        return None;
    }
    let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (covered, found) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    let good = check(filters, covered) == *found && covered.first() == Some(&VERSION);
    if !good {
        return None;
    }
    bytes.truncate(bytes.len() - CHECK_BYTES);
    bytes.remove(0);
    Some(bytes)
}

fn check(filters: &[u8], covered: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = SipHasher24::new_with_key(b"breakerd page v1");
    hasher.write(covered);
    // The length keeps the two parts apart.
    hasher.write(&(covered.len() as u64).to_le_bytes());
    hasher.write(filters);
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_position_and_only_in_its_list() {
        let token = token(b"filters", b"here");
        assert_eq!(position(b"filters", &token), Ok(b"here".to_vec()));
        assert_eq!(position(b"others", &token), Err(invalid_token()));
        assert_eq!(position(b"", &token), Err(invalid_token()));
    }

    #[test]
    fn a_token_changed_anywhere_is_refused() {
        let token = token(b"filters", b"here");
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(position(b"filters", &changed), Err(invalid_token()), "{changed}");
            assert_eq!(position(b"filters", &token[..at]), Err(invalid_token()));
        }
        for other in ["", "=", "\u{0}", &"A".repeat(1_000_000)] {
            assert_eq!(position(b"filters", other), Err(invalid_token()));
        }
    }
}
