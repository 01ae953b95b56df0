//! Why there is no connection to breakerd, for logs and for who asks.

use std::sync::Mutex;

use crate::{lock, log};

/// Of a reason: a peer can send any text.
const REASON_BYTES_MAX: usize = 1_024;
/// Reasons that were warned of since the last connection; others come as information.
const WARNED_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct ConnectionErrors {
    errors: Mutex<Errors>,
}

#[derive(Debug, Default)]
struct Errors {
    last: Option<String>,
    warned: Vec<String>,
}

impl ConnectionErrors {
    /// A connection failed before its first snapshot. Each reason is warned of once until one succeeds: attempts go on for ever.
    pub(crate) fn failed(&self, reason: String) {
        let reason = cut(reason);
        let mut errors = lock(&self.errors);
        if errors.warned.len() < WARNED_MAX && !errors.warned.contains(&reason) {
            log::warning!(reason = %reason, "cannot connect to breakerd");
            errors.warned.push(reason.clone());
        } else {
            log::info!(reason = %reason, "cannot connect to breakerd");
        }
        errors.last = Some(reason);
    }

    /// A connection ended.
    pub(crate) fn disconnected(&self, reason: String) {
        let reason = cut(reason);
        log::info!(reason = %reason, "disconnected from breakerd");
        lock(&self.errors).last = Some(reason);
    }

    /// There is a connection.
    pub(crate) fn connected(&self) {
        *lock(&self.errors) = Errors::default();
    }

    /// Why the last attempt failed, or the last connection ended. None: there is one, or none was tried.
    pub(crate) fn last(&self) -> Option<String> {
        lock(&self.errors).last.clone()
    }
}

fn cut(mut reason: String) -> String {
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    reason.truncate(end.unwrap_or(0));
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_send_is_kept_within_bounds() {
        let errors = ConnectionErrors::default();
        assert_eq!(errors.last(), None);
        for number in 0..1_000 {
            errors.failed(format!("{number} {}", "é".repeat(10_000)));
        }
        assert!(errors.last().unwrap().len() <= REASON_BYTES_MAX);
        assert_eq!(lock(&errors.errors).warned.len(), WARNED_MAX);
        errors.connected();
        assert_eq!((errors.last(), lock(&errors.errors).warned.len()), (None, 0));
    }
}
