//! Messages that are compressed: gzip, either way.
//!
//! The library's own compression is not used: it knows one limit for all methods of a service, and what it has
//! decompressed cannot be looked at before it is decoded. A message is decompressed where its bytes are counted, at most up to the
//! limit of its method. An answer is compressed for those who compress their own requests: most clients say that they accept gzip
//! whether they want it or not, and compressing a batch costs several times as much as deciding it.

use std::io::{Read as _, Write as _};

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::HeaderMap;

use super::encoding_headers::{ACCEPT_HEADER, ENCODING_HEADER};
use super::status::Failure;

/// A message up to this size is decompressed where it arrives: some ten microseconds.
pub(super) const INLINE_BYTES_MAX: usize = 16 * 1024;
/// An answer up to this size is compressed where it is sent: some ten microseconds too, as that costs several times as much.
pub(super) const COMPRESS_INLINE_BYTES_MAX: usize = 4 * 1024;
pub(super) const GZIP: &str = "gzip";

/// A shorter message hardly shrinks.
const COMPRESSED_BYTES_MIN: usize = 1_024;
/// Bytes before each message: a flag, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

/// How the messages of a request may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

/// How the messages of a request are compressed, and those of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encodings {
    pub(super) request: Encoding,
    pub(super) answer: Encoding,
}

/// The encodings that a request names for both.
///
/// # Errors
/// `UNIMPLEMENTED`, naming what is accepted.
pub(super) fn of(headers: &HeaderMap) -> Result<Encodings, Failure> {
    let plain = Encodings { request: Encoding::Identity, answer: Encoding::Identity };
    let Some(request) = headers.get(ENCODING_HEADER) else { return Ok(plain) };
    match request.as_bytes() {
        b"identity" => Ok(plain),
        b"gzip" => {
            let accepts = headers.get_all(ACCEPT_HEADER).iter().any(|accepted| {
                accepted.as_bytes().split(|byte| *byte == b',').any(|name| name.trim_ascii() == b"gzip")
            });
            let answer = if accepts { Encoding::Gzip } else { Encoding::Identity };
            Ok(Encodings { request: Encoding::Gzip, answer })
        }
        other => Err(Failure::UnknownEncoding { encoding: String::from_utf8_lossy(other).into_owned() }),
    }
}

/// Whether a message without its prefix says that it is small once decompressed, in its last four bytes. It need not be true: a
/// lie costs the attempt.
pub(super) fn seems_small(message: &[u8]) -> bool {
    let length = message.last_chunk().map(|length| u32::from_le_bytes(*length));
    length.is_none_or(|length| length as usize <= INLINE_BYTES_MAX)
}

/// A message without its prefix, decompressed, with a prefix that says so.
///
/// # Errors
/// When it is no gzip, or longer than `bytes_max` once decompressed: it is not read beyond that.
pub(super) fn decompressed(message: &[u8], bytes_max: usize) -> Result<Bytes, Failure> {
    let mut out = Vec::with_capacity(PREFIX_BYTES + (2 * message.len()).min(bytes_max));
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = GzDecoder::new(message).take(limit).read_to_end(&mut out);
    let length = read.map_err(|error| Failure::Undecodable { problem: format!("gzip: {error}") })?;
    if length > bytes_max {
        return Err(Failure::TooLarge { bytes_max });
    }
    // A limit is far below 4 GiB.
    let length = u32::try_from(length).map_err(|_| Failure::TooLarge { bytes_max })?;
    out[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(out.into())
}

/// The messages of a frame, those worth it compressed. A frame of an answer holds whole messages.
pub(super) fn compressed(frame: Bytes) -> Bytes {
    if frame.len() < COMPRESSED_BYTES_MIN {
        return frame;
    }
    let mut out = BytesMut::new();
    let mut rest = &*frame;
    while let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX_BYTES>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let Some((message, behind)) = behind.split_at_checked(length) else { return frame };
        match Some(message).filter(|it| it.len() >= COMPRESSED_BYTES_MIN).and_then(compress) {
            Some((length, message)) => {
                out.put_u8(1);
                out.put_u32(length);
                out.put_slice(&message);
            }
            None => out.put_slice(&rest[..PREFIX_BYTES + length]),
        }
        rest = behind;
    }
    if rest.is_empty() { out.freeze() } else { frame }
}

/// The message compressed; none: it is not shorter for it.
fn compress(message: &[u8]) -> Option<(u32, Vec<u8>)> {
    // The fastest level: most of what there is to win in names that repeat.
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 2), Compression::fast());
    // Neither fails on a Vec.
    encoder.write_all(message).ok()?;
    let out = encoder.finish().ok().filter(|out| out.len() < message.len())?;
    Some((u32::try_from(out.len()).ok()?, out))
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn framed(message: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(0);
        out.put_u32(u32::try_from(message.len()).unwrap());
        out.put_slice(message);
        out.freeze()
    }

    #[test]
    fn what_was_compressed_is_read_again() {
        let long = vec![7; 10_000];
        let both = [framed(b"short"), framed(&long)].concat();
        let sent = compressed(both.into());
        let (short, long_sent) = sent.split_at(PREFIX_BYTES + 5);
        assert_eq!(short, &*framed(b"short"));
        assert_eq!(long_sent[0], 1);
        assert!(long_sent.len() < 200, "{}", long_sent.len());
        assert_eq!(decompressed(&long_sent[PREFIX_BYTES..], 10_000).unwrap(), framed(&long));
    }

    #[test]
    fn a_bomb_is_read_up_to_the_limit_only() {
        let (_, bomb) = compress(&vec![0; 10_000_000]).unwrap();
        assert!(bomb.len() < 60_000);
        assert!(matches!(decompressed(&bomb, 16_384), Err(Failure::TooLarge { bytes_max: 16_384 })));
        assert!(matches!(decompressed(b"no gzip", 16_384), Err(Failure::Undecodable { .. })));
        let cut = &bomb[..bomb.len() / 2];
        assert!(matches!(decompressed(cut, 100_000_000), Err(Failure::Undecodable { .. })));
    }

    #[test]
    fn a_message_says_how_long_it_is() {
        for (bytes, small) in [(0, true), (INLINE_BYTES_MAX, true), (INLINE_BYTES_MAX + 1, false)] {
            let (_, message) = compress(&vec![7; bytes]).unwrap_or_default();
            assert_eq!(seems_small(&message), small, "{bytes}");
        }
        assert!(seems_small(b"no") && !seems_small(b"no gzip"));
    }

    #[test]
    fn only_those_who_compress_are_answered_compressed() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            of(&headers).ok().map(|encodings| (encodings.request, encodings.answer))
        };
        let (identity, gzip) = (Encoding::Identity, Encoding::Gzip);
        assert_eq!(of(&[]), Some((identity, identity)));
        assert_eq!(of(&[(ACCEPT_HEADER, "gzip")]), Some((identity, identity)));
        assert_eq!(of(&[(ENCODING_HEADER, "identity"), (ACCEPT_HEADER, "gzip")]), Some((identity, identity)));
        assert_eq!(of(&[(ENCODING_HEADER, "gzip")]), Some((gzip, identity)));
        assert_eq!(of(&[(ENCODING_HEADER, "gzip"), (ACCEPT_HEADER, "identity, gzip")]), Some((gzip, gzip)));
        assert_eq!(of(&[(ENCODING_HEADER, "snappy")]), None);
    }
}
