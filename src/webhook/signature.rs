//! Signatures as [Standard Webhooks](https://www.standardwebhooks.com) defines them, so that receivers can verify them with a library.
//!
//! What is signed is `id.timestamp.body`, with HMAC-SHA256. A second secret signs too: while it is changed, receivers know the one or the other.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The most secrets of a target: the new one and the one before.
pub const SECRETS_MAX: usize = 2;
/// How many bytes a secret has.
const BYTES: RangeInclusive<usize> = 24..=64;
const PREFIX: &str = "whsec_";

/// The secrets of a target. They do not show themselves.
#[derive(Clone)]
pub struct Secrets(Vec<hmac::Key>);

impl Secrets {
    /// Reads a file of them, one a line.
    ///
    /// # Errors
    /// What is wrong, without what is in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() || lines.len() > SECRETS_MAX {
            return Err(format!(
                "must have 1 to {SECRETS_MAX} lines with a secret each, and has {}",
                lines.len()
            ));
        }
        let keys = lines.iter().enumerate().map(|(index, line)| {
            let bytes = line.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
            let bytes = bytes.filter(|bytes| BYTES.contains(&bytes.len()));
            let key = bytes.map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, &bytes));
            key.ok_or_else(|| {
                let (min, max) = (BYTES.start(), BYTES.end());
                format!("line {}: must be {PREFIX} and the base64 of {min} to {max} random bytes", index + 1)
            })
        });
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// The header `webhook-signature`: a signature by each of them.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signed = self.0.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        });
        signed.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} secrets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use ::hmac::{KeyInit as _, Mac as _};

    use super::*;

    /// By another library, from its definition.
    fn by_hand(secret: &[u8], signed: &str) -> String {
        let mut mac = ::hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
        mac.update(signed.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn each_secret_signs_id_timestamp_and_body() {
        let (new, old) = ([7_u8; 32], [9_u8; 24]);
        let lines = [new.as_slice(), &old].map(|secret| format!("whsec_{}", STANDARD.encode(secret)));
        let signed = "r-00000000000000ff-3.1700000000.{\"a\":1}";
        let sign = |text: &str| {
            Secrets::parse(text).unwrap().sign("r-00000000000000ff-3", 1_700_000_000, b"{\"a\":1}")
        };
        assert_eq!(sign(&lines[0]), by_hand(&new, signed));
        let both = format!("\n{}\r\n{}\n", lines[0], lines[1]);
        assert_eq!(sign(&both), format!("{} {}", by_hand(&new, signed), by_hand(&old, signed)));
    }

    /// The example of the specification's own libraries.
    #[test]
    fn it_is_what_the_standard_says() {
        let secrets = Secrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        let good = format!("whsec_{}", STANDARD.encode([7; 32]));
        for (wrong, why) in [
            (String::new(), "has 0"),
            ("\n \n".to_owned(), "has 0"),
            (format!("{good}\n{good}\n{good}"), "has 3"),
            (format!("{good}\nhunter2"), "line 2: must be whsec_"),
            (good.replace("whsec_", ""), "line 1"),
            ("whsec_hunter2".to_owned(), "line 1"),
            (format!("whsec_{}", STANDARD.encode([7; 23])), "24 to 64"),
            (format!("whsec_{}", STANDARD.encode([7; 65])), "24 to 64"),
        ] {
            let error = Secrets::parse(&wrong).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{wrong:?}: {error}");
        }
        assert_eq!(format!("{:?}", Secrets::parse(&good).unwrap()), "(1 secrets)");
    }
}
