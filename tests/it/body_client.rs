//! A client that sends the headers and bodies of a test's choosing: half a message, compressed ones, answers left unread.

use std::time::Duration;

use breakerd_api::v1::AllowRequestsRequest;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::grpc_world::{World, ask};
use crate::raw::framed;

pub(crate) const ALLOW: &str = "/breakerd.v1.BreakerService/AllowRequest";
pub(crate) const ALLOW_MANY: &str = "/breakerd.v1.BreakerService/AllowRequests";
pub(crate) const RECORD_MANY: &str = "/breakerd.v1.BreakerService/RecordOutcomes";
pub(crate) const CHECK: &str = "/grpc.health.v1.Health/Check";
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    pub(crate) sender: SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
}

/// Headers, and a body that is all there, or that never ends.
pub(crate) enum Sent {
    Whole(Vec<u8>),
    Begun(Vec<u8>),
}

impl Client {
    /// One whose streams take so many bytes of an answer before it opens their windows, which it does not.
    pub(crate) async fn connect(address: std::net::SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    pub(crate) async fn of(world: &World) -> Self {
        Self::connect(world.address, 1 << 20).await
    }

    pub(crate) fn begin(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        sent: Sent,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let mut request = Request::post(format!("http://breakerd{path}")).header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match sent {
            Sent::Whole(body) => Full::new(body.into()).boxed(),
            Sent::Begun(body) => {
                let first = tokio_stream::once(Ok(Frame::data(Bytes::from(body))));
                StreamBody::new(first.chain(tokio_stream::pending())).boxed()
            }
        };
        self.sender.send_request(request.body(body).unwrap())
    }

    /// The status, the headers, and the bytes of the answer.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (Status, HeaderMap, Bytes) {
        self.sender.ready().await.unwrap();
        let answered = self.begin(path, headers, Sent::Whole(body));
        read(tokio::time::timeout(LONG, answered).await.unwrap().unwrap()).await
    }
}

pub(crate) async fn read(response: Response<Incoming>) -> (Status, HeaderMap, Bytes) {
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(LONG, body.collect()).await.unwrap().unwrap();
    let found = Status::from_header_map(&head.headers)
        .or_else(|| body.trailers().and_then(Status::from_header_map))
        .unwrap_or_else(|| Status::ok(""));
    (found, head.headers, body.to_bytes())
}

pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap_or_else(|| panic!("{status:?}")).reason
}

pub(crate) fn allow_one() -> Vec<u8> {
    framed(&ask("payments", "").encode_to_vec())
}

pub(crate) fn batch(requests: usize) -> AllowRequestsRequest {
    AllowRequestsRequest { requests: vec![ask("payments", "card-processor"); requests] }
}

/// A message as gzip, with its prefix.
pub(crate) fn gzipped(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, message).unwrap();
    let mut sent = framed(&encoder.finish().unwrap());
    sent[0] = 1;
    sent
}

/// Calls until the answer is `wanted`.
pub(crate) async fn until(
    client: &mut Client,
    path: &str,
    body: impl Fn() -> Vec<u8>,
    wanted: impl Fn(&Status) -> bool,
) {
    let answered = tokio::time::timeout(LONG, async {
        loop {
            let (status, ..) = client.call(path, &[], body()).await;
            if wanted(&status) {
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    answered.await.expect("it comes to that");
}
