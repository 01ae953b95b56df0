//! `allow`: requests permission for a call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use breakerd_api::v1;
use breakerd_api::v1::AllowRequestRequest;
use clap::Args;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::screen::Screen;
use super::times;
use super::words::{self, Target};

pub(super) const EXAMPLES: &str = "Examples:
  breakerd allow database --caller nightly-job
      the decision, and the permit for `breakerd record`
  breakerd allow database && ./import.sh
      in a script: exits with 0 if allowed, 3 if rejected

The permit of a half-open breaker is a probe: always report its outcome.";

#[derive(Debug, Args)]
pub struct AllowArgs {
    /// Breaker: SERVICE for the default breaker of the service, or SERVICE/NAME. Created if not found.
    #[arg(value_name = "BREAKER")]
    breaker: Target,
    /// Caller label, such as a host name.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    caller: String,
}

pub(super) async fn run(
    args: &AllowArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let Target { service, name } = args.breaker.clone();
    let mut breakers = connection.breakers();
    let request = AllowRequestRequest { service, name, caller: args.caller.clone() };
    let response = connection.call(request, async |request| breakers.allow_request(request).await).await?;
    let ended = if response.allowed { Completion::Done } else { Completion::Negative };
    if screen.object("AllowRequestResponse", &response)? {
        return Ok(ended);
    }
    let said = if response.allowed { "allowed" } else { "rejected" };
    writeln!(screen.out, "{said}: {}", words::named::<v1::AllowReason>(response.reason))?;
    if let Some(retry_after) = &response.retry_after {
        writeln!(screen.out, "retry in {}", times::wire_span(retry_after))?;
    }
    if !response.permit.is_empty() {
        writeln!(screen.out, "permit: {}", STANDARD.encode(&response.permit))?;
    }
    Ok(ended)
}
