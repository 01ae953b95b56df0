//! The task of a target: posts one notification after the other, and tries again what failed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use breaker::Time;
use breakerd_common::clock::{Clock, WallTime};
use bytes::Bytes;
use reqwest::StatusCode;
use tokio_util::sync::CancellationToken;

use super::backoff::pause;
use super::notice::Notice;
use super::queue::Queued;
use super::settings::Format;
use super::slack;
use super::target::Target;
use crate::log_throttle::LogThrottle;
use crate::retry_after::RetryAfter;

/// A target that is away for a moment is not in the log.
const LASTS: Duration = Duration::from_secs(10);

/// How long the rest of an answer is waited for, so that its connection can be used again: it comes with the head, or it may
/// never end. The status has decided by then.
const REST_LASTS: Duration = Duration::from_millis(100);

/// The API's own message of a transition, as JSON.
pub type JsonOf = Arc<dyn Fn(&Notice) -> Vec<u8> + Send + Sync>;
/// A random number between 0 and 1.
pub type RandomShare = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Posts what waits for one target.
pub struct Sender {
    target: Arc<Target>,
    json: JsonOf,
    random: RandomShare,
    clock: Arc<dyn Clock>,
    /// Attempts in a row that failed.
    failures: u32,
    /// Since when.
    failing_since: Time,
    is_failure_logged: bool,
    /// Before this nothing is posted.
    next_at: Time,
    rejections: LogThrottle,
    expiries: LogThrottle,
}

/// What became of an attempt.
enum Attempt {
    Sent,
    /// It is of no use to try it again.
    Rejected(StatusCode),
    Failed {
        why: String,
        retry_after: Option<RetryAfter>,
    },
}

impl Attempt {
    fn of(status: StatusCode, retry_after: Option<RetryAfter>) -> Self {
        let is_temporary = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        match status {
            _ if status.is_success() => Self::Sent,
            _ if is_temporary => {
                Self::Failed { why: format!("it answered {}", status.as_u16()), retry_after }
            }
            _ => Self::Rejected(status),
        }
    }
}

impl Sender {
    /// For one target.
    pub fn new(target: Arc<Target>, json: JsonOf, random: RandomShare, clock: Arc<dyn Clock>) -> Self {
        Self {
            target,
            json,
            random,
            clock,
            failures: 0,
            failing_since: Time::ZERO,
            is_failure_logged: false,
            next_at: Time::ZERO,
            rejections: LogThrottle::default(),
            expiries: LogThrottle::default(),
        }
    }

    /// Posts until `stop`.
    ///
    /// # Errors
    /// None.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        // One that an earlier run had taken is lost.
        self.target.queue.done();
        let target = Arc::clone(&self.target);
        let posting = async {
            loop {
                let queued = target.queue.next().await;
                self.deliver(&queued).await;
                target.queue.done();
            }
        };
        stop.run_until_cancelled(posting).await.unwrap_or(Ok(()))
    }

    async fn deliver(&mut self, queued: &Queued) {
        let expires_at = queued.queued_at + self.target.settings().give_up_after;
        let (id, body) = (queued.notice.id.to_string(), self.body(&queued.notice));
        loop {
            self.clock.sleep_until(self.next_at.min(expires_at)).await;
            if self.clock.now() >= expires_at {
                return self.given_up(&id);
            }
            match self.attempt(&id, &body).await {
                Attempt::Sent => return self.sent(),
                Attempt::Rejected(status) => return self.rejected(&id, status),
                Attempt::Failed { why, retry_after } => self.failed(&why, retry_after),
            }
        }
    }

    fn body(&self, notice: &Notice) -> Bytes {
        match self.target.settings().format {
            Format::Json => (self.json)(notice).into(),
            Format::Slack => slack::body(notice).into(),
        }
    }

    async fn attempt(&self, id: &str, body: &Bytes) -> Attempt {
        let (endpoint, timeout) = (self.target.endpoint(), self.target.settings().timeout);
        let times_out_at = self.clock.now() + timeout;
        let timestamp = self.clock.wall().as_micros() / 1_000_000;
        let posted = tokio::select! {
            posted = endpoint.post(id, timestamp, body.clone()) => posted,
            () = self.clock.sleep_until(times_out_at) => {
                Err(format!("it did not answer within {}", humantime::format_duration(timeout)))
            }
        };
        let posted = match posted {
            Ok(posted) => posted,
            Err(why) => return Attempt::Failed { why, retry_after: None },
        };
        let attempt = Attempt::of(posted.status, posted.retry_after);
        let rest_ends_at = self.clock.now() + REST_LASTS;
        tokio::select! {
            () = posted.finish() => {}
            () = self.clock.sleep_until(rest_ends_at) => {}
        }
        attempt
    }

    fn name(&self) -> &str {
        &self.target.settings().name
    }

    fn sent(&mut self) {
        self.target.metrics.sent_total.inc();
        self.answers();
    }

    /// The target is there.
    fn answers(&mut self) {
        self.failures = 0;
        if std::mem::take(&mut self.is_failure_logged) {
            let seconds = self.clock.now().since(self.failing_since).as_secs();
            tracing::info!(notify_target = self.name(), seconds, "notification target answers again");
        }
    }

    fn failed(&mut self, why: &str, retry_after: Option<RetryAfter>) {
        let now = self.clock.now();
        if self.failures == 0 {
            self.failing_since = now;
        }
        self.failures = self.failures.saturating_add(1);
        let wall = WallTime(self.clock.wall());
        let retry_after = retry_after.map(|asked| asked.after(wall));
        let paused = pause(self.failures, (self.random)(), retry_after);
        self.next_at = now + paused;
        let seconds = now.since(self.failing_since);
        let notify_target = self.name();
        if seconds >= LASTS && !self.is_failure_logged {
            let seconds = seconds.as_secs();
            tracing::warn!(
                notify_target,
                why,
                seconds,
                "notification target does not take notifications, retrying"
            );
            self.is_failure_logged = true;
        } else {
            tracing::debug!(notify_target, why, "notification target does not take notifications, retrying");
        }
        // Last: whoever sees it counted may let the time pass.
        self.target.metrics.failed_attempts_total.inc();
    }

    fn rejected(&mut self, id: &str, status: StatusCode) {
        self.target.metrics.failed_attempts_total.inc();
        self.target.metrics.failed_total.inc();
        self.answers();
        if self.rejections.is_due(self.clock.now()) {
            let (notify_target, status) = (self.name(), status.as_u16());
            tracing::warn!(notify_target, status, id, "notification rejected by its target, not retried");
        }
    }

    fn given_up(&mut self, id: &str) {
        self.target.metrics.failed_total.inc();
        if self.expiries.is_due(self.clock.now()) {
            let give_up_after = humantime::format_duration(self.target.settings().give_up_after);
            tracing::warn!(notify_target = self.name(), %give_up_after, id, "notification given up: it is too old");
        }
    }
}
