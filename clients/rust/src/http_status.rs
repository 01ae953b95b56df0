//! What an answer of HTTP means.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::classify::Classified;

/// What an answer of HTTP means. 500 and above, 408 and 429 are failures of the class of their number, and bring their Retry-After, if it is a
/// number of seconds. Other answers of 400 and above say nothing about the dependency.
pub fn classify_status(status: StatusCode, headers: &HeaderMap) -> Classified {
    let failed = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    if failed {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        return Classified::failure(status.as_str().to_owned()).retry_after(seconds.map(Duration::from_secs));
    }
    if status.is_client_error() { Classified::Ignored } else { Classified::Success }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(status: u16, retry_after: Option<&'static str>) -> Classified {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|value| (RETRY_AFTER, value.parse().unwrap())));
        classify_status(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn answers_are_failures_where_the_server_is_at_fault() {
        for status in [200, 204, 301] {
            assert_eq!(classify(status, None), Classified::Success, "{status}");
        }
        for status in [400, 401, 404, 409] {
            assert_eq!(classify(status, None), Classified::Ignored, "{status}");
        }
        for status in [408_u16, 429, 500, 503] {
            assert_eq!(classify(status, None), Classified::failure(status.to_string()));
        }
        let seven = Classified::failure("429").retry_after(Duration::from_secs(7));
        assert_eq!(classify(429, Some("7")), seven);
        assert_eq!(classify(429, Some("Wed, 21 Oct 2015 07:28:00 GMT")), Classified::failure("429"));
    }
}
