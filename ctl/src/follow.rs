//! Follows a watch until it is interrupted, and resumes a stream that ended where it ended.
//!
//! The first attempt must succeed, so that an invalid address or a missing permission fails at once. From then on a
//! watch that ends, with a retryable error or without one, is resumed after the last
//! resume token, after a backoff that doubles up to [`BACKOFF_MAX`] and is reset once an event arrives.

use std::time::Duration;

use breaker::HumanDuration;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::screen::Screen;
use super::table::escape_control;
use breakerd_common::clock::Clock;
use breakerd_common::signals;

const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A watch of the API.
pub(super) trait Feed {
    /// What it sends.
    type Event;

    /// Opens the stream; an empty token requests a snapshot.
    async fn open(
        &mut self,
        connection: &Connection,
        token: String,
    ) -> Result<Streaming<Self::Event>, Status>;

    /// The resume token of an event, if it has one.
    fn token(event: &Self::Event) -> Option<&str>;

    /// Shows an event.
    fn show(&mut self, event: &Self::Event, screen: &mut Screen<'_>) -> std::io::Result<()>;
}

/// Prints the events until the process is interrupted, or its output is closed.
pub(super) async fn follow(
    mut feed: impl Feed,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let stop = signals::shutdown()?;
    let mut token = String::new();
    let mut backoff = BACKOFF_MIN;
    let mut is_first = true;
    loop {
        // Unless there is a status.
        let mut why = "the server ended it".to_owned();
        // Not a deadline of the request: the server would end the stream at it.
        let opening = tokio::time::timeout(connection.timeout(), feed.open(connection, token.clone()));
        let opened = tokio::select! {
            opened = opening => opened,
            () = stop.cancelled() => return Ok(Completion::Done),
        };
        let ended = match opened {
            Ok(Ok(mut events)) => {
                is_first = false;
                loop {
                    let event = tokio::select! {
                        event = events.message() => event,
                        () = stop.cancelled() => return Ok(Completion::Done),
                    };
                    match event {
                        Ok(Some(event)) => {
                            backoff = BACKOFF_MIN;
                            feed.show(&event, screen)?;
                            screen.out.flush()?;
                            if let Some(next) = token_of(&feed, &event) {
                                token.clear();
                                token.push_str(next);
                            }
                        }
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                }
            }
            Ok(Err(status)) => Some(status),
            Err(_) if is_first => return Err(connection.no_response()),
            Err(_) => {
                why = connection.no_response().summary();
                None
            }
        };
        if let Some(status) = &ended
            && (is_first || !is_retryable(status))
        {
            return Err(connection.failure_from(status.clone()));
        }
        if let Some(status) = &ended {
            why = connection.failure_from(status.clone()).summary();
        }
        let requested = ended.as_ref().and_then(|status| status.get_details_retry_info()?.retry_delay);
        let delay = backoff.max(requested.unwrap_or_default().min(BACKOFF_MAX));
        let why = escape_control(&why);
        screen.note(&format!("watch interrupted ({why}), reconnecting in {}", HumanDuration(delay)));
        tokio::select! {
            () = clock.sleep_until(clock.now() + delay) => {}
            () = stop.cancelled() => return Ok(Completion::Done),
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// The resume token of an event, if it has one.
fn token_of<'a, F: Feed>(_: &F, event: &'a F::Event) -> Option<&'a str> {
    F::token(event).filter(|token| !token.is_empty())
}

/// Whether a later attempt may succeed: breakerd is going, is full, or the connection broke.
fn is_retryable(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => true,
        // The transport's error of a broken connection has no details.
        Code::Unknown | Code::Internal => status.details().is_empty(),
        _ => false,
    }
}
