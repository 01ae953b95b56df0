//! `healthcheck`: checks whether the server is serving, for health checks in a container without a shell.

use clap::Args;
use serde_json::json;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::screen::Screen;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd healthcheck
      check the breakerd on this machine
  breakerd healthcheck --service breakerd.v1.ConfigService --timeout 1s
      check whether thresholds can be changed";

#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// gRPC service to check. '' checks all of breakerd.
    #[arg(long, value_name = "SERVICE", default_value = "breakerd.v1.BreakerService")]
    service: String,
}

pub(super) async fn run(
    args: &HealthcheckArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut health = connection.health();
    let request = HealthCheckRequest { service: args.service.clone() };
    let response = connection.call(request, async |request| health.check(request).await).await?;
    let status = response.status();
    if screen.is_json() {
        // Not of our package: two lines do what its description would be needed for.
        writeln!(screen.out, "{}", json!({ "status": status.as_str_name() }))?;
    } else {
        writeln!(screen.out, "{}", status.as_str_name())?;
    }
    Ok(if status == ServingStatus::Serving { Completion::Done } else { Completion::Negative })
}
