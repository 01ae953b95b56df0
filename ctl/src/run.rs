//! `run`: guards a command with a breaker.
//!
//! Asks whether the call may go ahead, runs the command, and reports how it ended. breakerd must never be the outage:
//! when it gives no answer the command runs all the same, unless `--fail-closed` says otherwise. Whatever happens once
//! a permit was given, it is reported, so that a probe of a half-open breaker does not keep its slot until its lease
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
use super::error::{Ended, Failure};
use super::override_::wire;
use super::screen::{Screen, Surroundings};
use super::table::harmless;
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

/// What breakerd said before the command began.
enum Answer {
    Allowed(Connection, AllowRequestResponse),
    Denied(AllowRequestResponse),
    /// The command runs all the same, and its outcome counts by name.
    Missing(Failure),
}

impl RunArgs {
    /// What clap cannot see.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let without_meaning = self.ignore_exit.iter().chain(&self.success_exit).find(|status| **status == 0);
        match without_meaning {
            Some(_) => Err(Failure::Usage(
                "--ignore-exit and --success-exit: must be 1 to 255 (0 is always a success)".into(),
            )),
            None => Ok(()),
        }
    }

    /// Whether the command says that the service is well.
    fn judge(&self, end: &End) -> (Outcome, String) {
        match end {
            // It says nothing about the service.
            End::NotStarted(_) => (Outcome::Ignored, String::new()),
            End::TimedOut => (Outcome::Failure, "timeout".to_owned()),
            End::Exited(status) | End::Interrupted(status) => match (status.code(), end) {
                (Some(0), _) => (Outcome::Success, String::new()),
                // Whoever stopped it did so for reasons of their own.
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
        let (outcome, error_class) = self.judge(end);
        RecordOutcomeRequest {
            permit,
            service: self.breaker.service.clone(),
            name: self.breaker.name.clone(),
            outcome: outcome.into(),
            // A command of more than 10,000 years is a slow call without a figure.
            duration: wire(took).ok(),
            error_class,
            caller: self.caller.clone(),
            ..RecordOutcomeRequest::default()
        }
    }
}

pub(super) async fn run(
    asked: &CliRequest<RunArgs>,
    around: &Surroundings,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Ended, Failure> {
    let args = &asked.what;
    // Before a permit is asked for: from here on no signal ends us, and it is reported whatever comes.
    let mut signals = Signals::listen()?;
    let (connection, permit) = tokio::select! {
        answer = ask(asked, around) => match answer? {
            Answer::Allowed(connection, answer) => (Some(connection), answer.permit),
            Answer::Denied(answer) => return Ok(args.denied(&answer, screen)),
            Answer::Missing(failure) if args.fail_closed => return Err(failure),
            Answer::Missing(failure) => {
                let problem = failure.to_string();
                screen.note(&format!("breakerd: {}; running the command anyway", harmless(&problem)));
                (None, Bytes::new())
            }
        },
        // Nothing was begun. A permit that is on its way to us ends with its lease.
        (signal, _) = signals.next() => return Ok(Ended::With(exit_of_signal(signal.as_raw()))),
    };
    let begun = clock.now();
    let end = child::run(&args.command, args.command_timeout, &mut signals).await;
    let report = args.report(permit, &end, clock.now().since(begun));
    if let Err(failure) = self::report(asked, around, connection, &report).await {
        screen.note(&format!("breakerd: outcome not recorded: {}", harmless(&failure.to_string())));
    }
    Ok(args.ended(&end, screen))
}

/// Asks. No answer is an answer, but slips of the command line are errors: they would be so each time.
async fn ask(asked: &CliRequest<RunArgs>, around: &Surroundings) -> Result<Answer, Failure> {
    let args = &asked.what;
    let connection = match Connection::to(&asked.reach, around).await {
        Ok(connection) => connection,
        Err(failure @ (Failure::Usage(_) | Failure::File { .. })) => return Err(failure),
        Err(failure) => return Ok(Answer::Missing(failure)),
    };
    let Target { service, name } = args.breaker.clone();
    let question = AllowRequestRequest { service, name, caller: args.caller.clone() };
    let mut breakers = connection.breakers();
    match connection.ask(question, async |ask| breakers.allow_request(ask).await).await {
        Ok(answer) if answer.allowed => Ok(Answer::Allowed(connection, answer)),
        Ok(answer) => Ok(Answer::Denied(answer)),
        Err(failure) => Ok(Answer::Missing(failure)),
    }
}

/// Reports: again and again for as long as an answer is waited for, where a later attempt may be taken and none before it
/// can have been counted. breakerd may be restarting, or be back by now.
async fn report(
    asked: &CliRequest<RunArgs>,
    around: &Surroundings,
    mut connection: Option<Connection>,
    report: &RecordOutcomeRequest,
) -> Result<(), Failure> {
    let newest = RefCell::new(None);
    let until_taken = async {
        let mut pause = REPORT_PAUSE_MIN;
        loop {
            let failure = match send(asked, around, &mut connection, report).await {
                Ok(()) => return Ok(()),
                Err(Unsent::Retry(failure)) => failure,
                Err(Unsent::Final(failure)) => return Err(failure),
            };
            newest.replace(Some(failure));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REPORT_PAUSE_MAX);
        }
    };
    let timeout = asked.reach.timeout;
    match tokio::time::timeout(timeout, until_taken).await {
        Ok(ended) => ended,
        Err(_) => {
            Err(newest.take().unwrap_or(Failure::Silent { address: asked.reach.address.clone(), timeout }))
        }
    }
}

/// Why a report was not taken.
enum Unsent {
    /// A later attempt may be taken, and counts once.
    Retry(Failure),
    Final(Failure),
}

/// Reports once, on a connection that is made if there is none.
async fn send(
    asked: &CliRequest<RunArgs>,
    around: &Surroundings,
    connection: &mut Option<Connection>,
    report: &RecordOutcomeRequest,
) -> Result<(), Unsent> {
    let connection = match connection {
        Some(connection) => connection,
        None => match Connection::to(&asked.reach, around).await {
            Ok(made) => connection.insert(made),
            Err(failure @ Failure::Unreachable { .. }) => return Err(Unsent::Retry(failure)),
            Err(failure) => return Err(Unsent::Final(failure)),
        },
    };
    let mut breakers = connection.breakers();
    let told = connection.ask(report.clone(), async |ask| breakers.record_outcome(ask).await).await;
    told.map(drop).map_err(|failure| match &failure {
        // It was refused, and not counted.
        Failure::Refused(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
            Unsent::Retry(failure)
        }
        // It may have been counted: once under its permit, without one each time.
        Failure::Unreachable { .. } | Failure::Silent { .. } if !report.permit.is_empty() => {
            Unsent::Retry(failure)
        }
        _ => Unsent::Final(failure),
    })
}

impl RunArgs {
    fn denied(&self, answer: &AllowRequestResponse, screen: &mut Screen<'_>) -> Ended {
        let breaker = words::breaker_name(&self.breaker.service, &self.breaker.name);
        let again = answer.retry_after.as_ref().map(times::wire_span);
        let again = again.map(|again| format!("; retry in {again}")).unwrap_or_default();
        let reason = words::named::<v1::AllowReason>(answer.reason);
        screen.note(&format!("breakerd: {breaker} is {reason}, command not run{again}"));
        Ended::With(self.denied_exit)
    }

    fn ended(&self, end: &End, screen: &mut Screen<'_>) -> Ended {
        let command =
            self.command.first().map(|command| harmless(&command.to_string_lossy())).unwrap_or_default();
        match end {
            End::NotStarted(error) => {
                screen.note(&format!("breakerd: run {command}: {error}"));
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                Ended::With(if is_missing { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE })
            }
            End::TimedOut => {
                screen.note(&format!("breakerd: {command} timed out and was stopped"));
                Ended::With(EXIT_TIMED_OUT)
            }
            End::Exited(status) | End::Interrupted(status) => Ended::With(match status.code() {
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
