//! Which breakerd this is.

/// The version, as Cargo.toml has it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from; `unknown` unless the build was told, by `BREAKERD_COMMIT` in its environment.
pub const COMMIT: &str = env!("BREAKERD_BUILD_COMMIT");

/// What `--version` says.
pub const VERSION_AND_COMMIT: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("BREAKERD_BUILD_COMMIT"), ")");
