//! The command line.
//!
//! Flags are read as text here and parsed by the table of settings, like variables and the file, so that
//! `--grpc-listen` has the same valid values as `BREAKERD_GRPC_LISTEN`; their help comes from the same table.
//! Exit codes: 0, done; 1, failed; 2, usage error; the client commands (`ctl/`) have further ones.

mod check_config;
mod exit_code;
mod token;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use breakerd_ctl as ctl;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::check_config::CHECK_CONFIG_EXAMPLES;
pub use self::check_config::{CheckConfigArgs, Show, check_config};
use self::exit_code::ended;
pub use self::exit_code::report_errors;
pub use self::token::{NewTokenArgs, TokenCommand, token};
use crate::config::{SETTINGS, Sources};
use crate::version::VERSION_AND_COMMIT;

const EXAMPLES: &str = "Examples:
  breakerd serve
      use SQLite in data/, and breakerd.toml if it exists
  breakerd serve --config /etc/breakerd/breakerd.toml --http-listen 0.0.0.0:8080
      use another config file and address
  DATABASE_URL=postgres://breakerd@db/breakerd breakerd serve
      use Postgres
  breakerd check-config breakerd.toml
      validate a config file
  breakerd ls --address breakerd.internal:50051
      list breakers";

const SERVE_EXAMPLES: &str = "Every setting has an environment variable, see docs/configuration.md. Flags
override environment variables, which override the config file.

Examples:
  breakerd serve --config /etc/breakerd/breakerd.toml --log-level debug
  BREAKERD_GRPC_LISTEN=0.0.0.0:50051 breakerd serve";

const COMPLETION_EXAMPLES: &str = "Examples:
  source <(breakerd completion bash)
      for this bash
  breakerd completion zsh > ~/.zfunc/_breakerd
      for every zsh that has ~/.zfunc in its fpath
  breakerd completion fish > ~/.config/fish/completions/breakerd.fish
      for every fish";

const CONFIG_HELP: &str = "Path to the config file. If set, the file must exist. [env: BREAKERD_CONFIG] \
                           [default: breakerd.toml, if it exists]";

/// Central circuit breaker service.
#[derive(Debug, Parser)]
#[command(name = "breakerd", version = VERSION_AND_COMMIT, after_help = format!("{EXAMPLES}\n\n{}", ctl::EXIT_CODES))]
#[command(arg_required_else_help = true)]
#[command(propagate_version = true, subcommand_required = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Validate a config file and print the effective thresholds.
    #[command(after_help = CHECK_CONFIG_EXAMPLES)]
    CheckConfig(CheckConfigArgs),
    /// Create access tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Generate a shell completion script.
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion(CompletionArgs),
    /// Ask a breakerd.
    #[command(flatten)]
    Ask(Box<ctl::Command>),
}

/// The flags of `serve`. Their texts are parsed when the configuration is loaded.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// The settings file.
    #[arg(long, value_name = "FILE", help = CONFIG_HELP)]
    pub config: Option<PathBuf>,
    /// `grpc.listen`
    #[arg(long, value_name = "ADDRESS")]
    pub grpc_listen: Option<String>,
    /// `http.listen`
    #[arg(long, value_name = "ADDRESS")]
    pub http_listen: Option<String>,
    /// `store.url`
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// `data_dir`
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<String>,
    /// `log.level`
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// `log.format`
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// The arguments of `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

impl Cli {
    /// The command line of this process. Prints help or a usage error, and exits (0 or 2), where clap does.
    pub fn of_process() -> Self {
        let matches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// The command line's definition, its flags described by the table of settings.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommand("serve", |serve| {
        SETTINGS.iter().fold(serve, |serve, setting| match setting.flag {
            Some(flag) => serve.mut_arg(flag.replace('-', "_"), |arg| {
                arg.help(format!(
                    "{} [env: {}] [default: {}]",
                    setting.doc().replace('`', ""),
                    setting.variable,
                    setting.default_text().replace('`', "")
                ))
            }),
            None => serve,
        })
    })
}

impl ServeArgs {
    /// The flags, over the variables of this process.
    pub fn sources(self) -> Sources {
        self.apply_to(Sources::of_process())
    }

    /// The flags, over what `sources` has.
    pub fn apply_to(self, mut sources: Sources) -> Sources {
        let Self { config, grpc_listen, http_listen, database_url, data_dir, log_level, log_format } = self;
        if let Some(file) = config {
            sources = sources.with_file(file);
        }
        for (flag, text) in [
            ("grpc-listen", grpc_listen),
            ("http-listen", http_listen),
            ("database-url", database_url),
            ("data-dir", data_dir),
            ("log-level", log_level),
            ("log-format", log_format),
        ] {
            if let Some(text) = text {
                sources = sources.with_flag(flag, text);
            }
        }
        sources
    }
}

/// Prints what makes `shell` complete the commands.
pub fn completion(shell: clap_complete::Shell, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    // Into memory first: clap_complete panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "breakerd", &mut script);
    ended(out.write_all(&script).and_then(|()| out.flush()), err)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn examples_can_be_pasted_from_a_terminal_of_80_columns() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                // clap breaks longer ones, in the middle of a command.
                assert!(line.chars().count() <= 80, "{} --help: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }

    #[test]
    fn every_flag_of_serve_is_a_setting_and_reaches_it() {
        let serve = command().find_subcommand("serve").unwrap().clone();
        let flags: Vec<_> = serve
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .filter(|flag| !["config", "help", "version"].contains(flag))
            .map(str::to_owned)
            .collect();
        let settings: Vec<_> = SETTINGS.iter().filter_map(|setting| setting.flag).collect();
        assert_eq!(flags.len(), settings.len());
        for flag in flags {
            assert!(settings.contains(&&*flag), "{flag} is no setting");
            // An empty text is wrong for every one of them but the database's, which it leaves out.
            let wrong = if flag == "database-url" { "mysql://" } else { "" };
            let cli = Cli::try_parse_from(["breakerd", "serve", &format!("--{flag}={wrong}")]).unwrap();
            let Command::Serve(args) = cli.command else { panic!("not serve") };
            let errors = config::parse("", Path::new("x.toml"), &args.apply_to(Sources::none())).unwrap_err();
            assert!(errors[0].to_string().starts_with(&format!("--{flag}: invalid value ")), "{}", errors[0]);
            assert!(errors[0].is_usage());
        }
    }

    #[test]
    fn the_help_of_a_flag_says_its_variable_and_default() {
        let help = command().find_subcommand_mut("serve").unwrap().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("[env: BREAKERD_GRPC_LISTEN] [default: 127.0.0.1:50051]"), "{help}");
        assert!(help.contains("[env: DATABASE_URL] [default: none: SQLite, in data_dir]"), "{help}");
        assert!(help.contains("--config <FILE>"), "{help}");
    }

    #[test]
    fn no_command_is_a_usage_error() {
        let error = Cli::try_parse_from(["breakerd"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("check-config"));
        assert_eq!(Cli::try_parse_from(["breakerd", "--version"]).unwrap_err().exit_code(), 0);
        assert_eq!(Cli::try_parse_from(["breakerd", "serve", "--nonsense"]).unwrap_err().exit_code(), 2);
    }
}
