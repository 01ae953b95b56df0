//! What is agreed on with proxies: names and sizes.

use breakerd_api::envoy_api::envoy::service::accesslog::v3::access_log_service_server;
use breakerd_api::envoy_api::envoy::service::auth::v3::authorization_server;

/// The full names of the services.
pub(in crate::grpc) const SERVICES: [&str; 2] =
    [authorization_server::SERVICE_NAME, access_log_service_server::SERVICE_NAME];

/// Bytes of one message of a proxy. It sends the headers of a request with a check, and entries of a log as 16 KiB of them have
/// come, unless it is told otherwise.
pub(in crate::grpc) const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Entries of the log in one message.
pub(in crate::grpc) const ENTRIES_MAX: usize = 2_000;

/// The fields of the dynamic metadata that the end of a request is known by.
pub(super) const PERMIT_FIELD: &str = "permit";
pub(super) const CALLER_FIELD: &str = "caller";
