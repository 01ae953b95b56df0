//! The API of breakerd, for both of its ends: the server, and every client that is written in Rust.
//!
//! - [`v1`]: the messages, services and clients that are generated from proto/.
//! - `FILE_DESCRIPTOR_SET`: their description, for reflection and for JSON (feature `descriptor`).
//! - `envoy_api`: the parts of Envoy's API that breakerd speaks (feature `envoy`, for the server).
//! - [`enums`]: the enums of the API as the types of the domain, and back; their names without the prefix.
//! - [`thresholds`]: the message `Thresholds` as fields and layers of the domain, and back.
//! - [`time`]: durations and timestamps as the types of the domain, and back.
//!
//! What a request may hold is checked by the server (`src/grpc/convert/`): its errors name fields, and are the server's.

pub mod enums;
mod generated;
pub mod thresholds;
pub mod time;

#[cfg(all(feature = "envoy", feature = "descriptor"))]
pub use generated::ENVOY_FILE_DESCRIPTOR_SET;
#[cfg(feature = "descriptor")]
pub use generated::FILE_DESCRIPTOR_SET;
#[cfg(feature = "envoy")]
pub use generated::envoy_api;
pub use generated::v1;
