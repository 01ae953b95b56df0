//! `run`: runs a command if its breaker allows it, and reports the outcome.
//!
//! Requests permission, runs the command, and reports how it ended. breakerd must never be the outage:
//! when it gives no answer the command runs all the same, unless `--fail-closed` is set. Whatever happens once
//! a permit was given, the outcome is reported, so that a probe of a half-open breaker does not keep its slot until its timeout
//! ends.

mod child;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::time::Duration;

use breakerd_api::v1::{self, AllowRequestRequest, AllowRequestResponse, Outcome, RecordOutcomeRequest};
use bytes::Bytes;
use clap::Args;
use tonic::Code;

use self::child::{End, Signals};
use super::connect::{CliRequest, Connection};
use super::error::{Completion, Failure};
use super::override_::wire_duration;
use super::screen::{Environment, Screen};
use super::table::escape_control;
use super::times;
use super::words::{self, Target};
use breakerd_common::clock::Clock;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd run database -- ./import.sh --all
      run the script unless the breaker is open, and report the outcome
  breakerd run search --command-timeout 30s --ignore-exit 75 -- ./reindex
      stop the command after 30 s and report a failure; ignore exit status 75
  breakerd run database --timeout 500ms --fail-closed -- ./migrate
      do not run the command if breakerd does not answer within 500 ms

Exits with the status of the command, 128 + N if signal N ended it, 124 if it
timed out, 126 or 127 if it could not be started. Exits with 3 (--denied-exit)
if the breaker rejected the command.";

/// Between two attempts to report; it doubles, up to the larger one.
const REPORT_PAUSE_MIN: Duration = Duration::from_millis(100);
const REPORT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// As `timeout` of coreutils.
const EXIT_TIMED_OUT: u8 = 124;
const EXIT_NOT_EXECUTABLE: u8 = 126;
const EXIT_NOT_FOUND: u8 = 127;
/// Added to the number of the signal that ended the command, as shells do.
const EXIT_SIGNAL: i32 = 128;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Breaker: SERVICE for the default breaker of the service, or SERVICE/NAME. Created if not found.
    #[arg(value_name = "BREAKER")]
    breaker: Target,
    /// Caller label, such as a host name.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    caller: String,
    /// Time limit of the command. Then it is stopped (SIGTERM, 10 s later SIGKILL) and reported as a failure.
    #[arg(long, value_name = "TIME", value_parser = times::duration)]
    command_timeout: Option<Duration>,
    /// Exit statuses to report as success, in addition to 0.
    #[arg(long, value_name = "STATUS,..", value_delimiter = ',')]
    success_exit: Vec<u8>,
    /// Exit statuses to report as ignored, such as that of a usage error.
    #[arg(long, value_name = "STATUS,..", value_delimiter = ',', conflicts_with = "success_exit")]
    ignore_exit: Vec<u8>,
    /// Exit status if the breaker rejects the command.
    #[arg(long, value_name = "STATUS", default_value_t = 3)]
    denied_exit: u8,
    /// Do not run the command if breakerd does not answer. Exits with 1.
    #[arg(long)]
    fail_closed: bool,
    /// Command and arguments, after `--`. Run without a shell.
    #[arg(value_name = "COMMAND", last = true, required = true, num_args = 1..)]
    command: Vec<OsString>,
}

/// The answer to the permission request.
enum Permission {
    Granted(Connection, AllowRequestResponse),
    Rejected(AllowRequestResponse),
    /// The command runs all the same, and its outcome counts by name.
    Unavailable(Failure),
}

impl RunArgs {
    /// Validates what clap cannot.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let invalid = self.ignore_exit.iter().chain(&self.success_exit).find(|status| **status == 0);
        match invalid {
            Some(_) => Err(Failure::Usage(
                "--ignore-exit and --success-exit: must be 1 to 255 (0 is always a success)".into(),
            )),
            None => Ok(()),
        }
    }

    /// The outcome to report for how the command ended, with its error class.
    fn outcome_of(&self, end: &End) -> (Outcome, String) {
        match end {
            // That tells nothing about the service.
            End::NotStarted(_) => (Outcome::Ignored, String::new()),
            End::TimedOut => (Outcome::Failure, "timeout".to_owned()),
            End::Exited(status) | End::Interrupted(status) => match (status.code(), end) {
                (Some(0), _) => (Outcome::Success, String::new()),
                // A command that was interrupted says nothing about the service.
                (_, End::Interrupted(_)) => (Outcome::Ignored, String::new()),
                (Some(code), _) if lists(&self.success_exit, code) => (Outcome::Success, String::new()),
                (Some(code), _) if lists(&self.ignore_exit, code) => (Outcome::Ignored, String::new()),
                (Some(code), _) => (Outcome::Failure, format!("exit-{code}")),
                (None, _) => {
                    (Outcome::Failure, format!("signal-{}", child::signal_of(*status).unwrap_or_default()))
                }
            },
        }
    }

    fn report(&self, permit: Bytes, end: &End, took: Duration) -> RecordOutcomeRequest {
        let (outcome, error_class) = self.outcome_of(end);
        RecordOutcomeRequest {
            permit,
            service: self.breaker.service.clone(),
            name: self.breaker.name.clone(),
            outcome: outcome.into(),
            // A command of more than 10,000 years is reported without a duration.
            duration: wire_duration(took).ok(),
            error_class,
            caller: self.caller.clone(),
            ..RecordOutcomeRequest::default()
        }
    }
}

pub(super) async fn run(
    request: &CliRequest<RunArgs>,
    environment: &Environment,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let args = &request.args;
    // Before a permit is requested: from here on no signal ends this process, and the outcome is always reported.
    let mut signals = Signals::listen()?;
    let (connection, permit) = tokio::select! {
        response = request_permission(request, environment) => match response? {
            Permission::Granted(connection, response) => (Some(connection), response.permit),
            Permission::Rejected(response) => return Ok(args.rejected(&response, screen)),
            Permission::Unavailable(failure) if args.fail_closed => return Err(failure),
            Permission::Unavailable(failure) => {
                let problem = failure.to_string();
                screen.note(&format!("breakerd: {}; running the command anyway", escape_control(&problem)));
                (None, Bytes::new())
            }
        },
        // The command was not started. A permit that is on its way expires with its probe timeout.
        (signal, _) = signals.next() => return Ok(Completion::ExitCode(exit_of_signal(signal.as_raw()))),
    };
    let started = clock.now();
    let end = child::run(&args.command, args.command_timeout, &mut signals).await;
    let report = args.report(permit, &end, clock.now().since(started));
    if let Err(failure) = self::report(request, environment, connection, &report).await {
        screen.note(&format!("breakerd: outcome not recorded: {}", escape_control(&failure.to_string())));
    }
    Ok(args.ended(&end, screen))
}

/// Requests permission. A server without an answer is no error here, but a usage error is one: it would recur each time.
async fn request_permission(
    request: &CliRequest<RunArgs>,
    environment: &Environment,
) -> Result<Permission, Failure> {
    let args = &request.args;
    let connection = match Connection::to(&request.options, environment).await {
        Ok(connection) => connection,
        Err(failure @ (Failure::Usage(_) | Failure::File { .. })) => return Err(failure),
        Err(failure) => return Ok(Permission::Unavailable(failure)),
    };
    let Target { service, name } = args.breaker.clone();
    let request = AllowRequestRequest { service, name, caller: args.caller.clone() };
    let mut breakers = connection.breakers();
    match connection.call(request, async |request| breakers.allow_request(request).await).await {
        Ok(response) if response.allowed => Ok(Permission::Granted(connection, response)),
        Ok(response) => Ok(Permission::Rejected(response)),
        Err(failure) => Ok(Permission::Unavailable(failure)),
    }
}

/// Reports, and retries within the timeout, where a later attempt may succeed and none before it
/// can have been counted: breakerd may be restarting.
async fn report(
    request: &CliRequest<RunArgs>,
    environment: &Environment,
    mut connection: Option<Connection>,
    report: &RecordOutcomeRequest,
) -> Result<(), Failure> {
    let newest = RefCell::new(None);
    let until_delivered = async {
        let mut pause = REPORT_PAUSE_MIN;
        loop {
            let failure = match send(request, environment, &mut connection, report).await {
                Ok(()) => return Ok(()),
                Err(SendError::Retry(failure)) => failure,
                Err(SendError::Final(failure)) => return Err(failure),
            };
            newest.replace(Some(failure));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REPORT_PAUSE_MAX);
        }
    };
    let timeout = request.options.timeout;
    match tokio::time::timeout(timeout, until_delivered).await {
        Ok(ended) => ended,
        Err(_) => Err(newest
            .take()
            .unwrap_or(Failure::NoResponse { address: request.options.address.clone(), timeout })),
    }
}

/// Why a report failed.
enum SendError {
    /// A later attempt may succeed, and counts once.
    Retry(Failure),
    Final(Failure),
}

/// Reports once, on a connection that is made if there is none.
async fn send(
    request: &CliRequest<RunArgs>,
    environment: &Environment,
    connection: &mut Option<Connection>,
    report: &RecordOutcomeRequest,
) -> Result<(), SendError> {
    let connection = match connection {
        Some(connection) => connection,
        None => match Connection::to(&request.options, environment).await {
            Ok(made) => connection.insert(made),
            Err(failure @ Failure::Unreachable { .. }) => return Err(SendError::Retry(failure)),
            Err(failure) => return Err(SendError::Final(failure)),
        },
    };
    let mut breakers = connection.breakers();
    let result =
        connection.call(report.clone(), async |request| breakers.record_outcome(request).await).await;
    result.map(drop).map_err(|failure| match &failure {
        // It was rejected, and not counted.
        Failure::Status(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
            SendError::Retry(failure)
        }
        // It may have been counted: once under its permit, without one each time.
        Failure::Unreachable { .. } | Failure::NoResponse { .. } if !report.permit.is_empty() => {
            SendError::Retry(failure)
        }
        _ => SendError::Final(failure),
    })
}

impl RunArgs {
    fn rejected(&self, response: &AllowRequestResponse, screen: &mut Screen<'_>) -> Completion {
        let breaker = words::breaker_name(&self.breaker.service, &self.breaker.name);
        let again = response.retry_after.as_ref().map(times::wire_span);
        let again = again.map(|again| format!("; retry in {again}")).unwrap_or_default();
        let reason = words::named::<v1::AllowReason>(response.reason);
        screen.note(&format!("breakerd: {breaker} is {reason}, command not run{again}"));
        Completion::ExitCode(self.denied_exit)
    }

    fn ended(&self, end: &End, screen: &mut Screen<'_>) -> Completion {
        let command = self
            .command
            .first()
            .map(|command| escape_control(&command.to_string_lossy()))
            .unwrap_or_default();
        match end {
            End::NotStarted(error) => {
                screen.note(&format!("breakerd: run {command}: {error}"));
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                Completion::ExitCode(if is_missing { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE })
            }
            End::TimedOut => {
                screen.note(&format!("breakerd: {command} timed out and was stopped"));
                Completion::ExitCode(EXIT_TIMED_OUT)
            }
            End::Exited(status) | End::Interrupted(status) => Completion::ExitCode(match status.code() {
                Some(code) => u8::try_from(code).unwrap_or(u8::MAX),
                None => exit_of_signal(child::signal_of(*status).unwrap_or_default()),
            }),
        }
    }
}

fn lists(statuses: &[u8], code: i32) -> bool {
    statuses.iter().any(|status| i32::from(*status) == code)
}

fn exit_of_signal(signal: i32) -> u8 {
    u8::try_from(EXIT_SIGNAL + signal).unwrap_or(u8::MAX)
}
