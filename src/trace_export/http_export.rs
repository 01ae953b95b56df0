//! The request to a collector by protobuf over HTTP/1.1.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;

use super::compression::{GZIP, gzip};
use super::http_answer;
use super::request::{ANSWER_BYTES_MAX, ExportError, Taken};
use crate::config::TraceCompression;

/// Sends batches, one request each.
pub(super) struct HttpExport {
    pub(super) client: Box<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
    /// With the path that traces are posted to.
    pub(super) uri: Uri,
    pub(super) compression: TraceCompression,
    /// Unless the headers have one.
    pub(super) user_agent: HeaderValue,
}

impl HttpExport {
    /// Sends one batch.
    ///
    /// # Errors
    /// [`ExportError`]: it was not taken.
    pub(super) async fn export(&self, message: Bytes, headers: &HeaderMap) -> Result<Taken, ExportError> {
        let body = match self.compression {
            TraceCompression::None => message,
            TraceCompression::Gzip => {
                gzip(&message).map_err(|error| ExportError::permanent(error.to_string()))?.into()
            }
        };
        let mut post = Request::new(Full::from(body));
        *post.method_mut() = Method::POST;
        *post.uri_mut() = self.uri.clone();
        *post.headers_mut() = headers.clone();
        let headers = post.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if self.compression == TraceCompression::Gzip {
            headers.insert(CONTENT_ENCODING, GZIP);
        }
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        let response = self.client.request(post).await.map_err(|error| ExportError::lost(&error))?;
        http_answer::read(response, ANSWER_BYTES_MAX).await
    }
}
