//! What is set about Envoy.

use crate::config::{NameTemplate, RequestHeader, Settings};

/// What is set about Envoy.
#[derive(Debug, Clone)]
pub struct EnvoySettings {
    pub(super) service: NameTemplate,
    pub(super) name: NameTemplate,
    pub(super) denied_status: u32,
    pub(super) denied_body: bool,
    pub(super) permit_header: Option<RequestHeader>,
}

impl EnvoySettings {
    /// None: Envoy is not served.
    pub fn of(settings: &Settings) -> Option<Self> {
        settings.envoy_enabled.then(|| Self {
            service: settings.envoy_service.clone(),
            name: settings.envoy_name.clone(),
            denied_status: settings.envoy_denied_status,
            denied_body: settings.envoy_denied_body,
            permit_header: settings.envoy_permit_header.clone(),
        })
    }
}
