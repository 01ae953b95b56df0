//! Envoy's services: a proxy asks before a request goes to the service behind it (`check`), and tells in its access log how that
//! went (`access_log`). The permit stays with the request in between, as dynamic metadata.
//!
//! Both are made of the same steps as `BreakerService`; nothing else knows the messages of Envoy. docs/envoy.md has what Envoy has
//! to be told.

mod access_log;
mod check;
mod entry;
mod outcome;
mod settings;
pub(super) mod wire;

use std::sync::Arc;

use breakerd_api::envoy_api::envoy::service::auth::v3::authorization_server::AuthorizationServer;

pub(super) use self::access_log::AccessLogs;
pub(super) use self::check::Checks;
pub use self::settings::EnvoySettings;
use self::wire::MESSAGE_BYTES_MAX;
use super::Limits;
use super::health::HealthRegistry;
use super::stream_limiter::StreamLimiter;
use crate::app::App;

/// Envoy's services.
#[derive(Clone)]
pub(super) struct EnvoyServices {
    pub(super) checks: AuthorizationServer<Checks>,
    pub(super) access_logs: Arc<AccessLogs>,
}

impl EnvoyServices {
    pub(super) fn new(
        app: &Arc<App>,
        settings: EnvoySettings,
        streams: StreamLimiter,
        registry: Arc<HealthRegistry>,
        limits: &Limits,
    ) -> Self {
        let checks = Checks::new(Arc::clone(app), settings);
        // As often as a watch checks them.
        let access_logs = AccessLogs::new(Arc::clone(app), streams, registry, limits.heartbeat_every);
        Self {
            checks: AuthorizationServer::new(checks).max_decoding_message_size(MESSAGE_BYTES_MAX),
            access_logs: Arc::new(access_logs),
        }
    }
}
