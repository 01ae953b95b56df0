//! Reflection in both versions: what grpcurl and its like read before they can ask anything.
//!
//! It is a stream for as long as its client likes, and the library's own; so its questions are held to what other streams
//! are: a place among them, and an end when the process is about to go.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, Incoming};
use tonic::body::Body;
use tonic::service::Routes;
use tonic_reflection::server::Builder;

use super::health::Closing;
use super::places::Place;
use super::serve::ServeError;
use crate::proto::FILE_DESCRIPTOR_SET;

/// Both services. Each describes the other too, and the details of errors, which no method names.
pub(super) fn routes() -> Result<Routes, ServeError> {
    let v1 = described().build_v1().map_err(ServeError::Reflection)?;
    let v1alpha = described().build_v1alpha().map_err(ServeError::Reflection)?;
    Ok(Routes::new(v1).add_service(v1alpha).prepare())
}

fn described() -> Builder<'static> {
    Builder::configure()
        .include_reflection_service(false)
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
}

/// What one client asks, in its place among the streams. With the end of the questions the answers end too.
pub(super) fn held(body: Incoming, place: Place, mut closing: Closing) -> Body {
    let over = Box::pin(async move { closing.begun().await });
    Body::new(Held { body, over, is_over: false, _place: place })
}

struct Held {
    body: Incoming,
    /// Ends when nothing more is taken.
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
    _place: Place,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_over = self.is_over || self.over.as_mut().poll(context).is_ready();
        if self.is_over { Poll::Ready(None) } else { Pin::new(&mut self.body).poll_frame(context) }
    }
}
