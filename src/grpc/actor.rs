//! Who asks.

use tonic::Request;

/// Who asks, as it stands in the history and in the audit.
pub(super) fn actor<T>(_request: &Request<T>) -> String {
    "anonymous".to_owned()
}
