//! Email, by SMTP.

use std::time::Duration;

use async_trait::async_trait;
use breakerd_client::Breaker;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{Channel, Sender};
use crate::breakers::{Guard, guard};
use crate::call_error::{CallError, shortened, within};
use crate::config::EmailConfig;
use crate::incident::Incident;

/// Email.
#[derive(Debug, Clone)]
pub struct EmailSender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    timeout: Duration,
}

impl EmailSender {
    /// The sender. Connects with each call.
    ///
    /// # Errors
    /// The URL is invalid.
    pub fn new(config: &EmailConfig) -> Result<Self, smtp::Error> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(config.smtp_url.expose())?
            .timeout(Some(config.timeout))
            .build();
        Ok(Self { transport, from: config.from.clone(), to: config.to.clone(), timeout: config.timeout })
    }

    fn message(&self, incident: &Incident) -> Result<Message, lettre::error::Error> {
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(format!("[{}] {}", incident.severity, incident.title))
            // A repeated message has the same id, so that mail programs show it once.
            .message_id(Some(format!("<{}@incident-manager>", incident.id)))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        message.body(text(incident))
    }
}

#[async_trait]
impl Sender for EmailSender {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    async fn send(&self, incident: &Incident) -> Result<(), CallError> {
        let message = self.message(incident).map_err(|error| CallError::InvalidRequest {
            code: "message".to_owned(),
            text: error.to_string(),
        })?;
        within(self.timeout, async {
            self.transport.send(message).await.map_err(failed)?;
            Ok(())
        })
        .await
    }
}

fn text(incident: &Incident) -> String {
    let Incident { description, source, id, .. } = incident;
    let analysis = match &incident.analysis {
        Some(analysis) => format!("\nSentinel says: {} (score {})\n", analysis.summary, analysis.score),
        None => String::new(),
    };
    format!("{description}\n\nSource: {source}\nIncident: {id}\n{analysis}")
}

/// An SMTP reply 5xx is final and about this message. 4xx is the server's trouble and may pass.
fn failed(error: smtp::Error) -> CallError {
    let text = shortened(&error.to_string());
    match error.status() {
        Some(code) if error.is_permanent() => CallError::InvalidRequest { code: code.to_string(), text },
        Some(code) => CallError::ServiceFailed { code: code.to_string(), text, retry_after: None },
        None if error.is_response() => CallError::InvalidAnswer(text),
        None => CallError::Connection(error.into()),
    }
}

/// Email behind the breaker `notifications` / `email`.
#[derive(Debug, Clone)]
pub struct EmailSenderWithBreaker<S = EmailSender> {
    inner: S,
    guard: Guard,
}

impl<S: Sender> EmailSenderWithBreaker<S> {
    /// Protects `inner` with `breaker`.
    pub fn new(inner: S, breaker: &Breaker) -> Self {
        Self { inner, guard: guard(breaker) }
    }
}

#[async_trait]
impl<S: Sender> Sender for EmailSenderWithBreaker<S> {
    fn channel(&self) -> Channel {
        self.inner.channel()
    }

    async fn send(&self, incident: &Incident) -> Result<(), CallError> {
        Ok(self.guard.call(self.inner.send(incident)).await?)
    }
}
