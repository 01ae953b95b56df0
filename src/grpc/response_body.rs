//! The body of a response: what it holds stays charged until the connection has written it, or dropped it.
//!
//! A connection polls one frame of a response ahead. It sends that once its client's window has room for a byte of it, whole, and
//! counts it as sent from there on; the client may never open the window for the rest. So each chunk carries the call's slot with it into the connection's
//! buffers, and a long response is sent in chunks. The very last byte is a chunk of its own: the connection polls it only when there
//! is room for all before it, and until then the response can still be given up ([`super::inline_executor`]).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body as _, Frame};
use tonic::Status;
use tonic::body::Body;

use super::call_slot::CallSlot;
use super::gzip::{self, Encoding};
use super::off_thread::OffThread;

/// A longer frame is sent in chunks of this size.
const CHUNK_BYTES: usize = 64 * 1024;
/// A frame up to this size fits in the codec's buffer, which every call is charged for.
const SMALL_BYTES: usize = 8 * 1024;

/// The body of one response.
pub(super) struct ResponseBody {
    body: Body,
    /// None: the call was rejected, and its response is headers only.
    slot: Option<Arc<CallSlot>>,
    encoding: Encoding,
    /// The message is not encoded yet: so far the call is charged for what its handler needed.
    unencoded: bool,
    /// What is left of a frame that is sent in chunks.
    rest: Bytes,
    /// Whether the frame is larger than what every call is charged for, and so held.
    is_held: bool,
    /// A frame that is being compressed.
    compressing: OffThread<Compressed>,
}

/// A frame after it was compressed, and the bytes that were held for it before.
struct Compressed {
    frame: Bytes,
    held: usize,
}

impl ResponseBody {
    /// `is_stream`: what it is charged stays charged for as long as it is open.
    pub(super) fn new(body: Body, slot: Option<Arc<CallSlot>>, encoding: Encoding, is_stream: bool) -> Self {
        Self {
            body,
            slot,
            encoding,
            unencoded: !is_stream,
            rest: Bytes::new(),
            is_held: false,
            compressing: OffThread::new(),
        }
    }

    /// The next chunk of the rest.
    fn rest_chunk(&mut self) -> Chunk {
        let length = match self.rest.len() {
            0 | 1 => self.rest.len(),
            rest => CHUNK_BYTES.min(rest - 1),
        };
        self.next_chunk(length)
    }

    fn next_chunk(&mut self, length: usize) -> Chunk {
        let bytes = self.rest.split_to(length);
        if let Some(slot) = &self.slot {
            slot.frame_polled();
        }
        let held = if self.is_held { length } else { 0 };
        Chunk { bytes, held, slot: self.slot.clone() }
    }

    /// The next frame, compressed if that is wanted.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.compressing.is_running() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            let data = match frame.into_data() {
                Ok(data) if self.encoding == Encoding::Gzip => data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            let Some(slot) = self.slot.as_ref().filter(|_| data.len() > gzip::COMPRESS_INLINE_BYTES_MAX)
            else {
                return Poll::Ready(Some(Ok(Frame::data(gzip::compressed(data)))));
            };
            // Beside what the handler needed, until it is known how long it is compressed.
            let held = data.len();
            slot.hold(held);
            let work = move || Compressed { frame: gzip::compressed(data), held };
            self.compressing.start(Arc::clone(slot), work);
        }
        let compressed = ready!(self.compressing.poll(context));
        Poll::Ready(Some(compressed.map_err(Status::from).map(|Compressed { frame, held }| {
            if let Some(slot) = &self.slot {
                slot.release(held);
            }
            Frame::data(frame)
        })))
    }

    /// From here on what is encoded is held, all of it: what waits after the first chunk takes memory too.
    fn encoded(&mut self, bytes: usize) {
        if let Some(slot) = &self.slot {
            if std::mem::take(&mut self.unencoded) {
                slot.answered();
            }
            self.is_held = bytes > SMALL_BYTES;
            if self.is_held {
                slot.hold(bytes);
            }
        }
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Chunk;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, Status>>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(this.rest_chunk()))));
        }
        let polled = this.poll_data(context);
        if polled.is_pending()
            && let Some(slot) = &this.slot
        {
            slot.frame_awaited();
        }
        let frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            Some(Err(status)) => return Poll::Ready(Some(Err(status))),
            None => return Poll::Ready(None),
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            // What is no data is trailers, which have no data.
            Err(frame) => return Poll::Ready(frame.into_trailers().ok().map(|it| Ok(Frame::trailers(it)))),
        };
        this.rest = data;
        let whole = this.rest.len();
        this.encoded(whole);
        // A small one goes at once: cutting it would cost more than it holds.
        let chunk = if whole <= SMALL_BYTES { this.next_chunk(whole) } else { this.rest_chunk() };
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !self.compressing.is_running() && self.body.is_end_stream()
    }
}

/// A chunk of a response. The connection drops it when it is written to the socket, or the stream is reset.
pub(super) struct Chunk {
    bytes: Bytes,
    /// What the slot holds for it.
    held: usize,
    slot: Option<Arc<CallSlot>>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(slot) = &self.slot {
            slot.release(self.held);
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
