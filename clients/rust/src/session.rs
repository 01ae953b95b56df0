//! A connection to breakerd, for whoever sends on it.

use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

/// A connection that breakerd has spoken on.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) client: BreakerServiceClient<Channel>,
    /// The life of the breakerd process.
    pub(crate) boot: u64,
    /// Its first snapshot is in force.
    pub(crate) synced: bool,
    pub(crate) token: Option<MetadataValue<Ascii>>,
}

impl Session {
    /// A request with what authenticates this client.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        authenticated(message, self.token.as_ref())
    }
}

/// A request with what authenticates this client.
pub(crate) fn authenticated<T>(message: T, token: Option<&MetadataValue<Ascii>>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token.clone());
    }
    request
}
