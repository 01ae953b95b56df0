//! The other half of the command line: it asks a breakerd over gRPC, and shows what it answers.
//!
//! A command is a file: its arguments, the call, the words. `connect` is the way to the server, `screen` where
//! answers go, `error` what goes wrong and the exit code it has. It is a client like any other: it sees of the
//! server what the API shows, and is linked into its program so that whoever has the one has the other.

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
mod ls;
mod override_;
mod pages;
mod record;
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
pub use connect::{CliRequest, Reach};
pub use override_::OverrideCommand;
pub use screen::{Color, Surroundings};

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;

use breakerd_common::clock::SystemClock;
use connect::Connection;
use error::{Effect, Ended, Failure};
use screen::Screen;

/// The exit codes, for the help of the program.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed: server error, or cannot connect
  2  usage error
  3  rejected: `allow` or `run` by the breaker; or not serving
  4  breaker or service not found
`run` exits with the status of its command.";

/// What a breakerd can be asked.
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
    Reset(CliRequest<override_::OneArgs>),
    /// Delete a breaker. It is created again, CLOSED, on its next use.
    #[command(after_help = forget::EXAMPLES)]
    Forget(CliRequest<override_::OneArgs>),
    /// Start probes of an OPEN breaker now, before its open-state wait ends.
    #[command(after_help = override_::PROBE_EXAMPLES)]
    Probe(CliRequest<override_::OneArgs>),
    /// Request permission for a protected call. Exits with 3 if rejected.
    #[command(after_help = allow::EXAMPLES)]
    Allow(CliRequest<allow::AllowArgs>),
    /// Report the outcome of a protected call.
    #[command(after_help = record::EXAMPLES)]
    Record(CliRequest<record::RecordArgs>),
    /// Run a command if its breaker allows it, and report the outcome.
    #[command(after_help = run::EXAMPLES)]
    Run(CliRequest<run::RunArgs>),
    /// Check server health, for container health checks. Exits with 3 if not serving.
    #[command(after_help = healthcheck::EXAMPLES)]
    Healthcheck(CliRequest<healthcheck::HealthcheckArgs>),
}

impl Command {
    fn reach(&self) -> &Reach {
        match self {
            Self::Ls(asked) => &asked.reach,
            Self::Get(asked) => &asked.reach,
            Self::History(asked) => &asked.reach,
            Self::Watch(asked) => &asked.reach,
            Self::Config(command) => command.reach(),
            Self::Override(command) => command.reach(),
            Self::Reset(asked) | Self::Forget(asked) | Self::Probe(asked) => &asked.reach,
            Self::Allow(asked) => &asked.reach,
            Self::Record(asked) => &asked.reach,
            Self::Run(asked) => &asked.reach,
            Self::Healthcheck(asked) => &asked.reach,
        }
    }
}

/// Asks, writes the answer to `out` and everything else to `err`, and says with which code to end.
pub fn run(command: &Command, around: &Surroundings, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let reach = command.reach();
    let mut screen = Screen::new(out, err, around, reach.color, reach.json);
    if reach.wide {
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
        match ask(command, around, &mut screen).await {
            Err(failure) => Err(connect::diagnose(failure).await),
            ended => ended,
        }
    });
    // A name that is still being looked up must not hold us back.
    runtime.shutdown_background();
    let flushed = ended.and_then(|ended| {
        screen.out.flush()?;
        Ok(ended)
    });
    match flushed {
        Ok(ended) => ended.into(),
        Err(failure) => failure.tell(command.effect(), &mut screen),
    }
}

async fn ask(command: &Command, around: &Surroundings, screen: &mut Screen<'_>) -> Result<Ended, Failure> {
    command.check()?;
    let clock = &SystemClock::start();
    let connected = async || Connection::to(command.reach(), around).await;
    match command {
        Command::Ls(asked) => ls::run(&asked.what, &connected().await?, clock, screen).await,
        Command::Get(asked) => get::run(&asked.what, &connected().await?, clock, screen).await,
        Command::History(asked) => history::run(&asked.what, &connected().await?, clock, screen).await,
        Command::Watch(asked) => watch::run(&asked.what, &connected().await?, clock, screen).await,
        Command::Config(command) => config::run(command, &connected().await?, clock, screen).await,
        Command::Override(command) => override_::run(command, &connected().await?, clock, screen).await,
        Command::Reset(asked) => override_::reset(&asked.what, &connected().await?, clock, screen).await,
        Command::Forget(asked) => forget::run(&asked.what, &connected().await?, screen).await,
        Command::Probe(asked) => override_::probe(&asked.what, &connected().await?, clock, screen).await,
        Command::Allow(asked) => allow::run(&asked.what, &connected().await?, screen).await,
        Command::Record(asked) => record::run(&asked.what, &connected().await?, screen).await,
        // It goes on without a connection.
        Command::Run(asked) => run::run(asked, around, clock, screen).await,
        Command::Healthcheck(asked) => healthcheck::run(&asked.what, &connected().await?, screen).await,
    }
}

impl Command {
    /// What clap cannot see: before anybody is asked, so that a slip is told even when nobody answers.
    fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Record(asked) => asked.what.report().map(drop),
            Self::Run(asked) => asked.what.check(),
            Self::Override(command) => command.check(),
            Self::Config(command) => command.check(),
            _ => Ok(()),
        }
    }

    /// Whether it changes anything.
    const fn effect(&self) -> Effect {
        match self {
            Self::Config(command) if !command.is_write() => Effect::Read,
            Self::Ls(_) | Self::Get(_) | Self::History(_) | Self::Watch(_) | Self::Healthcheck(_) => {
                Effect::Read
            }
            Self::Config(_)
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
