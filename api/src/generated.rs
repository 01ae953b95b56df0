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
