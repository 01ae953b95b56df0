//! `forget`: deletes a breaker.

use breakerd_api::v1::DeleteBreakerRequest;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::override_::{BreakerArgs, note_not_persisted};
use super::screen::Screen;
use super::words::{self, Target};

pub(super) const EXAMPLES: &str = "Examples:
  breakerd forget database/tmp-17 --reason 'the host is gone'
      delete the breaker and keep its history
  breakerd forget data-base --reason 'a typo'
      a breaker that is still in use is created again on its next call";

pub(super) async fn run(
    args: &BreakerArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut operations = connection.operations();
    let Target { service, name } = args.breaker.clone();
    let shown = words::breaker_name(&service, if name.is_empty() { &service } else { &name });
    let request = DeleteBreakerRequest { service, name, reason: args.reason.clone().unwrap_or_default() };
    let response = connection.call(request, async |request| operations.delete_breaker(request).await).await?;
    if screen.object("DeleteBreakerResponse", &response)? {
        return Ok(Completion::Done);
    }
    if response.changed {
        writeln!(screen.out, "{shown} deleted: CLOSED, epoch {}", response.epoch)?;
        note_not_persisted(response.persisted, screen);
    } else {
        writeln!(screen.out, "{shown} not found: nothing to delete")?;
    }
    Ok(Completion::Done)
}
