//! The codes that commands end with.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::Error;

/// Writes the errors of a configuration, one a line, and returns the exit code: 2 when a flag was
/// invalid, else 1.
pub fn report_errors(errors: &[Error], err: &mut dyn Write) -> ExitCode {
    for error in errors {
        // Nothing can be reported when stderr is closed.
        let _ = writeln!(err, "{error}");
    }
    ExitCode::from(if errors.iter().any(Error::is_usage) { 2 } else { 1 })
}

/// The code to end with when an answer was written, or was not.
pub(super) fn ended(result: io::Result<()>, err: &mut dyn Write) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `check-config FILE | head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(err, "write the output: {error}");
            ExitCode::from(1)
        }
    }
}
