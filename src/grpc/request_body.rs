//! The body of a request: its bytes are counted, and its messages checked, before anything is reserved for them.
//!
//! gRPC puts a flag and a length before each message, and the codec reserves that length at once: five bytes would take
//! megabytes. So a message is buffered here, growing with what arrives, until it is complete. Meanwhile:
//! - the announced length is checked against the limit of the method;
//! - what arrives is charged to the call ([`CallSlot`]), and then what its handler may need;
//! - a compressed message is decompressed, up to the same limit;
//! - a batch is refused before it is decoded when it has too many items: an item of two bytes becomes hundreds;
//! - a method that takes one message gets one.
//!
//! The usual message, which arrives whole in one frame, passes as it is: nothing is copied.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};
use tonic::Status;

use super::call_metrics::Method;
use super::call_slot::CallSlot;
use super::convert;
use super::envoy::wire;
use super::gzip::{self, Encoding, PREFIX_BYTES};
use super::off_thread::OffThread;
use super::status::{Failure, of_body};
use super::wire_fields::WireFields;

/// What an item of a batch takes once it is decoded, with its result and that on the wire: one whose every field is wrong has a result of
/// a kilobyte.
const ITEM_BYTES: usize = 1_536;
/// What a page of a list takes: a thousand rows of some hundred bytes, as they are read, converted and written.
const PAGE_BYTES: usize = 1024 * 1024;
/// What a stream takes for as long as it is open: messages of one reading, one with its client.
const STREAM_BYTES: usize = 16 * 1024;

/// How many times its bytes a check of Envoy's takes once it is decoded, at the most: six bytes can be an entry of a map with a text of two
/// bytes, which has a sixth of a node of 544 bytes, and the 32 of an allocation.
const CHECK_DECODED: usize = 24;

/// The body of one request.
pub(super) struct RequestBody {
    body: Incoming,
    slot: Arc<CallSlot>,
    method: Method,
    encoding: Encoding,
    /// Bytes of one message at most, compressed or not.
    bytes_max: usize,
    /// What has arrived of messages that were not delivered.
    arrived: BytesMut,
    /// What was charged for the message that is arriving, or was delivered last.
    charged: usize,
    messages: usize,
    /// A message that is being decompressed.
    decompressing: OffThread<Result<Bytes, Failure>>,
}

impl RequestBody {
    pub(super) fn new(
        body: Incoming,
        slot: Arc<CallSlot>,
        method: Method,
        encoding: Encoding,
        bytes_max: usize,
    ) -> Self {
        Self {
            body,
            slot,
            method,
            encoding,
            bytes_max,
            arrived: BytesMut::new(),
            charged: 0,
            messages: 0,
            decompressing: OffThread::new(),
        }
    }

    /// Buffers what has arrived, and returns a message if one is complete.
    fn take(&mut self, data: Bytes) -> Result<Option<Bytes>, Failure> {
        if data.is_empty() {
            return Ok(None);
        }
        self.check_one()?;
        if self.arrived.is_empty()
            && let Some((prefix, message)) = data.split_first_chunk()
            && message.len() == self.length(*prefix)?
        {
            return self.deliver(data);
        }
        self.charge(data.len())?;
        self.arrived.extend_from_slice(&data);
        self.whole()
    }

    /// The next message, if all of it is there.
    fn whole(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some((prefix, rest)) = self.arrived.split_first_chunk() else { return Ok(None) };
        let rest = rest.len();
        let length = self.length(*prefix)?;
        if rest < length {
            return Ok(None);
        }
        self.check_one()?;
        let message = self.arrived.split_to(PREFIX_BYTES + length).freeze();
        if !self.arrived.is_empty() {
            self.messages += 1;
            self.check_one()?;
            self.messages -= 1;
        }
        self.deliver(message)
    }

    /// Checks that a further message is allowed.
    fn check_one(&self) -> Result<(), Failure> {
        if self.messages == 0 || self.method.is_client_stream() {
            return Ok(());
        }
        Err(Failure::Undecodable { problem: "more than one message in a unary request".into() })
    }

    fn length(&self, prefix: [u8; PREFIX_BYTES]) -> Result<usize, Failure> {
        let [flag, length @ ..] = prefix;
        if flag > 1 {
            return Err(Failure::Undecodable {
                problem: format!("invalid compression flag {flag}: must be 0 or 1"),
            });
        }
        if flag == 1 && self.encoding == Encoding::Identity {
            let problem = "compressed message without grpc-encoding".into();
            return Err(Failure::Undecodable { problem });
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > self.bytes_max {
            return Err(Failure::TooLarge { bytes_max: self.bytes_max });
        }
        Ok(length)
    }

    /// Delivers a complete message, its prefix before it; none: it is being decompressed.
    fn deliver(&mut self, message: Bytes) -> Result<Option<Bytes>, Failure> {
        self.messages += 1;
        if message[0] == 0 {
            return self.decoded(message).map(Some);
        }
        // Its size is unknown before it is decompressed.
        self.charge(self.bytes_max)?;
        if gzip::seems_small(&message[PREFIX_BYTES..]) {
            let bytes_max = self.bytes_max.min(gzip::INLINE_BYTES_MAX);
            let small = gzip::decompressed(&message[PREFIX_BYTES..], bytes_max);
            if !matches!(small, Err(Failure::TooLarge { .. })) {
                return self.decoded(small?).map(Some);
            }
        }
        let bytes_max = self.bytes_max;
        let work = move || gzip::decompressed(&message[PREFIX_BYTES..], bytes_max);
        self.decompressing.start(Arc::clone(&self.slot), work);
        Ok(None)
    }

    /// Charges what the handler of a message may need.
    fn decoded(&mut self, message: Bytes) -> Result<Bytes, Failure> {
        let needed = self.needed(&message[PREFIX_BYTES..])?;
        if needed > 0 {
            self.charge(needed)?;
        }
        Ok(message)
    }

    /// What its handler may need beside the message.
    fn needed(&self, message: &[u8]) -> Result<usize, Failure> {
        if self.method == Method::EnvoyAccessLog {
            let entries = wire::entries(message).flatten().count();
            if entries > wire::ENTRIES_MAX {
                let problem = format!("{entries} entries in one message: the limit is {}", wire::ENTRIES_MAX);
                return Err(Failure::Undecodable { problem });
            }
            // They are read where they stand, one after the other.
            return Ok(STREAM_BYTES + message.len());
        }
        if self.method == Method::EnvoyCheck {
            return Ok(message.len() * CHECK_DECODED);
        }
        if self.method.is_batch() {
            let items = BatchItems::count(message);
            items.check()?;
            return Ok((items.requests + items.totals) * ITEM_BYTES);
        }
        Ok(if self.method.is_list() {
            PAGE_BYTES
        } else if self.method.is_stream() {
            STREAM_BYTES
        } else {
            0
        })
    }

    /// Who asks for a further message of a stream has handled the last one.
    fn release_handled(&mut self) {
        let is_idle = self.arrived.is_empty() && !self.decompressing.is_running();
        if self.messages > 0 && is_idle && self.method.is_client_stream() {
            self.slot.release(std::mem::take(&mut self.charged));
            // It keeps the memory of the largest message that came in pieces: a stream that then stays open would, unpaid.
            self.arrived = BytesMut::new();
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Failure> {
        self.slot.charge(bytes)?;
        self.charged += bytes;
        Ok(())
    }
}

/// How many items the message of a batch has: counted and not decoded. What is no message has none, and is refused by the
/// decoder.
#[derive(Debug, Default, PartialEq, Eq)]
struct BatchItems {
    /// Its field 1, of each batch.
    requests: usize,
    /// Its field 4: `local_totals` of `RecordOutcomes`.
    totals: usize,
    /// The most entries that one of the totals has in its field 3, `rejected`.
    rejected: usize,
}

impl BatchItems {
    const REQUESTS: u32 = 1;
    const TOTALS: u32 = 4;
    const REJECTED: u32 = 3;

    fn count(message: &[u8]) -> Self {
        let mut items = Self::default();
        for (tag, field) in WireFields::of(message).map_while(Result::ok) {
            match tag {
                Self::REQUESTS => items.requests += 1,
                Self::TOTALS => {
                    items.totals += 1;
                    let rejected = WireFields::numbered(field, Self::REJECTED).count();
                    items.rejected = items.rejected.max(rejected);
                }
                _ => {}
            }
        }
        items
    }

    fn check(&self) -> Result<(), Failure> {
        Ok(convert::check_batch_items(self.requests, self.totals, self.rejected)?)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        this.release_handled();
        loop {
            if this.decompressing.is_running() {
                let message = ready!(this.decompressing.poll(context)).flatten();
                let message = message.and_then(|message| this.decoded(message));
                return Poll::Ready(Some(message.map(Frame::data).map_err(Status::from)));
            }
            // Of a stream, the next message may be here already.
            let whole = if this.arrived.is_empty() { Ok(None) } else { this.whole() };
            if this.decompressing.is_running() {
                continue;
            }
            if let Some(message) = whole.transpose() {
                return Poll::Ready(Some(message.map(Frame::data).map_err(Status::from)));
            }
            let polled = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.take(data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(of_body(error)))),
                None if this.arrived.is_empty() => return Poll::Ready(None),
                None => {
                    this.arrived.clear();
                    Err(Failure::Undecodable { problem: "message is shorter than its length".into() })
                }
            };
            if let Some(message) = polled.transpose() {
                return Poll::Ready(Some(message.map(Frame::data).map_err(Status::from)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use breakerd_api::v1;

    #[test]
    fn items_are_counted_without_being_decoded() {
        let batch = |requests| v1::AllowRequestsRequest { requests }.encode_to_vec();
        let requests = |message: &[u8]| BatchItems::count(message).requests;
        let request =
            v1::AllowRequestRequest { service: "payments".into(), ..v1::AllowRequestRequest::default() };
        assert_eq!(requests(&[]), 0);
        assert_eq!(requests(&batch(vec![v1::AllowRequestRequest::default(); 1_001])), 1_001);
        assert_eq!(requests(&batch(vec![request.clone(), request])), 2);
        // An unknown field, and what is no message.
        assert_eq!(requests(&[0x10, 0x05, 0x0a, 0x00]), 1);
        assert_eq!(requests(&[0x0a, 0x7f, 0x00]), 0);
        assert_eq!(requests(&[0xff; 20]), 0);
    }

    #[test]
    fn totals_are_counted_beside_outcomes_and_so_are_their_parts() {
        let totals = |rejected| v1::LocalTotals {
            rejected: vec![v1::RejectedCalls::default(); rejected],
            ..v1::LocalTotals::default()
        };
        let report = v1::RecordOutcomesRequest {
            requests: vec![v1::RecordOutcomeRequest::default(); 2],
            reporter: vec![7; 16],
            sequence: 300,
            local_totals: vec![totals(1), totals(9), totals(0)],
        };
        let items = BatchItems::count(&report.encode_to_vec());
        assert_eq!(items, BatchItems { requests: 2, totals: 3, rejected: 9 });
        assert!(items.check().is_err() && BatchItems { rejected: 3, ..items }.check().is_ok());
    }
}
