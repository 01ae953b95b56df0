//! What is made of proto/: the messages, the services and clients, and their description.

/// The package `breakerd.v1`.
#[allow(
    clippy::pedantic,
    clippy::large_enum_variant,
    missing_docs,
    unreachable_pub,
    reason = "generated code; its comments are those of the .proto files"
)]
pub mod v1 {
    include!("generated/breakerd.v1.rs");
}

/// The encoded description of every file in proto/ and of what they import, for reflection.
#[cfg(feature = "descriptor")]
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("breakerd_descriptor");

/// The parts of Envoy's API that breakerd speaks: `envoy.service.auth.v3` and `envoy.service.accesslog.v3`, and what they need.
#[cfg(feature = "envoy")]
#[allow(
    clippy::pedantic,
    clippy::enum_variant_names,
    clippy::struct_excessive_bools,
    missing_docs,
    unreachable_pub,
    reason = "generated code; its comments are those of the .proto files"
)]
pub mod envoy_api {
    include!("generated/envoy/mod.rs");
}

/// The encoded description of [`envoy_api`], and of what it imports, for reflection.
#[cfg(all(feature = "envoy", feature = "descriptor"))]
pub const ENVOY_FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("envoy_descriptor");
