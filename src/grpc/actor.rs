//! Who asks, for the audit.

use tonic::Request;

/// The name of whoever sent this request.
pub(super) fn actor<T>(_request: &Request<T>) -> String {
    "anonymous".to_owned()
}
