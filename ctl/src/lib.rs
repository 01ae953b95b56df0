//! The client commands of the command line: each makes RPCs to a server, and prints the response.
//!
//! A command is a file: its arguments, the RPC, the output. `connect` connects to the server, `screen` is where
//! output goes, `error` has the errors and their exit codes. It is a client like any other: it sees of the
//! server what the API shows, and is linked into the server's program, so that there is one program to install.

mod allow;
#[cfg(test)]
mod at_80_columns;
mod config;
mod config_set;
mod config_show;
mod connect;
mod error;
mod follow;
mod forget;
mod get;
mod healthcheck;
mod history;
mod json;
mod keys;
mod ls;
mod override_;
mod pages;
mod record;
mod replicas;
mod run;
mod screen;
mod service;
mod table;
mod thresholds;
mod times;
mod watch;
mod why;
mod words;

pub use config::ConfigCommand;
pub use connect::{CliRequest, CommonOptions};
pub use override_::OverrideCommand;
pub use screen::{Color, Environment};

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;

use breakerd_common::clock::SystemClock;
use connect::Connection;
use error::{Completion, Effect, Failure};
use screen::Screen;

/// The exit codes, for the help of the program.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed: server error, or cannot connect
  2  usage error
  3  rejected: `allow` or `run` by the breaker; or not serving
  4  breaker or service not found
`run` exits with the status of its command.";

/// The client commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List breakers, those that are not CLOSED first.
    #[command(after_help = ls::EXAMPLES)]
    Ls(CliRequest<ls::LsArgs>),
    /// Show one breaker: state, statistics and thresholds.
    #[command(after_help = get::EXAMPLES)]
    Get(CliRequest<get::GetArgs>),
    /// List state transitions, newest first.
    #[command(after_help = history::EXAMPLES)]
    History(CliRequest<history::HistoryArgs>),
    /// Follow state transitions until interrupted.
    #[command(after_help = watch::EXAMPLES)]
    Watch(CliRequest<watch::WatchArgs>),
    /// Show and change the thresholds of services.
    #[command(subcommand, after_help = config::EXAMPLES)]
    Config(ConfigCommand),
    /// Set and clear manual overrides.
    #[command(subcommand, after_help = override_::EXAMPLES)]
    Override(OverrideCommand),
    /// Close a breaker and clear its counters.
    #[command(after_help = override_::RESET_EXAMPLES)]
    Reset(CliRequest<override_::BreakerArgs>),
    /// Delete a breaker. It is created again, CLOSED, on its next use.
    #[command(after_help = forget::EXAMPLES)]
    Forget(CliRequest<override_::BreakerArgs>),
    /// Start probes of an OPEN breaker now, before its open-state wait ends.
    #[command(after_help = override_::PROBE_EXAMPLES)]
    Probe(CliRequest<override_::BreakerArgs>),
    /// Request permission for a protected call. Exits with 3 if rejected.
    #[command(after_help = allow::EXAMPLES)]
    Allow(CliRequest<allow::AllowArgs>),
    /// Report the outcome of a protected call.
    #[command(after_help = record::EXAMPLES)]
    Record(CliRequest<record::RecordArgs>),
    /// Run a command if its breaker allows it, and report the outcome.
    #[command(after_help = run::EXAMPLES)]
    Run(CliRequest<run::RunArgs>),
    /// List the replicas that share the store.
    #[command(after_help = replicas::EXAMPLES)]
    Replicas(CliRequest<replicas::ReplicasArgs>),
    /// List the keys that permits are sealed with, and add one.
    #[command(after_help = keys::EXAMPLES)]
    Keys(keys::KeysCommand),
    /// Check server health, for container health checks. Exits with 3 if not serving.
    #[command(after_help = healthcheck::EXAMPLES)]
    Healthcheck(CliRequest<healthcheck::HealthcheckArgs>),
}

impl Command {
    fn options(&self) -> &CommonOptions {
        match self {
            Self::Ls(request) => &request.options,
            Self::Get(request) => &request.options,
            Self::History(request) => &request.options,
            Self::Watch(request) => &request.options,
            Self::Config(command) => command.options(),
            Self::Override(command) => command.options(),
            Self::Reset(request) | Self::Forget(request) | Self::Probe(request) => &request.options,
            Self::Allow(request) => &request.options,
            Self::Record(request) => &request.options,
            Self::Run(request) => &request.options,
            Self::Replicas(request) => &request.options,
            Self::Keys(command) => command.options(),
            Self::Healthcheck(request) => &request.options,
        }
    }
}

/// Runs a command: writes its output to `out` and notes and errors to `err`, and returns the exit code.
pub fn run(
    command: &Command,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let options = command.options();
    let mut screen = Screen::new(out, err, environment, options.color, options.json);
    if options.wide {
        screen.columns = None;
    }
    // One call after the other: one thread is enough.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen.note(&format!("breakerd: start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match dispatch(command, environment, &mut screen).await {
            Err(failure) => Err(connect::diagnose(failure).await),
            ended => ended,
        }
    });
    // A name lookup that is still running must not delay the exit.
    runtime.shutdown_background();
    let flushed = ended.and_then(|ended| {
        screen.out.flush()?;
        Ok(ended)
    });
    match flushed {
        Ok(ended) => ended.into(),
        Err(failure) => failure.report(command.effect(), &mut screen),
    }
}

async fn dispatch(
    command: &Command,
    environment: &Environment,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    command.check()?;
    let clock = &SystemClock::start();
    let connected = async || Connection::to(command.options(), environment).await;
    match command {
        Command::Ls(request) => ls::run(&request.args, &connected().await?, clock, screen).await,
        Command::Get(request) => get::run(&request.args, &connected().await?, clock, screen).await,
        Command::History(request) => history::run(&request.args, &connected().await?, clock, screen).await,
        Command::Watch(request) => watch::run(&request.args, &connected().await?, clock, screen).await,
        Command::Config(command) => config::run(command, &connected().await?, clock, screen).await,
        Command::Override(command) => override_::run(command, &connected().await?, clock, screen).await,
        Command::Reset(request) => override_::reset(&request.args, &connected().await?, clock, screen).await,
        Command::Forget(request) => forget::run(&request.args, &connected().await?, screen).await,
        Command::Probe(request) => override_::probe(&request.args, &connected().await?, clock, screen).await,
        Command::Allow(request) => allow::run(&request.args, &connected().await?, screen).await,
        Command::Record(request) => record::run(&request.args, &connected().await?, screen).await,
        // It runs without a connection too.
        Command::Run(request) => run::run(request, environment, clock, screen).await,
        Command::Replicas(request) => replicas::run(&request.args, &connected().await?, clock, screen).await,
        Command::Keys(command) => keys::run(command, &connected().await?, clock, screen).await,
        Command::Healthcheck(request) => healthcheck::run(&request.args, &connected().await?, screen).await,
    }
}

impl Command {
    /// Validates what clap cannot, before connecting, so that a usage error is reported without a server too.
    fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Record(request) => request.args.report().map(drop),
            Self::Run(request) => request.args.check(),
            Self::Override(command) => command.check(),
            Self::Config(command) => command.check(),
            _ => Ok(()),
        }
    }

    /// Whether it changes anything.
    const fn effect(&self) -> Effect {
        match self {
            Self::Config(command) if !command.is_write() => Effect::Read,
            Self::Keys(command) if !command.is_write() => Effect::Read,
            Self::Ls(_)
            | Self::Get(_)
            | Self::History(_)
            | Self::Watch(_)
            | Self::Replicas(_)
            | Self::Healthcheck(_) => Effect::Read,
            Self::Config(_)
            | Self::Keys(_)
            | Self::Override(_)
            | Self::Reset(_)
            | Self::Forget(_)
            | Self::Probe(_)
            | Self::Allow(_)
            | Self::Record(_)
            | Self::Run(_) => Effect::Write,
        }
    }
}
