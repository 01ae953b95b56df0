//! The headers for the compression of messages.

/// How those of this direction are.
pub(super) const ENCODING_HEADER: &str = "grpc-encoding";
/// What the sender can decompress.
pub(super) const ACCEPT_HEADER: &str = "grpc-accept-encoding";
/// What is accepted, as a header has it.
pub(super) const ACCEPTED: &str = "identity,gzip";
