//! What a collector answers over HTTP.
//!
//! Status 200 alone does not say that the spans have arrived: a captive portal, a proxy, or another service at that address
//! answers it too. OTLP wants an `ExportTraceServiceResponse`, in the format of the request. Some collectors deviate from that and
//! take the spans all the same, so these count as taken, as in other exporters: no body, JSON, and a text, which is warned of. No
//! collector answers with a web page, or with protobuf that is none: then the batch has failed. It is not sent again, since OTLP
//! names the statuses that may be; the next batch is sent as ever.

use std::error::Error;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use http::{Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

use super::request::{ExportError, Taken, taken};

/// Bytes of a header in the log.
const HEADER_BYTES_MAX: usize = 100;

type BoxError = Box<dyn Error + Send + Sync>;

/// What has become of a batch that was answered so. Reads at most `bytes_max` of the body, and of those that say nothing more
/// than the head does, none.
///
/// # Errors
/// [`ExportError`]: it was not taken. Nothing of the body is in it: a page may repeat the headers that it was asked with.
pub(super) async fn read<B>(response: Response<B>, bytes_max: usize) -> Result<Taken, ExportError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Err(refused(head.status, &head.headers));
    }
    if body.is_end_stream() {
        return Ok(Taken::all());
    }
    let form = Form::of(&head.headers);
    let no_otlp = || foreign(head.status, &head.headers);
    let failed = || ExportError::permanent(no_otlp());
    if form == Form::Page {
        return Err(failed());
    }
    let body = match Limited::new(body, bytes_max).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(failed()),
        Err(error) => return Err(ExportError::lost(&*error)),
    };
    match form {
        _ if body.is_empty() => Ok(Taken::all()),
        Form::Protobuf => ExportTraceServiceResponse::decode(body).map(taken).map_err(|_| failed()),
        Form::Json => of_json(&body).map(taken).ok_or_else(failed),
        // A page by another name.
        Form::Other | Form::Page if body.trim_ascii_start().starts_with(b"<") => Err(failed()),
        Form::Other | Form::Page => Ok(Taken { rejected: 0, problem: no_otlp() }),
    }
}

/// What a body is, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Also without a word of it: it is what was asked for.
    Protobuf,
    Json,
    Page,
    Other,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Self::Protobuf };
        let text = value.to_str().unwrap_or_default();
        let name = text.split_once(';').map_or(text, |(name, _)| name).trim().to_ascii_lowercase();
        match &*name {
            "application/x-protobuf" | "application/protobuf" => Self::Protobuf,
            "application/json" => Self::Json,
            "text/html" | "application/xhtml+xml" => Self::Page,
            _ => Self::Other,
        }
    }
}

/// A response in OTLP's JSON, in which a number may be a text, and unknown fields are passed over.
fn of_json(body: &[u8]) -> Option<ExportTraceServiceResponse> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = json.as_object()?.get("partialSuccess");
    let rejected = partial.and_then(|partial| partial.get("rejectedSpans"));
    let text = partial.and_then(|partial| partial.get("errorMessage")).and_then(|text| text.as_str());
    let rejected = rejected.and_then(|count| count.as_i64().or_else(|| count.as_str()?.parse().ok()));
    let partial = ExportTracePartialSuccess {
        rejected_spans: rejected.unwrap_or_default(),
        error_message: text.unwrap_or_default().to_owned(),
    };
    Some(ExportTraceServiceResponse { partial_success: Some(partial) })
}

/// By another status than success.
fn refused(status: StatusCode, headers: &HeaderMap) -> ExportError {
    let location = headers.get(LOCATION).filter(|_| status.is_redirection());
    let problem = match location.map(|location| origin(location.as_bytes())) {
        // Where it leads to would be told what is meant for the collector, headers included.
        Some(origin) => format!("HTTP status {status} to {origin}: redirects are not followed"),
        None => format!("HTTP status {status}"),
    };
    ExportError { problem, can_retry: can_retry(status) }
}

/// A URL without user, path and query, which may be secrets.
fn origin(location: &[u8]) -> String {
    let uri = Uri::try_from(location).unwrap_or_default();
    match (uri.scheme_str(), uri.host(), uri.port_u16()) {
        (Some(scheme), Some(host), Some(port)) => shown(&format!("{scheme}://{host}:{port}")),
        (Some(scheme), Some(host), None) => shown(&format!("{scheme}://{host}")),
        _ => "another path".to_owned(),
    }
}

/// That an answer is none of OTLP, and which it is instead.
fn foreign(status: StatusCode, headers: &HeaderMap) -> String {
    let form = headers.get(CONTENT_TYPE).map(|form| String::from_utf8_lossy(form.as_bytes()));
    let form =
        form.map_or_else(|| "no content-type".to_owned(), |form| format!("content-type {}", shown(&form)));
    format!(
        "HTTP status {status} with {form} and a body that is no OTLP response: check that a collector answers at tracing.endpoint"
    )
}

fn shown(text: &str) -> String {
    text[..text.floor_char_boundary(HEADER_BYTES_MAX)].to_owned()
}

/// Those that OTLP names.
fn can_retry(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    const PAGE: &str = "<!doctype html><title>Sign in</title>";

    async fn answered(status: u16, form: &str, body: impl Into<Bytes>) -> Result<Taken, ExportError> {
        let response = Response::builder().status(status);
        let response = if form.is_empty() { response } else { response.header(CONTENT_TYPE, form) };
        read(response.body(Full::new(body.into())).unwrap(), 1_000).await
    }

    #[tokio::test]
    async fn a_success_without_a_body_is_one() {
        for status in [200, 202, 204] {
            for form in ["", "application/x-protobuf", "text/html", "application/json"] {
                assert_eq!(answered(status, form, "").await, Ok(Taken::all()), "{status} {form}");
            }
        }
    }

    #[tokio::test]
    async fn what_was_rejected_is_read_in_both_formats() {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let message = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let taken = Taken { rejected: 3, problem: "too old".to_owned() };
        for form in ["application/x-protobuf", "application/protobuf", ""] {
            assert_eq!(answered(200, form, message.clone()).await.as_ref(), Ok(&taken), "{form}");
        }
        for (json, expected) in [
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#, taken.clone()),
            (r#"{"partialSuccess":{"rejectedSpans":3,"errorMessage":"too old"},"a":1}"#, taken),
            (r#"{"partialSuccess":null}"#, Taken::all()),
            ("{}", Taken::all()),
        ] {
            assert_eq!(answered(200, "application/json; charset=utf-8", json).await, Ok(expected), "{json}");
        }
    }

    #[tokio::test]
    async fn what_no_collector_answers_is_a_failure_that_says_what_it_is() {
        let long = "x".repeat(1_001);
        for (form, body, named) in [
            ("text/html; charset=utf-8", PAGE, "with content-type text/html; charset=utf-8 and"),
            ("application/xhtml+xml", PAGE, "with content-type application/xhtml+xml and"),
            ("TEXT/HTML", PAGE, "with content-type TEXT/HTML and"),
            ("text/plain", PAGE, "with content-type text/plain and"),
            ("", PAGE, "with no content-type and"),
            ("application/x-protobuf", PAGE, "with content-type application/x-protobuf and"),
            ("application/json", "[1]", "with content-type application/json and"),
            ("application/json", PAGE, "with content-type application/json and"),
            ("text/plain", &long, "with content-type text/plain and"),
        ] {
            let error = answered(200, form, body.to_owned()).await.unwrap_err();
            assert!(
                error.problem.starts_with("HTTP status 200 OK ") && error.problem.contains(named),
                "{error}"
            );
            assert!(!error.can_retry && !error.problem.contains("Sign in"), "{error}");
        }
        let error = answered(200, &format!("text/html{}", " ".repeat(9_000)), PAGE).await.unwrap_err();
        assert!(error.problem.len() < 300, "{error}");
    }

    #[tokio::test]
    async fn a_text_counts_as_taken_and_is_warned_of() {
        let taken = answered(200, "text/plain", "OK").await.unwrap();
        assert_eq!(taken.rejected, 0);
        assert!(taken.problem.contains("content-type text/plain"), "{taken:?}");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_shows_no_secret() {
        for (location, shown) in [
            ("https://user:word@sign.in:8443/token?key=1", "302 Found to https://sign.in:8443: redirects"),
            ("http://sign.in/token", "302 Found to http://sign.in: redirects"),
            ("/token", "302 Found to another path: redirects"),
        ] {
            let response = Response::builder().status(302).header(LOCATION, location);
            let response = response.body(Full::new(Bytes::from(PAGE))).unwrap();
            let error = read(response, 1_000).await.unwrap_err();
            assert!(error.problem.contains(shown) && !error.can_retry, "{error}");
            assert!(!error.problem.contains("word") && !error.problem.contains("token"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_status_that_passes_is_tried_again_whatever_the_body_is() {
        for (status, can_retry) in [(400, false), (404, false), (429, true), (503, true), (500, false)] {
            let error = answered(status, "text/html", "x".repeat(2_000)).await.unwrap_err();
            assert_eq!(error.can_retry, can_retry, "{error}");
            assert!(error.problem.starts_with(&format!("HTTP status {status} ")), "{error}");
        }
    }
}
