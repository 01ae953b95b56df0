//! `healthcheck`: does it serve? For probes that run a command in a container without a shell.

use clap::Args;
use serde_json::json;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use super::connect::Connection;
use super::error::{Ended, Failure};
use super::screen::Screen;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd healthcheck
      does the breakerd on this machine decide calls?
  breakerd healthcheck --service breakerd.v1.ConfigService --timeout 1s
      can thresholds be changed there?";

#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// The gRPC service to ask about; '' asks about all of breakerd.
    #[arg(long, value_name = "SERVICE", default_value = "breakerd.v1.BreakerService")]
    service: String,
}

pub(super) async fn run(
    args: &HealthcheckArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Ended, Failure> {
    let mut health = connection.health();
    let question = HealthCheckRequest { service: args.service.clone() };
    let answer = connection.ask(question, async |ask| health.check(ask).await).await?;
    let status = answer.status();
    if screen.is_json() {
        // Not of our package: two lines do what its description would be needed for.
        writeln!(screen.out, "{}", json!({ "status": status.as_str_name() }))?;
    } else {
        writeln!(screen.out, "{}", status.as_str_name())?;
    }
    Ok(if status == ServingStatus::Serving { Ended::Done } else { Ended::No })
}
