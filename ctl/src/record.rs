//! `record`: reports the outcome of a call.

use std::str::FromStr as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use breakerd_api::v1::{self, Outcome, RecordOutcomeRequest};
use clap::Args;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::override_::wire_duration;
use super::screen::Screen;
use super::times;
use super::words::{self, Target};

pub(super) const EXAMPLES: &str = "Examples:
  breakerd record --permit 'AQID...' success --duration 250ms
      the outcome of an allowed call; it counts once, even if sent repeatedly
  breakerd record database failure --error-class Timeout
      the outcome of a call without a permit";

#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Breaker (optional with --permit) and outcome: success, failure or ignored.
    #[arg(value_name = "[BREAKER] OUTCOME", num_args = 1..=2, required = true)]
    words: Vec<String>,
    /// Permit printed by `allow`.
    #[arg(long, value_name = "PERMIT")]
    permit: Option<String>,
    /// Duration of the call, such as 250ms.
    #[arg(long, value_name = "TIME", value_parser = times::duration)]
    duration: Option<Duration>,
    /// Error class of the failure.
    #[arg(long, value_name = "CLASS", default_value = "", hide_default_value = true)]
    error_class: String,
    /// Retry delay that the dependency requested.
    #[arg(long, value_name = "TIME", value_parser = times::duration)]
    retry_after: Option<Duration>,
    /// Caller label, such as a host name.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    caller: String,
}

impl RecordArgs {
    /// The report.
    pub(super) fn report(&self) -> Result<RecordOutcomeRequest, Failure> {
        let (breaker, outcome) = match &self.words[..] {
            [outcome] if self.permit.is_some() => (None, outcome),
            [breaker, outcome] => (Some(breaker), outcome),
            _ => {
                return Err(Failure::Usage(
                    "missing BREAKER or --permit: use breakerd record SERVICE OUTCOME".into(),
                ));
            }
        };
        let outcome = match &*outcome.to_ascii_lowercase() {
            "success" => Outcome::Success,
            "failure" => Outcome::Failure,
            "ignored" => Outcome::Ignored,
            _ => {
                return Err(Failure::Usage(format!(
                    "OUTCOME: invalid value `{outcome}`: must be success, failure or ignored"
                )));
            }
        };
        let target = breaker.map(|text| Target::from_str(text)).transpose().map_err(Failure::Usage)?;
        let Target { service, name } =
            target.unwrap_or_else(|| Target { service: String::new(), name: String::new() });
        let permit = match &self.permit {
            Some(text) => {
                STANDARD.decode(text.trim()).ok().filter(|permit| !permit.is_empty()).ok_or_else(|| {
                    Failure::Usage(
                        "--permit: invalid value: must be the permit that `breakerd allow` printed"
                            .to_owned(),
                    )
                })?
            }
            None => Vec::new(),
        };
        Ok(RecordOutcomeRequest {
            permit: permit.into(),
            service,
            name,
            outcome: outcome.into(),
            duration: self.duration.map(wire_duration).transpose()?,
            error_class: self.error_class.clone(),
            retry_after: self.retry_after.map(wire_duration).transpose()?,
            caller: self.caller.clone(),
            ..RecordOutcomeRequest::default()
        })
    }
}

pub(super) async fn run(
    args: &RecordArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut breakers = connection.breakers();
    let report = args.report()?;
    let response = connection.call(report, async |request| breakers.record_outcome(request).await).await?;
    if !screen.object("RecordOutcomeResponse", &response)? {
        let state = screen.painted(words::state(response.state), super::screen::style_of(response.state));
        writeln!(
            screen.out,
            "{}; the breaker is {state}",
            words::named::<v1::RecordResult>(response.result)
        )?;
    }
    Ok(Completion::Done)
}
