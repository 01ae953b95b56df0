//! Following a watch for as long as somebody looks: what ends on the way is taken up again where it ended.
//!
//! The first attempt must succeed, so that a wrong address or a missing right is told at once. From then on a
//! watch that ends, with an error that a later attempt may not meet or without any, is begun anew behind the last
//! token, after a wait that doubles up to [`WAIT_MAX`] and starts over once something arrives.

use std::time::Duration;

use breaker::HumanDuration;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::connect::Connection;
use super::error::{Ended, Failure};
use super::screen::Screen;
use super::table::harmless;
use breakerd_common::clock::Clock;
use breakerd_common::signals;

const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A watch of the API.
pub(super) trait Feed {
    /// What it sends.
    type Event;

    /// Calls; an empty token asks for a snapshot.
    async fn open(
        &mut self,
        connection: &Connection,
        token: String,
    ) -> Result<Streaming<Self::Event>, Status>;

    /// Where to resume behind an event; none: it says nothing about it.
    fn token(event: &Self::Event) -> Option<&str>;

    /// Shows an event.
    fn show(&mut self, event: &Self::Event, screen: &mut Screen<'_>) -> std::io::Result<()>;
}

/// Shows what happens until the process is told to stop, or nobody reads any more.
pub(super) async fn follow(
    mut feed: impl Feed,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Ended, Failure> {
    let stop = signals::shutdown()?;
    let mut token = String::new();
    let mut wait = WAIT_MIN;
    let mut is_first = true;
    loop {
        // Unless it says more.
        let mut why = "the server ended it".to_owned();
        // A deadline of the request would be told to breakerd, and end the stream with it.
        let opening = tokio::time::timeout(connection.timeout(), feed.open(connection, token.clone()));
        let opened = tokio::select! {
            opened = opening => opened,
            () = stop.cancelled() => return Ok(Ended::Done),
        };
        let ended = match opened {
            Ok(Ok(mut events)) => {
                is_first = false;
                loop {
                    let event = tokio::select! {
                        event = events.message() => event,
                        () = stop.cancelled() => return Ok(Ended::Done),
                    };
                    match event {
                        Ok(Some(event)) => {
                            wait = WAIT_MIN;
                            feed.show(&event, screen)?;
                            screen.out.flush()?;
                            if let Some(behind) = token_of(&feed, &event) {
                                token.clear();
                                token.push_str(behind);
                            }
                        }
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                }
            }
            Ok(Err(status)) => Some(status),
            Err(_) if is_first => return Err(connection.silent()),
            Err(_) => {
                why = connection.silent().in_words();
                None
            }
        };
        if let Some(status) = &ended
            && (is_first || !may_pass(status))
        {
            return Err(connection.told_by(status.clone()));
        }
        if let Some(status) = &ended {
            why = connection.told_by(status.clone()).in_words();
        }
        let asked = ended.as_ref().and_then(|status| status.get_details_retry_info()?.retry_delay);
        let pause = wait.max(asked.unwrap_or_default().min(WAIT_MAX));
        let why = harmless(&why);
        screen.note(&format!("watch interrupted ({why}), reconnecting in {}", HumanDuration(pause)));
        tokio::select! {
            () = clock.sleep_until(clock.now() + pause) => {}
            () = stop.cancelled() => return Ok(Ended::Done),
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Where to resume behind an event, if it says so.
fn token_of<'a, F: Feed>(_: &F, event: &'a F::Event) -> Option<&'a str> {
    F::token(event).filter(|token| !token.is_empty())
}

/// Whether a later attempt may succeed: breakerd is going, is full, or the connection broke.
fn may_pass(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => true,
        // What the transport says of a connection that broke has no details.
        Code::Unknown | Code::Internal => status.details().is_empty(),
        _ => false,
    }
}
