//! The errors of a command: as text, as JSON and as an exit code.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use breaker::HumanDuration;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::screen::Screen;
use super::table::escape_control;
use super::times;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// It is done.
    Done,
    /// The answer is negative: the call is rejected, or the server is not serving.
    Negative,
    /// There is no such breaker or service.
    NotFound,
    /// With the exit status of the command that it ran, or with the code for a signal or a timeout.
    ExitCode(u8),
}

impl From<Completion> for ExitCode {
    fn from(ended: Completion) -> Self {
        match ended {
            Completion::Done => Self::SUCCESS,
            Completion::Negative => Self::from(3),
            Completion::NotFound => Self::from(4),
            Completion::ExitCode(status) => Self::from(status),
        }
    }
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It changes nothing.
    Read,
    /// It changes something, unless it fails.
    Write,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line makes no sense, beyond what clap sees.
    #[error("{0}")]
    Usage(String),
    /// Invalid arguments, each with its name and the problem.
    #[error("{}", .0.iter().map(|(_, problem)| &**problem).collect::<Vec<_>>().join("; "))]
    Arguments(Vec<(String, String)>),
    /// A file that the command line names.
    #[error("{what} {path}: {source}")]
    File {
        /// Which act failed.
        what: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The connection failed.
    #[error("cannot connect to {address}: {problem}")]
    Unreachable {
        /// Where.
        address: String,
        /// The innermost reason.
        problem: String,
    },
    /// An HTTP server listens there: breakerd's own, or another.
    #[error("{address} is an HTTP port, not a gRPC port")]
    HttpPort {
        /// Where.
        address: String,
    },
    /// No response within the timeout.
    #[error("no response from {address} within {}", HumanDuration(*.timeout))]
    NoResponse {
        /// Who.
        address: String,
        /// How long was waited.
        timeout: std::time::Duration,
    },
    /// The server returned an error.
    #[error("{}", .0.message())]
    Status(Box<Status>),
    /// The server returned an error; with a hint what to do instead.
    #[error("{}", .0.message())]
    StatusWithHint(Box<Status>, String),
    /// The response lacks a field.
    #[error("incomplete response: missing {0} (server version mismatch?)")]
    Incomplete(&'static str),
    /// The output cannot be written.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl Failure {
    /// 1: failed; 2: usage error; 4: not found.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Arguments(_) | Self::File { .. } => 2,
            Self::Status(status) | Self::StatusWithHint(status, _) => match status.code() {
                Code::InvalidArgument | Code::OutOfRange => 2,
                Code::NotFound => 4,
                _ => 1,
            },
            Self::Unreachable { .. }
            | Self::HttpPort { .. }
            | Self::NoResponse { .. }
            | Self::Incomplete(_)
            | Self::Output(_) => 1,
        }
    }

    /// Whether the reader of the output closed it, as `head` does: no error.
    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// gRPC's name of it.
    fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) | Self::Arguments(_) | Self::File { .. } => "INVALID_ARGUMENT",
            Self::Unreachable { .. } | Self::HttpPort { .. } => "UNAVAILABLE",
            Self::NoResponse { .. } => "DEADLINE_EXCEEDED",
            Self::Status(status) | Self::StatusWithHint(status, _) => name_of(status.code()),
            Self::Incomplete(_) | Self::Output(_) => "INTERNAL",
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Usage(_) | Self::Arguments(_) => "USAGE".to_owned(),
            Self::File { .. } => "FILE".to_owned(),
            Self::Unreachable { .. } | Self::HttpPort { .. } => "UNREACHABLE".to_owned(),
            Self::NoResponse { .. } => "NO_ANSWER".to_owned(),
            Self::Status(status) | Self::StatusWithHint(status, _) => {
                status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
            }
            Self::Incomplete(_) => "INCOMPLETE_ANSWER".to_owned(),
            Self::Output(_) => "OUTPUT".to_owned(),
        }
    }

    /// Path and problem of each invalid field.
    fn violations(&self) -> Vec<(String, String)> {
        let status = match self {
            Self::Status(status) | Self::StatusWithHint(status, _) => status,
            Self::Arguments(wrong) => return wrong.clone(),
            _ => return Vec::new(),
        };
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        violations.into_iter().map(|wrong| (wrong.field, wrong.description)).collect()
    }

    /// The known name that was probably meant by one that breakerd does not know.
    pub(super) fn nearest(&self) -> Option<String> {
        let Self::Status(status) = self else { return None };
        status.get_details_error_info()?.metadata.remove("nearest")
    }

    /// What may be done about it.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { address, .. } if address.starts_with("https://") => Some(
                "check that breakerd is running and serves TLS; see --ca, --cert, --key and --address"
                    .to_owned(),
            ),
            Self::Unreachable { .. } => Some(
                "check that breakerd is running; see --address and BREAKERD_ADDRESS; use https:// for TLS"
                    .to_owned(),
            ),
            Self::HttpPort { .. } => Some(
                "use the port of grpc.listen, which is 50051 by default; http.listen (8080) serves metrics and health"
                    .to_owned(),
            ),
            Self::NoResponse { .. } => Some("increase --timeout".to_owned()),
            Self::StatusWithHint(_, hint) => Some(hint.clone()),
            Self::Status(status) => match status.code() {
                Code::Unauthenticated => {
                    Some("set BREAKERD_TOKEN or --token-file, or --cert and --key".into())
                }
                Code::Unimplemented => Some("the server is older than this program".to_owned()),
                _ => {
                    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay)?;
                    Some(format!("retry in {}", times::span(retry)))
                }
            },
            _ => None,
        }
    }

    /// Prints it, and returns the exit code.
    pub(super) fn report(&self, effect: Effect, screen: &mut Screen<'_>) -> ExitCode {
        if self.is_broken_pipe() {
            return ExitCode::SUCCESS;
        }
        if screen.is_json() {
            let violations: Vec<_> = self
                .violations()
                .into_iter()
                .map(|(field, problem)| json!({ "field": field, "description": problem }))
                .collect();
            let object = json!({
                "code": self.code(),
                "message": self.to_string(),
                "reason": self.reason(),
                "violations": violations,
            });
            screen.note(&object.to_string());
            return ExitCode::from(self.exit_code());
        }
        match &self.violations()[..] {
            // With violations the message only strings them together.
            [] => screen.note(&format!("breakerd: {}", escape_control(&self.summary()))),
            violations => {
                screen.note(match (self, effect) {
                    (Self::Arguments(_), _) => "breakerd: invalid arguments, nothing was sent",
                    (_, Effect::Read) => "breakerd: invalid request",
                    (_, Effect::Write) => "breakerd: invalid request, nothing was changed",
                });
                for (field, problem) in violations {
                    screen.note(&escape_control(&match self {
                        // It names its field.
                        Self::Arguments(_) => format!("  {problem}"),
                        _ => format!("  {}: {}", flag_of(field), in_flags(problem)),
                    }));
                }
            }
        }
        if let Some(hint) = self.hint() {
            screen.note(&hint);
        }
        ExitCode::from(self.exit_code())
    }

    /// The message, with the gRPC code where the message alone explains little.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Status(status) | Self::StatusWithHint(status, _) if status.message().is_empty() => {
                name_of(status.code()).to_owned()
            }
            Self::Status(status) | Self::StatusWithHint(status, _)
                if status.get_details_error_info().is_none() =>
            {
                format!("{}: {}", name_of(status.code()), status.message())
            }
            // As the flag is written that gives it.
            Self::Status(status) | Self::StatusWithHint(status, _) => API_WORDS
                .iter()
                .fold(own_breakers(status.message()), |message, (api, flag)| message.replace(api, flag)),
            _ => self.to_string(),
        }
    }
}

/// What messages of the API advise, as the command line takes it.
const API_WORDS: [(&str, &str); 3] = [
    ("ClearOverride with service_wide = true", "override clear --service-wide"),
    ("create = true", "--create"),
    ("must_exist = false", "--create"),
];

/// The API's fields that flags of other names give.
const FLAGS: [(&str, &str); 12] = [
    ("caller", "--caller"),
    ("error_class", "--error-class"),
    ("etag", "--etag"),
    ("expires_at", "--until"),
    ("from_time", "--since"),
    ("name_prefix", "--name-prefix"),
    ("page_size", "--limit"),
    ("permit", "--permit"),
    ("reason", "--reason"),
    ("service_prefix", "--prefix"),
    ("to_time", "--until"),
    ("ttl", "--for"),
];

/// The service's own breaker is `SERVICE` on the command line, `SERVICE/SERVICE` in messages of the API.
fn own_breakers(message: &str) -> String {
    let shown = message.split(' ').map(|word| {
        let (name, end) = word.strip_suffix(':').map_or((word, ""), |name| (name, ":"));
        match name.split_once('/') {
            Some((service, name)) if service == name => format!("{service}{end}"),
            _ => word.to_owned(),
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// A field of the API as the command line names it: the flag that sets it, or its own name.
fn flag_of(field: &str) -> &str {
    FLAGS.iter().find(|(name, _)| *name == field).map_or(field, |(_, flag)| flag)
}

/// A problem of a field often names another field: such names become flags too.
fn in_flags(problem: &str) -> String {
    let names = FLAGS.iter().filter(|(name, _)| name.contains('_'));
    names.fold(problem.to_owned(), |problem, (name, flag)| problem.replace(name, flag))
}

/// The innermost reason of an error: the outer ones say "transport error".
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// The names that the protocol has for its codes.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_own_breaker_is_named_as_it_is_given() {
        let message = "there is no breaker db/db: nobody has used db/eu yet";
        assert_eq!(own_breakers(message), "there is no breaker db: nobody has used db/eu yet");
    }
}
