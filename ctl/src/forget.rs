//! `forget`: deletes a breaker.

use breakerd_api::v1::DeleteBreakerRequest;

use super::connect::Connection;
use super::error::{Ended, Failure};
use super::override_::{OneArgs, note_not_persisted};
use super::screen::Screen;
use super::words::{self, Target};

pub(super) const EXAMPLES: &str = "Examples:
  breakerd forget database/tmp-17 --reason 'the host is gone'
      delete the breaker and keep its history
  breakerd forget data-base --reason 'a typo'
      a breaker that is still in use is created again on its next call";

pub(super) async fn run(
    args: &OneArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Ended, Failure> {
    let mut operations = connection.operations();
    let Target { service, name } = args.breaker.clone();
    let shown = words::breaker_name(&service, if name.is_empty() { &service } else { &name });
    let question = DeleteBreakerRequest { service, name, reason: args.reason.clone().unwrap_or_default() };
    let answer = connection.ask(question, async |ask| operations.delete_breaker(ask).await).await?;
    if screen.object("DeleteBreakerResponse", &answer)? {
        return Ok(Ended::Done);
    }
    if answer.changed {
        writeln!(screen.out, "{shown} deleted: CLOSED, epoch {}", answer.epoch)?;
        note_not_persisted(answer.persisted, screen);
    } else {
        writeln!(screen.out, "{shown} not found: nothing to delete")?;
    }
    Ok(Ended::Done)
}
