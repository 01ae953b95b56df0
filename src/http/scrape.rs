//! `/metrics`.
//!
//! A scrape is megabytes where there are many breakers, and stays until its client has read it. So those who wait together, and take the same
//! representation, share one, and of those that are not read yet there are only so many.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;

use super::negotiation::Representation;
use super::{PageState, internal, problem};
use crate::auth::{ConcurrencyCounter, ConnectionAuth, CountGuard, Protocol};
use crate::metrics::{Metrics, Refusal};

/// Scrapes that are not read to their end, at one time.
const UNREAD_MAX: usize = 8;
/// Of one address: half, so that a client that does not read its response leaves room for Prometheus.
const UNREAD_PER_ADDRESS_MAX: usize = UNREAD_MAX / 2;
/// The retry delay after a rejected scrape, in seconds.
const RETRY_AFTER: &str = "1";

pub(super) async fn metrics(
    State(state): State<PageState>,
    Extension(auth): Extension<Arc<ConnectionAuth>>,
    headers: HeaderMap,
) -> Response {
    let representation = Representation::preferred(&headers);
    let scrapes = Arc::clone(&state.scrapes);
    let arrived = scrapes.begun.load(Relaxed);
    match state.read(move |app| scrapes.scrape(&app.metrics, representation, arrived, &auth)).await {
        Some(Ok(Some(scrape))) => {
            let mut response = Bytes::from_owner(Shared(scrape)).into_response();
            let content_type = HeaderValue::from_static(representation.format.content_type());
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            let vary = HeaderValue::from_static("Accept, Accept-Encoding");
            response.headers_mut().insert(header::VARY, vary);
            if representation.gzip {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Some(Ok(None)) => {
            state.app.metrics.access.refused(Protocol::Http, Refusal::CallerLimit);
            let busy = problem(StatusCode::SERVICE_UNAVAILABLE, "too many scrapes are not read yet");
            ([(header::RETRY_AFTER, RETRY_AFTER)], busy).into_response()
        }
        Some(Err(error)) => {
            tracing::error!(%error, "cannot render metrics");
            internal()
        }
        None => internal(),
    }
}

/// The scrapes that are not read to their end.
#[derive(Default)]
pub(super) struct Scrapes {
    /// How many were begun.
    begun: AtomicU64,
    unread: Arc<ConcurrencyCounter>,
    /// The newest one by representation.
    newest: Mutex<[Weak<Scrape>; Representation::ALL.len()]>,
}

/// One scrape, and its slot.
struct Scrape {
    body: Vec<u8>,
    /// How many had been begun when this was.
    number: u64,
    unread: Arc<ConcurrencyCounter>,
    _of_address: CountGuard,
}

impl Drop for Scrape {
    fn drop(&mut self) {
        self.unread.leave();
    }
}

impl Scrapes {
    /// Everything as of now: rendered, or shared with somebody for whom that was begun after `arrived`. None: too many are
    /// not read yet.
    fn scrape(
        &self,
        metrics: &Metrics,
        representation: Representation,
        arrived: u64,
        auth: &ConnectionAuth,
    ) -> prometheus::Result<Option<Arc<Scrape>>> {
        let newest_of = representation.index();
        // The permit is held: no other page is rendered meanwhile.
        if let Some(newest) = self.newest.lock()[newest_of].upgrade()
            && newest.number > arrived
        {
            return Ok(Some(newest));
        }
        let of_address = auth.anonymous().counts.enter(|counts| &counts.scrapes, UNREAD_PER_ADDRESS_MAX);
        let Some(of_address) = of_address else { return Ok(None) };
        if !self.unread.enter(UNREAD_MAX) {
            return Ok(None);
        }
        let number = self.begun.fetch_add(1, Relaxed) + 1;
        let mut scrape =
            Scrape { body: Vec::new(), number, unread: Arc::clone(&self.unread), _of_address: of_address };
        let text = metrics.render(representation.format)?;
        scrape.body = if representation.gzip { compressed(&text)? } else { text.into_bytes() };
        let scrape = Arc::new(scrape);
        self.newest.lock()[newest_of] = Arc::downgrade(&scrape);
        Ok(Some(scrape))
    }
}

/// At the fastest level: names repeat, and a tenth is left.
fn compressed(text: &str) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

/// A scrape as the bytes of a body.
struct Shared(Arc<Scrape>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.body
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::auth::Authenticator;

    #[test]
    fn unread_scrapes_are_bounded_and_those_who_wait_together_share_one() {
        let (scrapes, metrics, authenticator) =
            (Scrapes::default(), Metrics::default(), Arc::new(Authenticator::disabled()));
        let auth =
            |last| ConnectionAuth::new(Arc::clone(&authenticator), IpAddr::from([127, 0, 0, last]), None);
        let (one, other, third) = (auth(1), auth(2), auth(3));
        let [plain, zipped, ..] = Representation::ALL;
        let scrape = |arrived, auth| scrapes.scrape(&metrics, plain, arrived, auth).unwrap();
        let mut unread: Vec<_> = (0..4).map(|begun| scrape(begun, &one).unwrap()).collect();
        assert!(scrape(4, &one).is_none(), "a fifth of one address is one too many");
        // One that was begun after somebody came is theirs too, and costs nothing.
        assert!(Arc::ptr_eq(&scrape(3, &one).unwrap(), &unread[3]));
        assert!(
            scrapes.scrape(&metrics, zipped, 3, &one).unwrap().is_none(),
            "another representation is another one"
        );
        unread.extend((4..8).map(|begun| scrape(begun, &other).unwrap()));
        assert!(scrape(8, &third).is_none(), "and a ninth of all");
        assert!(unread[7].body.starts_with(b"# HELP"));
        unread.clear();
        assert!(scrape(0, &one).is_some(), "there is room again, and nothing old is shown");
        assert_eq!(scrapes.begun.load(Relaxed), 9);
    }
}
