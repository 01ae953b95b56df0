//! What a store's newest answers say of it: whether it answers at all, and whether it takes what is written.
//!
//! The two are apart because a store that can only be read (a full disk, a switched-over primary, a file on a read-only
//! mount, a lock that somebody holds) answers every question well. So a read never says that writing works: only a
//! write does, of the same kind as the one that failed. Where nothing is to be written, [`super::StoreAdmin::check_writable`]
//! is that write.

use std::sync::Arc;

use breaker::Time;
use tokio::sync::watch;

use super::StoreError;

/// Keeps the status of a store: `MeteredStore` notes every answer, health reads it. A store that was not asked
/// yet does not answer, and refuses nothing.
#[derive(Debug)]
pub struct StoreMonitor {
    status: watch::Sender<StoreStatus>,
}

/// The status of a store at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether it answered the last ping.
    pub answers: bool,
    /// Since when it has not answered, on the monotonic clock. None: it answers, or was not asked yet.
    pub away_since: Option<Time>,
    /// The newest batch of transitions was not taken. The journal sends it again until it is.
    pub refuses_transition_writes: bool,
    /// The newest write of another kind was not taken.
    pub refuses_config_writes: bool,
    /// A newer release has changed its tables so that this one must not write to them: which.
    pub needs_newer_release: Option<Arc<str>>,
    /// When it last took a write.
    pub written_at: Option<Time>,
    /// Another process has it: why that is known. Final.
    pub overtaken: Option<Arc<str>>,
}

impl StoreStatus {
    /// Whether writes are taken, as far as is known.
    pub fn takes_writes(&self) -> bool {
        !self.refuses_transition_writes && !self.refuses_config_writes
    }

    fn set_failed(&mut self, kind: OperationKind, failed: bool, at: Time) {
        match kind {
            OperationKind::Ping => {
                self.answers = !failed;
                self.away_since = failed.then(|| self.away_since.unwrap_or(at));
            }
            OperationKind::TransitionWrite => self.refuses_transition_writes = failed,
            OperationKind::ConfigWrite => self.refuses_config_writes = failed,
            OperationKind::Other => {}
        }
    }
}

/// What an operation of the store says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// A ping. Says nothing of writing.
    Ping,
    /// A write of a batch of transitions.
    TransitionWrite,
    /// Another write: a change of configuration, a request's id, the check that changes nothing.
    ConfigWrite,
    /// Anything else: reads, whose failures are their callers' to handle; pruning, which may run out of its time.
    Other,
}

impl Default for StoreMonitor {
    fn default() -> Self {
        Self { status: watch::Sender::new(StoreStatus::default()) }
    }
}

impl StoreMonitor {
    /// The present status.
    pub fn get(&self) -> StoreStatus {
        self.status.borrow().clone()
    }

    /// The present status, and every change of it.
    pub fn watch(&self) -> watch::Receiver<StoreStatus> {
        self.status.subscribe()
    }

    /// Ends when another process has the store, with why that is known.
    pub async fn overtaken(&self) -> Arc<str> {
        let mut now = self.status.subscribe();
        match now.wait_for(|now| now.overtaken.is_some()).await.map(|now| now.overtaken.clone()) {
            Ok(Some(reason)) => reason,
            // The sender is this one.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// An operation of this kind has not been answered within the time that it should take. Its answer may come yet.
    pub fn note_silence(&self, kind: OperationKind, at: Time) {
        self.change(|now| now.set_failed(kind, true, at));
    }

    /// The store answered what it was asked, at `at`, or failed.
    pub fn note<T>(&self, kind: OperationKind, answer: &Result<T, StoreError>, at: Time) {
        // A wrong row is an answer: the store works, and one row does not.
        let newer = match answer {
            Err(StoreError::NewerSchema(why)) => Some(why),
            _ => None,
        };
        let failed = match answer {
            Ok(_) | Err(StoreError::Corrupt { .. }) => false,
            // It answers, and takes nothing.
            Err(StoreError::NewerSchema(_)) => kind != OperationKind::Ping,
            Err(_) => true,
        };
        let reason = match answer {
            Err(StoreError::LockedByAnother(reason)) => Some(reason),
            _ => None,
        };
        self.change(|now| {
            now.set_failed(kind, failed, at);
            if (kind == OperationKind::Ping || newer.is_some())
                && now.needs_newer_release.as_deref() != newer.map(String::as_str)
            {
                now.needs_newer_release = newer.map(|why| why.as_str().into());
            }
            if matches!(kind, OperationKind::TransitionWrite | OperationKind::ConfigWrite) && answer.is_ok() {
                now.written_at = Some(at);
                (now.answers, now.away_since) = (true, None);
            }
            if let (None, Some(reason)) = (&now.overtaken, reason) {
                now.overtaken = Some(reason.as_str().into());
            }
        });
    }

    /// Wakes those who watch only for what they care for: when it was last written changes all the time.
    fn change(&self, change: impl FnOnce(&mut StoreStatus)) {
        self.status.send_if_modified(|now| {
            let before = StoreStatus { written_at: None, ..now.clone() };
            change(now);
            before != StoreStatus { written_at: None, ..now.clone() }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Result<(), StoreError> {
        Err(StoreError::unavailable("write", "the database is away"))
    }

    #[test]
    fn a_read_that_works_does_not_say_that_writing_does() {
        let (monitor, at) = (StoreMonitor::default(), Time::from_micros(1));
        assert!(!monitor.get().answers, "nothing is known yet");
        monitor.note(OperationKind::Ping, &Ok(()), at);
        assert!(monitor.get().answers && monitor.get().takes_writes());
        for kind in [OperationKind::TransitionWrite, OperationKind::ConfigWrite] {
            monitor.note(kind, &failed(), at);
            monitor.note(OperationKind::Ping, &Ok(()), at);
            monitor.note(OperationKind::Other, &Ok(()), at);
            assert!(monitor.get().answers && !monitor.get().takes_writes(), "{kind:?}");
            assert_eq!(monitor.get().written_at, None);
            monitor.note(kind, &Ok(()), at);
            assert!(monitor.get().takes_writes(), "{kind:?}");
            assert_eq!(monitor.get().written_at.take(), Some(at));
            monitor.change(|now| now.written_at = None);
        }
    }

    #[test]
    fn a_write_of_one_kind_does_not_answer_for_the_other() {
        let (monitor, at) = (StoreMonitor::default(), Time::from_micros(1));
        monitor.note(OperationKind::TransitionWrite, &failed(), at);
        monitor.note(OperationKind::ConfigWrite, &Ok(()), at);
        assert!(monitor.get().refuses_transition_writes && !monitor.get().refuses_config_writes);
    }

    #[test]
    fn a_wrong_row_is_an_answer_and_a_failed_read_is_its_readers() {
        let (monitor, at) = (StoreMonitor::default(), Time::from_micros(1));
        monitor.note(OperationKind::Ping, &Ok(()), at);
        let corrupt: Result<(), _> = Err(StoreError::Corrupt { act: "write", problem: "odd".to_owned() });
        monitor.note(OperationKind::TransitionWrite, &corrupt, at);
        monitor.note(OperationKind::Other, &failed(), at);
        assert!(monitor.get().answers && monitor.get().takes_writes());
    }

    #[test]
    fn silence_counts_as_a_failure_of_what_was_asked_until_the_answer_comes() {
        let (monitor, at) = (StoreMonitor::default(), Time::from_micros(1));
        monitor.note(OperationKind::Ping, &Ok(()), at);
        monitor.note_silence(OperationKind::ConfigWrite, at);
        assert!(monitor.get().answers && !monitor.get().takes_writes());
        monitor.note(OperationKind::ConfigWrite, &Ok(()), at);
        monitor.note_silence(OperationKind::Ping, at);
        assert!(!monitor.get().answers && monitor.get().takes_writes());
        monitor.note(OperationKind::Ping, &failed(), Time::from_micros(9));
        assert_eq!(monitor.get().away_since, Some(at), "the first of several failures");
        monitor.note(OperationKind::Ping, &Ok(()), at);
        assert_eq!(monitor.get().away_since, None);
    }

    #[tokio::test]
    async fn who_was_overtaken_once_stays_so() {
        let (monitor, at) = (StoreMonitor::default(), Time::from_micros(1));
        let taken: Result<(), _> = Err(StoreError::LockedByAnother("another has it".to_owned()));
        monitor.note(OperationKind::Other, &taken, at);
        monitor.note(OperationKind::Ping, &Ok(()), at);
        assert_eq!(&*monitor.overtaken().await, "another has it");
    }
}
