//! The call of a collector by gRPC, with a message that is encoded already.

use bytes::{BufMut as _, Bytes};
use http::HeaderMap;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use tonic::client::Grpc;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Request, Status};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::compression::CollectorChannel;

const PATH: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");

/// Sends batches, one call each.
pub(super) struct GrpcExport(Grpc<CollectorChannel>);

impl GrpcExport {
    /// Over `channel`; an answer has at most so many bytes.
    pub(super) fn new(channel: CollectorChannel, answer_bytes_max: usize) -> Self {
        Self(Grpc::new(channel).max_decoding_message_size(answer_bytes_max))
    }

    /// Sends one batch.
    ///
    /// # Errors
    /// The status of the collector, or of the way to it.
    pub(super) async fn export(
        &mut self,
        message: Bytes,
        headers: &HeaderMap,
    ) -> Result<ExportTraceServiceResponse, Status> {
        self.0.ready().await.map_err(|error| Status::new(Code::Unavailable, error.to_string()))?;
        let metadata = MetadataMap::from_headers(headers.clone());
        let request = Request::from_parts(metadata, Extensions::default(), message);
        self.0.unary(request, PATH, EncodedCodec).await.map(tonic::Response::into_inner)
    }
}

/// Writes what is encoded, and reads answers as the generated client does.
struct EncodedCodec;

impl Codec for EncodedCodec {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = ProstDecoder<ExportTraceServiceResponse>;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<ExportTraceServiceResponse, ExportTraceServiceResponse>::default().decoder()
    }
}

impl Encoder for EncodedCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}
