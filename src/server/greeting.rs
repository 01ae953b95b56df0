//! What a start says: to the log, and to a person at a terminal.

use std::io;

use super::listeners::Listeners;
use crate::config::Settings;
use crate::version::{COMMIT, VERSION};

/// Logs the version, the addresses and the store of this process.
pub(super) fn log_start(settings: &Settings, listeners: &Listeners) -> io::Result<()> {
    let tls = match (&settings.tls_certificate, &settings.tls_client_ca) {
        (None, _) => "off",
        (Some(_), None) => "on",
        (Some(_), Some(_)) => "mutual",
    };
    tracing::info!(
        version = VERSION,
        commit = COMMIT,
        replica = %settings.replica,
        grpc = %listeners.grpc.local_addr()?,
        http = %listeners.http.local_addr()?,
        store = if settings.has_database() { "Postgres" } else { "SQLite" },
        data_dir = %settings.data_dir.display(),
        tls,
        tokens = settings.auth_tokens_file.is_some(),
        "starting"
    );
    Ok(())
}

/// Where it listens, and what to try: for a person who has just started it.
pub(super) fn greeting(listeners: &Listeners, settings: &Settings) -> io::Result<String> {
    let (grpc, http) = (listeners.grpc.local_addr()?, listeners.http.local_addr()?);
    let has_tls = settings.tls_certificate.is_some();
    let scheme = if has_tls && settings.http_tls { "https" } else { "http" };
    let listens = format!("breakerd is listening: gRPC on {grpc}, HTTP on {scheme}://{http}\n\n");
    if has_tls || settings.auth_tokens_file.is_some() {
        return Ok(listens + "To authenticate, see docs/security.md\n\n");
    }
    Ok(format!(
        "{listens}Try it in another terminal:
  grpcurl -plaintext -d '{{\"service\": \"sentinel\"}}' {grpc} breakerd.v1.BreakerService/AllowRequest
  grpcurl -plaintext -d '{{\"service\": \"sentinel\", \"outcome\": \"OUTCOME_FAILURE\"}}' {grpc} breakerd.v1.BreakerService/RecordOutcome
  curl http://{http}/health/circuit-breakers

"
    ))
}
