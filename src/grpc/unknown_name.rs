//! An unknown breaker or service, for errors.

use std::collections::HashMap;

use breaker::Key;

/// An unknown name: it was neither used nor configured yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownName {
    pub(super) service: String,
    /// The breaker within the service; none: it is about the service.
    pub(super) name: Option<String>,
    /// The known name that was probably meant.
    pub(super) nearest: Option<String>,
    /// Breakers that the service has, where none is near.
    pub(super) others: Vec<String>,
    /// What to change in the request so that it succeeds; none: nothing would.
    unless: Option<&'static str>,
}

impl UnknownName {
    /// A breaker.
    pub(crate) fn breaker(key: &Key) -> Self {
        let (service, name) = (key.service().to_string(), Some(key.name().to_string()));
        Self { service, name, nearest: None, others: Vec::new(), unless: None }
    }

    /// A service.
    pub(crate) fn service(service: String) -> Self {
        Self { service, name: None, nearest: None, others: Vec::new(), unless: None }
    }

    /// The same, where `unless` in the request would have created it.
    pub(crate) fn unless(self, unless: &'static str) -> Self {
        Self { unless: Some(unless), ..self }
    }

    /// The API's type of it, by its full name.
    pub(super) fn resource_type(&self) -> &'static str {
        if self.name.is_some() { "breakerd.v1.Breaker" } else { "breakerd.v1.ServiceConfig" }
    }

    pub(super) fn resource_name(&self) -> String {
        match &self.name {
            Some(name) => format!("{}/{name}", self.service),
            None => self.service.clone(),
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        if self.name.is_some() { "BREAKER_NOT_FOUND" } else { "SERVICE_NOT_FOUND" }
    }

    pub(super) fn message(&self) -> String {
        let what = if self.name.is_some() { "breaker" } else { "service" };
        let name = self.resource_name();
        let nearest = self.nearest.as_ref().map(|nearest| format!("; did you mean {nearest}?"));
        let nearest = nearest.or_else(|| {
            (!self.others.is_empty()).then(|| format!("; the service has {}", self.others.join(", ")))
        });
        let unless = self.unless.map(|unless| format!(" (to create it, use {unless})"));
        let (nearest, unless) = (nearest.unwrap_or_default(), unless.unwrap_or_default());
        format!("{what} {name} not found: {what}s are created on first use{nearest}{unless}")
    }

    pub(super) fn metadata(&self) -> HashMap<String, String> {
        let what = if self.name.is_some() { "breaker" } else { "service" };
        let nearest = self.nearest.iter().map(|nearest| ("nearest".to_owned(), nearest.clone()));
        nearest.chain([(what.to_owned(), self.resource_name())]).collect()
    }
}
