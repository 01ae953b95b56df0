//! What the HTTP clients (Sentinel, Slack, PagerDuty) have in common: how an answer, or its absence, becomes a result.

use std::time::{Duration, SystemTime};

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;

use crate::call_error::{CallError, shortened, within};

/// Bytes of an answer that are read. A service that sends more is not the one that we know.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The client for a service. A service that moved is a fault in our settings: redirects are not followed.
///
/// # Errors
/// The certificates of the system cannot be used.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    Client::builder().redirect(redirect::Policy::none()).user_agent("incident-manager").build()
}

/// Sends a request and reads the answer as text, all of it within `timeout`.
pub(crate) async fn text(timeout: Duration, request: RequestBuilder) -> Result<String, CallError> {
    within(timeout, async {
        let response = request.send().await.map_err(connection)?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = body(response).await;
        if status.is_success() { body } else { Err(failed(status, retry_after, &body.unwrap_or_default())) }
    })
    .await
}

/// As [`text`], and parses it.
pub(crate) async fn json<T: DeserializeOwned>(
    timeout: Duration,
    request: RequestBuilder,
) -> Result<T, CallError> {
    let text = text(timeout, request).await?;
    serde_json::from_str(&text)
        .map_err(|error| CallError::InvalidAnswer(format!("{error} in {}", shortened(&text))))
}

async fn body(mut response: Response) -> Result<String, CallError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(connection)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(CallError::InvalidAnswer(format!("more than {ANSWER_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| CallError::InvalidAnswer("not UTF-8".to_owned()))
}

/// The URL is left out of the error: that of a webhook is a secret.
fn connection(error: reqwest::Error) -> CallError {
    let is_garbage = is_parse_error(&error);
    let error = error.without_url();
    if is_garbage {
        CallError::InvalidAnswer(format!("{error:?}"))
    } else {
        CallError::Connection(error.into())
    }
}

/// Whether the peer spoke, but not HTTP.
fn is_parse_error(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return true;
        }
        source = cause.source();
    }
    false
}

fn failed(status: StatusCode, retry_after: Option<Duration>, body: &str) -> CallError {
    let (code, text) = (status.as_str().to_owned(), shortened(body));
    match status {
        StatusCode::TOO_MANY_REQUESTS => CallError::Throttled { retry_after },
        // The service says that it waited for us too long, which is about the network or the service.
        StatusCode::REQUEST_TIMEOUT => CallError::ServiceFailed { code, text, retry_after },
        _ if status.is_server_error() => CallError::ServiceFailed { code, text, retry_after },
        _ => CallError::InvalidRequest { code, text },
    }
}

/// `Retry-After`: seconds or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok(),
    }
}
