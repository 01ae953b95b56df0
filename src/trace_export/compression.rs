//! What is sent, compressed by gzip.
//!
//! Not by tonic's own: its feature has the default implementation of zlib come in beside the one that is used here.

use std::error::Error;
use std::future::Future;
use std::io::{self, Write as _};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service;

use crate::config::TraceCompression;

/// Bytes before a message of gRPC: a flag, and its length.
const PREFIX_BYTES: usize = 5;
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

pub(super) const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// A batch repeats itself much: the fastest level is enough.
///
/// # Errors
/// None that is known: it writes to memory.
pub(super) fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// The way to a collector that takes gRPC. Each call has one message, which is compressed if that is set.
#[derive(Clone)]
pub(super) struct CollectorChannel {
    channel: Channel,
    compression: TraceCompression,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl CollectorChannel {
    pub(super) fn new(channel: Channel, compression: TraceCompression) -> Self {
        Self { channel, compression }
    }
}

impl Service<Request<Body>> for CollectorChannel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready, and not its clone.
        let clone = self.channel.clone();
        let mut channel = mem::replace(&mut self.channel, clone);
        let compression = self.compression;
        Box::pin(async move {
            let request = match compression {
                TraceCompression::None => request,
                TraceCompression::Gzip => compressed(request).await?,
            };
            Ok(channel.call(request).await?)
        })
    }
}

async fn compressed(request: Request<Body>) -> Result<Request<Body>, BoxError> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    head.headers.insert(GRPC_ENCODING, GZIP);
    Ok(Request::from_parts(head, Body::new(Full::new(compressed_message(&body)?))))
}

/// A message with its prefix, compressed, with a prefix that says so.
fn compressed_message(message: &[u8]) -> Result<Bytes, BoxError> {
    let content = message.get(PREFIX_BYTES..).ok_or("a message without its prefix")?;
    let content = gzip(content)?;
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + content.len());
    bytes.put_u8(1);
    bytes.put_u32(u32::try_from(content.len())?);
    bytes.put_slice(&content);
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_message_is_compressed_with_a_prefix_that_says_so() {
        let message = [&[0, 0, 0, 0x10, 0][..], &[7; 0x1000]].concat();
        let bytes = compressed_message(&message).unwrap();
        let (prefix, content) = bytes.split_at(PREFIX_BYTES);
        assert_eq!(prefix[0], 1);
        assert_eq!(u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize, content.len());
        let mut plain = Vec::new();
        GzDecoder::new(content).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, message[PREFIX_BYTES..]);
        assert!(content.len() < 100);
        assert!(compressed_message(&[0]).is_err());
    }
}
