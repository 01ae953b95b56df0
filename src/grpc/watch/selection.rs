//! Which services a stream is about.

use std::collections::HashSet;

use crate::auth::Rights;
use crate::grpc::client_info::ClientInfo;
use crate::grpc::status::Failure;
use crate::grpc::violations::{Kind, Violations};

/// Services that one stream may name.
const SERVICES_MAX: usize = 1_000;

/// What the client selected, as far as it may see it.
#[derive(Debug)]
pub(super) struct Selection {
    services: HashSet<String>,
    /// None: nothing beside `services`, unless that is empty too.
    prefix: Option<String>,
    client: ClientInfo,
    /// One of these is enough.
    rights: Rights,
}

impl Selection {
    /// Checks it, and adds its violations.
    pub(super) fn new(
        services: Vec<String>,
        prefix: String,
        client: ClientInfo,
        rights: Rights,
        violations: &mut Violations,
    ) -> Self {
        if services.len() > SERVICES_MAX {
            let problem = format!("too many entries: {}, the limit is {SERVICES_MAX}", services.len());
            violations.add("services", Kind::TooMany, problem);
        } else {
            for (index, service) in services.iter().enumerate() {
                if let Err(error) = breaker::check_service(service) {
                    violations.add_key(format!("services[{index}]"), &error);
                }
            }
        }
        if !prefix.is_empty()
            && let Err(error) = breaker::check_service(&prefix)
        {
            violations.add_key("service_prefix", &error);
        }
        let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
        Self { services: services.into_iter().collect(), prefix, client, rights }
    }

    /// A client that names a service must be allowed to see it. A prefix, or nothing, selects what the client may see.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.services.iter().find(|service| !self.may(service)) {
            Some(service) => Err(self.client.denied(self.rights, service)),
            None => Ok(()),
        }
    }

    /// Whether it is everything that the client may see.
    pub(super) fn is_everything(&self) -> bool {
        self.services.is_empty() && self.prefix.is_none()
    }

    /// Whether the stream sends `service`.
    pub(super) fn has(&self, service: &str) -> bool {
        let is_selected = self.is_everything()
            || self.services.contains(service)
            || self.prefix.as_deref().is_some_and(|prefix| service.starts_with(prefix));
        is_selected && self.may(service)
    }

    fn may(&self, service: &str) -> bool {
        self.client.may_any(self.rights, service)
    }
}
