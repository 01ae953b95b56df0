//! breakerd: parse, run, exit code.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use breakerd::cli::{self, Cli, Command, ServeArgs};
use breakerd::server::{self, Listeners, Start};
use breakerd::{config, telemetry};
use breakerd_common::clock::SystemClock;
use breakerd_common::signals;
use breakerd_ctl as ctl;

/// A batch decodes two strings a decision: with this allocator a tenth more decisions a second (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tasks that a busy thread polls before it looks which sockets have become ready; tokio's own is 61. A turn of a connection is some
/// hundred microseconds, and a call on a quiet connection is not to wait for 61 of them. Much fewer make a call that is alone on its
/// connection dearer: each look is a call of the system.
const POLLS_BETWEEN_SOCKETS: u32 = 16;

fn main() -> ExitCode {
    match Cli::of_process().command {
        Command::Serve(args) => serve(args),
        Command::CheckConfig(args) => {
            cli::check_config(&args.file, args.show(), &mut io::stdout(), &mut io::stderr())
        }
        Command::Token(command) => cli::token(&command, &mut io::stdout(), &mut io::stderr()),
        Command::Completion(args) => cli::completion(args.shell, &mut io::stdout(), &mut io::stderr()),
        Command::Ask(command) => {
            ctl::run(&command, &ctl::Environment::of_process(), &mut io::stdout(), &mut io::stderr())
        }
    }
}

fn serve(args: ServeArgs) -> ExitCode {
    let sources = args.sources();
    let config = match config::load(&sources) {
        Ok(config) => config,
        Err(errors) => return cli::report_errors(&errors, &mut io::stderr()),
    };
    match start(config, sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("breakerd: {error:#}");
            ExitCode::from(server::exit_code(&error))
        }
    }
}

fn start(config: config::Config, sources: config::Sources) -> anyhow::Result<()> {
    telemetry::start(&config.settings.log_level, config.settings.log_format).context("read log.level")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .event_interval(POLLS_BETWEEN_SOCKETS)
        .enable_all()
        .build()
        .context("start threads")?;
    let ended = runtime.block_on(async {
        for note in &config.notes {
            tracing::warn!("{note}");
        }
        let shutdown = signals::shutdown().context("listen for signals")?;
        let listeners = Listeners::bind(&config.settings).await?;
        let greet = telemetry::is_text(config.settings.log_format)
            .then(|| Box::new(io::stdout()) as Box<dyn io::Write + Send>);
        let clock = Arc::new(SystemClock::start());
        server::run(Start { config, sources: Some(sources), listeners, clock, greet }, shutdown).await
    });
    // A connection that will not end must not keep the process: everything that matters has been awaited.
    runtime.shutdown_background();
    ended
}
