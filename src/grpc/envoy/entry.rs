//! Reads an entry of an access log where it stands.
//!
//! Filters keep texts of clients with a request, in any bytes, as many and as deep as they like, and a proxy logs them all. None of
//! that may cost the outcome of this request, or of those beside it in the message. So only what is needed of an entry is decoded, and
//! the rest passed over.

use breakerd_api::envoy_api::envoy::data::accesslog::v3::ResponseFlags;
use prost::Message as _;

use super::super::wire_fields::{NoField, WireFields};
use super::wire::{CALLER_FIELD, PERMIT_FIELD, PERMIT_FILTERS};

/// Numbers of fields in Envoy's messages.
const COMMON: u32 = 1;
const RESPONSE: u32 = 4;
const METADATA: u32 = 17;
const RESPONSE_CODE: u32 = 1;
const RESPONSE_HEADERS: u32 = 4;
const RESPONSE_TRAILERS: u32 = 5;
const STRING_VALUE: u32 = 3;
/// Of an entry of a map, and of the only map of `Metadata` and of `Struct`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
const MAP: u32 = 1;

/// An entry, of HTTP or of TCP.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    /// What all entries have.
    pub(super) common: Common,
    metadata: &'a [u8],
    response: &'a [u8],
}

/// Those fields of `AccessLogCommon` that are decoded.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Common {
    #[prost(message, optional, tag = "7")]
    pub(super) time_to_first_upstream_tx_byte: Option<prost_types::Duration>,
    #[prost(message, optional, tag = "10")]
    pub(super) time_to_last_upstream_rx_byte: Option<prost_types::Duration>,
    /// Only that there is one.
    #[prost(message, optional, tag = "13")]
    pub(super) upstream_remote_address: Option<()>,
    #[prost(message, optional, tag = "16")]
    pub(super) response_flags: Option<ResponseFlags>,
    #[prost(message, optional, tag = "23")]
    pub(super) duration: Option<prost_types::Duration>,
    #[prost(int32, tag = "33")]
    pub(super) access_log_type: i32,
}

impl<'a> Entry<'a> {
    /// The entry that was written as `bytes`.
    ///
    /// # Errors
    /// They are no entry.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, NoField> {
        let mut entry = Self::default();
        for field in WireFields::of(bytes) {
            match field? {
                (COMMON, common) => {
                    entry.common = Common::decode(common).map_err(|_| NoField)?;
                    entry.metadata = WireFields::numbered(common, METADATA).last().unwrap_or_default();
                }
                (RESPONSE, response) => entry.response = response,
                _ => {}
            }
        }
        Ok(entry)
    }

    /// The permit, as text, that the request was allowed with, and the label of its caller. None: it had none.
    pub(super) fn permit(&self) -> Option<(&'a str, &'a str)> {
        let filters = WireFields::numbered(self.metadata, MAP);
        let kept = filters.filter(|filter| PERMIT_FILTERS.iter().any(|name| has_key(filter, name)));
        let mut kept = kept.filter_map(|filter| WireFields::numbered(filter, VALUE).last());
        kept.find_map(|kept| Some((text(kept, PERMIT_FIELD)?, text(kept, CALLER_FIELD).unwrap_or_default())))
    }

    /// The status of HTTP; none: the client went away before it came.
    pub(super) fn code(&self) -> Option<u32> {
        u32::decode(WireFields::numbered(self.response, RESPONSE_CODE).last()?).ok()
    }

    /// A header of the response, if it was logged.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        value(self.response, RESPONSE_HEADERS, name)
    }

    /// A trailer of the response, if it was logged.
    pub(super) fn trailer(&self, name: &str) -> Option<&'a str> {
        value(self.response, RESPONSE_TRAILERS, name)
    }
}

/// The text of a field of a `Struct`.
fn text<'a>(kept: &'a [u8], name: &str) -> Option<&'a str> {
    let field = WireFields::numbered(kept, MAP).find(|field| has_key(field, name))?;
    let value = WireFields::numbered(field, VALUE).last()?;
    str::from_utf8(WireFields::numbered(value, STRING_VALUE).last()?).ok()
}

/// The text that a map of a message has under this key.
fn value<'a>(message: &'a [u8], map: u32, key: &str) -> Option<&'a str> {
    let entry = WireFields::numbered(message, map).find(|entry| has_key(entry, key))?;
    str::from_utf8(WireFields::numbered(entry, VALUE).last()?).ok()
}

fn has_key(entry: &[u8], key: &str) -> bool {
    WireFields::numbered(entry, KEY).last() == Some(key.as_bytes())
}
