//! A collector of traces for tests: it takes OTLP over gRPC and over HTTP, and keeps what it was sent.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::certificates::Pair;
use crate::process::eventually;

#[derive(Default)]
pub(crate) struct Received {
    batches: Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>,
    /// While it is set, batches are answered with "come again".
    pub(crate) is_busy: AtomicBool,
}

/// What was received of one span, with its resource.
#[derive(Debug, Clone)]
pub(crate) struct SpanSeen {
    pub(crate) span: Span,
    pub(crate) resource: BTreeMap<String, String>,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) received: Arc<Received>,
}

impl Receiver {
    pub(crate) async fn grpc(tls: Option<&Pair>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, received) = (listener.local_addr().unwrap(), Arc::<Received>::default());
        let mut server = Server::builder();
        if let Some(pair) = tls {
            let identity = Identity::from_pem(&pair.certificate, &pair.key);
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        let service = TraceServiceServer::new(Service(Arc::clone(&received)));
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
        Self { address, received }
    }

    pub(crate) async fn http(path: &str, tls: Option<&Pair>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, received) = (listener.local_addr().unwrap(), Arc::<Received>::default());
        let router = axum::Router::new().route(path, post(take)).with_state(Arc::clone(&received));
        let tls = tls.map(acceptor);
        tokio::spawn(async move { serve_http(listener, tls, router).await });
        Self { address, received }
    }

    /// Waits until a span of this name has come, and answers all that have.
    pub(crate) async fn spans_with(&self, name: &str) -> Vec<SpanSeen> {
        eventually(name, async || self.received.spans().iter().any(|seen| seen.span.name == name)).await;
        self.received.spans()
    }
}

async fn serve_http(listener: TcpListener, tls: Option<TlsAcceptor>, router: axum::Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let http = hyper::server::conn::http1::Builder::new();
        match tls.clone() {
            None => drop(tokio::spawn(http.serve_connection(TokioIo::new(stream), service))),
            Some(tls) => drop(tokio::spawn(async move {
                // A client may not trust it.
                if let Ok(stream) = tls.accept(stream).await {
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                }
            })),
        }
    }
}

fn acceptor(pair: &Pair) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

impl Received {
    fn take(&self, headers: HeaderMap, request: ExportTraceServiceRequest) -> bool {
        if self.is_busy.load(Ordering::Relaxed) {
            return false;
        }
        self.batches.lock().push((headers, request));
        true
    }

    pub(crate) fn spans(&self) -> Vec<SpanSeen> {
        let mut spans = Vec::new();
        for (_, batch) in &*self.batches.lock() {
            for of_resource in &batch.resource_spans {
                let resource = attributes(&of_resource.resource.as_ref().unwrap().attributes);
                for span in of_resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                    spans.push(SpanSeen { span: span.clone(), resource: resource.clone() });
                }
            }
        }
        spans
    }

    /// The headers of each batch.
    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.batches.lock().iter().map(|(headers, _)| headers.clone()).collect()
    }
}

pub(crate) fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

struct Service(Arc<Received>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        if self.0.take(headers, request.into_inner()) {
            Ok(Response::new(ExportTraceServiceResponse::default()))
        } else {
            Err(Status::unavailable("come again"))
        }
    }
}

async fn take(State(received): State<Arc<Received>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body = if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
        plain.into()
    } else {
        body
    };
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    if received.take(headers, request) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
