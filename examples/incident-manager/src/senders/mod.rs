//! Channels over which people hear of incidents.

mod email;
mod pagerduty;
mod slack;

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

pub use email::{EmailSender, EmailSenderWithBreaker};
pub use pagerduty::{PagerDutySender, PagerDutySenderWithBreaker};
pub use slack::{SlackSender, SlackSenderWithBreaker};

use crate::call_error::CallError;
use crate::incident::Incident;

/// A kind of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// A message in a Slack channel.
    Slack,
    /// An email.
    Email,
    /// A page of the person on call.
    PagerDuty,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slack => "slack",
            Self::Email => "email",
            Self::PagerDuty => "pagerduty",
        })
    }
}

/// What sends notifications over one channel.
#[async_trait]
pub trait Sender: Send + Sync {
    /// The channel.
    fn channel(&self) -> Channel;

    /// Tells people of an incident.
    ///
    /// # Errors
    /// [`CallError`].
    async fn send(&self, incident: &Incident) -> Result<(), CallError>;
}
