//! What is agreed on with proxies: names and sizes.

use breakerd_api::envoy_api::envoy::service::accesslog::v3::access_log_service_server;
use breakerd_api::envoy_api::envoy::service::auth::v3::authorization_server;

use super::super::wire_fields::{NoField, WireFields};

/// The full names of the services.
pub(in crate::grpc) const SERVICES: [&str; 2] =
    [authorization_server::SERVICE_NAME, access_log_service_server::SERVICE_NAME];

/// Bytes of one message of a proxy. It sends the headers of a request with a check, and entries of a log as 16 KiB of them have
/// come, unless it is told otherwise.
pub(in crate::grpc) const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Entries of the log in one message.
pub(in crate::grpc) const ENTRIES_MAX: usize = 2_000;

/// What the entries of a message are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::grpc) enum Logged {
    Http,
    Tcp,
}

/// The entries of a message of an access log, undecoded.
pub(in crate::grpc) fn entries(message: &[u8]) -> impl Iterator<Item = Result<(Logged, &[u8]), NoField>> {
    const HTTP_LOGS: u32 = 2;
    const TCP_LOGS: u32 = 3;
    const ENTRY: u32 = 1;
    WireFields::of(message).flat_map(|logs| {
        let (logged, logs, end) = match logs {
            Ok((HTTP_LOGS, logs)) => (Logged::Http, logs, None),
            Ok((TCP_LOGS, logs)) => (Logged::Tcp, logs, None),
            Ok(_) => (Logged::Http, &[][..], None),
            Err(no_field) => (Logged::Http, &[][..], Some(Err(no_field))),
        };
        let entries = WireFields::of(logs).filter_map(move |field| match field {
            Ok((ENTRY, entry)) => Some(Ok((logged, entry))),
            Ok(_) => None,
            Err(no_field) => Some(Err(no_field)),
        });
        entries.chain(end)
    })
}

/// The filters under whose names a proxy keeps the dynamic metadata of a check, whatever its configuration calls them. What others keep
/// may be what a client sent.
pub(super) const PERMIT_FILTERS: [&str; 2] =
    ["envoy.filters.http.ext_authz", "envoy.filters.network.ext_authz"];

/// The fields of the dynamic metadata that the end of a request is known by.
pub(super) const PERMIT_FIELD: &str = "permit";
pub(super) const CALLER_FIELD: &str = "caller";
