//! Tokens: what a caller shows, and what is kept of it.
//!
//! A token is 256 random bits. Those cannot be guessed, however fast one can hash: so SHA-256 is enough to keep
//! the file worthless to who reads it, and a slow hash, which protects passwords that people chose, would only
//! make each new connection dear.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::ConstantTimeEq as _;

/// What every token of ours begins with, so that people and scanners of repositories know one when they see it.
const PREFIX: &str = "bk_";
const SECRET_BYTES: usize = 32;
/// The most bytes of a token that is looked up at all: breakerd's have 46, others hardly more than this.
const TOKEN_BYTES_MAX: usize = 512;

/// A token, secret. It does not show itself.
pub struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn draw() -> io::Result<Self> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))))
    }

    /// The token itself: to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The SHA-256 of a token.
#[derive(Clone, Copy)]
pub struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    /// That of `token`.
    pub fn of(token: &[u8]) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits. None: they are not.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Its key in the map. Learning this from the time of a lookup does not help an attacker: they
    /// would still have to find the token.
    pub(super) fn bucket(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

impl PartialEq for Digest {
    /// In the same time whatever the bytes are.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Display for Digest {
    /// In hexadecimal, for the file of tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// The token in the value of an `authorization` header: `Bearer TOKEN`, the scheme in any case. None: it has none
/// that could be one.
pub(super) fn token_of_header(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let fits = scheme.eq_ignore_ascii_case(SCHEME)
        && (1..=TOKEN_BYTES_MAX).contains(&token.len())
        && token.iter().all(u8::is_ascii_graphic);
    fits.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_random_and_does_not_show_itself() {
        let (one, other) = (Token::draw().unwrap(), Token::draw().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 46);
        assert!(one.expose().starts_with("bk_"));
        assert!(!format!("{one:?} {:?}", one.digest()).contains(&one.expose()[3..]));
    }

    #[test]
    fn a_digest_is_sha_256_and_comes_back_from_its_digits() {
        let digest = Digest::of(b"abc");
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), digits);
        assert_eq!(Digest::from_hex(digits), Some(digest));
        assert_eq!(Digest::from_hex(&digits.to_uppercase()), Some(digest));
        assert_ne!(Digest::of(b"abcd"), digest);
        for wrong in ["", "0000", &digits[1..], &digits.replace('b', "g"), &"ä".repeat(32)] {
            assert_eq!(Digest::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_header_is_bearer_and_a_token() {
        assert_eq!(token_of_header(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(token_of_header(b"bEARER abc"), Some(&b"abc"[..]));
        for wrong in [
            &b""[..],
            b"Bearer",
            b"Bearer ",
            b"Bearer  abc",
            b"Basic abc",
            b"Bearer a b",
            b"Bearer \xff",
            b"abc",
        ] {
            assert_eq!(token_of_header(wrong), None, "{wrong:?}");
        }
        assert_eq!(token_of_header(format!("Bearer {}", "a".repeat(513)).as_bytes()), None);
    }
}
