//! What the server and the command line share, and what knows neither of them.
//!
//! - [`clock`]: the clocks of the machine, or one that a test sets.
//! - [`signals`]: SIGTERM and SIGINT as a token.
//! - [`value`]: values of settings and thresholds as people write them, in TOML or as text; [`assignment`]: `field=value`.
//! - [`nearest`]: the name that was probably meant, for errors.

pub mod assignment;
pub mod clock;
pub mod nearest;
pub mod signals;
pub mod value;
