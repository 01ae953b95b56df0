//! A client of gRPC that can say what no proper client says, over any stream.

use bytes::{BufMut as _, Bytes};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub(crate) struct Raw {
    sender: SendRequest<Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// Without its frame.
    pub(crate) message: Bytes,
}

impl Answer {
    pub(crate) fn code(&self) -> Code {
        self.status.code()
    }

    pub(crate) fn reason(&self) -> String {
        self.status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
    }

    pub(crate) fn read<T: Message + Default>(&self) -> T {
        assert_eq!(self.code(), Code::Ok, "{:?}", self.status);
        T::decode(self.message.clone()).unwrap()
    }
}

impl Raw {
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> hyper::Result<Self> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    pub(crate) async fn to(address: std::net::SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await.unwrap()
    }

    /// Whether it can be used no more: the server has said that it closes it.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Calls with what `authorization` has, one header each.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        authorization: &[&[u8]],
        message: &impl Message,
    ) -> Answer {
        self.send(path, authorization, framed(&message.encode_to_vec())).await.unwrap()
    }

    /// Sends a body as it is.
    pub(crate) async fn send(
        &mut self,
        path: &str,
        authorization: &[&[u8]],
        body: Vec<u8>,
    ) -> hyper::Result<Answer> {
        let mut request = Request::post(format!("http://breakerd{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for value in authorization {
            request = request.header("authorization", HeaderValue::from_bytes(value).unwrap());
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body.into())).unwrap()).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let status = |headers: &HeaderMap| Status::from_header_map(headers);
        let found = status(&head.headers).or_else(|| body.trailers().and_then(status));
        let bytes = body.to_bytes();
        Ok(Answer {
            status: found.unwrap_or_else(|| Status::ok("")),
            message: if bytes.len() > 5 { bytes.slice(5..) } else { Bytes::new() },
        })
    }
}

/// As gRPC frames it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    framed
}
