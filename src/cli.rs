//! The command line.
//!
//! Flags are read as text here and parsed by the table of settings, like variables and the file, so that
//! `--grpc-listen` has the same valid values as `BREAKERD_GRPC_LISTEN`; their help comes from the same table.
//! Exit codes: 0, done; 1, failed; 2, usage error; the client commands (`ctl/`) have further ones.

mod token;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use breaker::{Field, Value};
use breakerd_ctl as ctl;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;
use serde_json::{Map, json};

use crate::catalog::Catalog;
use crate::config::{self, Config, Error, SETTINGS, Settings, Sources};
use crate::data_dir::DataDir;
use crate::security::Security;
use crate::store;
use crate::trace_export;
use crate::version::VERSION_AND_COMMIT;
use crate::webhook_files::WebhookFiles;

pub use token::{NewTokenArgs, TokenCommand, token};

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

const CHECK_CONFIG_EXAMPLES: &str = "Examples:
  breakerd check-config breakerd.toml
  breakerd check-config breakerd.toml --json | jq .services.database";

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

/// The arguments of `check-config`.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// Path to the config file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print all effective thresholds and their sources as JSON.
    #[arg(long)]
    pub json: bool,
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

/// Writes the errors of a configuration, one a line, and returns the exit code: 2 when a flag was
/// invalid, else 1.
pub fn report_errors(errors: &[Error], err: &mut dyn Write) -> ExitCode {
    for error in errors {
        // Nothing can be reported when stderr is closed.
        let _ = writeln!(err, "{error}");
    }
    ExitCode::from(if errors.iter().any(Error::is_usage) { 2 } else { 1 })
}

/// Prints what makes `shell` complete the commands.
pub fn completion(shell: clap_complete::Shell, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    // Into memory first: clap_complete panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "breakerd", &mut script);
    ended(out.write_all(&script).and_then(|()| out.flush()), err)
}

/// What `check-config` prints of a valid file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A line a service, with what differs from the built-in thresholds.
    Table,
    /// Every effective threshold with its source.
    Json,
}

impl CheckConfigArgs {
    /// What to print.
    pub fn show(&self) -> Show {
        if self.json { Show::Json } else { Show::Table }
    }
}

/// Checks whether `serve` would start with the file at `path`, as far as possible from here: the files that it names are
/// read as `serve` reads them (tokens, TLS), and the data folder must be able to be one. No variables, no store.
///
/// Exits with 0 and the effective thresholds on `out`, or with 1 and all errors on `err`. Warnings about what is
/// valid and probably unintended are on `err`. As JSON, all of this is in one document on `out`.
pub fn check_config(path: &Path, show: Show, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let config = match config::inspect(&Sources::none().with_file(path)) {
        Ok(config) => config,
        Err(invalid) => {
            let mut problems: Vec<_> = invalid.errors.iter().map(FileProblem::from).collect();
            // Further errors, as far as the valid part shows.
            problems.extend(invalid.settings.iter().flat_map(|settings| file_problems(path, settings)));
            return report_invalid(path, &problems, show, out, err);
        }
    };
    // A declaration that was loaded merges: loading tried it.
    let catalog = match Catalog::new(&config.declaration, 0, &std::collections::BTreeMap::new()) {
        Ok(catalog) => catalog,
        Err(problems) => {
            let problems: Vec<_> = problems.iter().map(|problem| FileProblem::of(path, problem)).collect();
            return report_invalid(path, &problems, show, out, err);
        }
    };
    let problems = file_problems(path, &config.settings);
    if !problems.is_empty() {
        return report_invalid(path, &problems, show, out, err);
    }
    let written = match show {
        Show::Table => {
            for warning in catalog.warnings() {
                let _ = writeln!(err, "warning: {}: {warning}", path.display());
            }
            write_table(path, &config, &catalog, out)
        }
        Show::Json => write_json(path, &config, &catalog, out),
    };
    ended(written.and_then(|()| out.flush()), err)
}

/// An error of a file, or of one that it names.
#[derive(Debug, Serialize)]
struct FileProblem {
    /// Where and what.
    message: String,
    /// The line in the file; none: it is about all of it, or another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl FileProblem {
    fn of(path: &Path, problem: &impl fmt::Display) -> Self {
        Self { message: format!("{}: {problem}", path.display()), line: None }
    }
}

impl From<&Error> for FileProblem {
    fn from(error: &Error) -> Self {
        Self { message: error.to_string(), line: error.location.line() }
    }
}

/// Writes the errors: one a line on `err`, or all as JSON on `out`, where the result of a valid file is.
fn report_invalid(
    path: &Path,
    problems: &[FileProblem],
    show: Show,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    match show {
        Show::Table => {
            for problem in problems {
                let _ = writeln!(err, "{}", problem.message);
            }
        }
        Show::Json => {
            let document = json!({ "file": path.display().to_string(), "valid": false, "errors": problems });
            // Nothing can be reported when that fails.
            let _ = serde_json::to_writer_pretty(&mut *out, &document);
            let _ = writeln!(out).and_then(|()| out.flush());
        }
    }
    ExitCode::from(1)
}

/// The errors of the files that the settings of the file at `path` name.
fn file_problems(path: &Path, settings: &Settings) -> Vec<FileProblem> {
    let mut problems = Vec::new();
    if let Err(found) = Security::check(settings) {
        problems.extend(found.iter().map(|error| format!("{error:#}")));
    }
    if let Err(found) = trace_export::check(settings) {
        problems.extend(found.iter().map(|error| format!("{error:#}")));
    }
    if let Err(found) = WebhookFiles::check(settings) {
        problems.extend(found.iter().map(ToString::to_string));
    }
    if let Some(url_file) = &settings.store_url_file
        && let Err(problem) = store::check_url_file(url_file)
    {
        problems.push(problem);
    }
    if let Err(error) = DataDir::check(&settings.data_dir) {
        problems.push(format!("{:#}", anyhow::Error::from(error)));
    }
    problems.iter().map(|problem| FileProblem::of(path, problem)).collect()
}

/// The code to end with when an answer was written, or was not.
fn ended(result: io::Result<()>, err: &mut dyn Write) -> ExitCode {
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

/// The most services that the table lists: more is for a program to read.
const TABLE_ROWS_MAX: usize = 100;

fn write_table(path: &Path, config: &Config, catalog: &Catalog, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} is valid", path.display())?;
    if !config.declaration.enabled {
        writeln!(out, "breakers are disabled: all calls are allowed")?;
    }
    let built_in = Catalog::default().defaults();
    let differing = |thresholds: &breaker::Thresholds| {
        let fields: Vec<_> = Field::ALL
            .iter()
            .map(|field| (field, thresholds.value(*field)))
            .filter(|(field, value)| *value != built_in.value(**field))
            .map(|(field, value)| format!("{field} {}", field.show(value.as_ref())))
            .collect();
        if fields.is_empty() { "built-in defaults".to_owned() } else { fields.join(", ") }
    };
    let shown = || catalog.services().take(TABLE_ROWS_MAX);
    let width = shown().map(|service| service.len()).chain(["all others".len()]).max().unwrap_or_default();
    writeln!(out)?;
    for service in shown() {
        writeln!(out, "{service:width$}  {}", differing(&catalog.thresholds(service)))?;
    }
    writeln!(out, "{:width$}  {}", "all others", differing(&catalog.defaults()))?;
    let rest = catalog.services().len().saturating_sub(TABLE_ROWS_MAX);
    if rest > 0 {
        writeln!(out, "{rest} more services: list them with --json")?;
    }
    Ok(())
}

fn write_json(path: &Path, config: &Config, catalog: &Catalog, out: &mut dyn Write) -> io::Result<()> {
    let of = |thresholds: &breaker::Thresholds,
              origins: &std::collections::BTreeMap<Field, breaker::Origin>| {
        let fields: Map<_, _> = Field::ALL
            .iter()
            .map(|field| {
                let origin = origins.get(field).copied().unwrap_or(breaker::Origin::BuiltIn);
                let value = thresholds.value(*field).map_or(serde_json::Value::Null, |value| plain(&value));
                (field.to_string(), json!({ "value": value, "from": origin.as_str() }))
            })
            .collect();
        fields
    };
    let services: Map<_, _> = catalog
        .services()
        .map(|service| {
            (service.to_string(), of(&catalog.thresholds(service), catalog.origins(service)).into())
        })
        .collect();
    let document = json!({
        "file": path.display().to_string(),
        "valid": true,
        "enabled": catalog.enabled(),
        "generation": config.declaration.generation,
        "warnings": catalog.warnings().map(|warning| warning.to_string()).collect::<Vec<_>>(),
        "defaults": of(&catalog.defaults(), catalog.default_origins()),
        "services": services,
    });
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// A value as the file would take it: times in seconds, rates in percent.
fn plain(value: &Value) -> serde_json::Value {
    let thousandths = |number: u64| match number % 1_000 {
        0 => json!(number / 1_000),
        // Exact to the third decimal: no number that a threshold can have comes near 2^53 thousandths.
        #[expect(clippy::cast_precision_loss, reason = "thresholds are far below 2^53 thousandths")]
        _ => json!(number as f64 / 1_000.0),
    };
    match value {
        Value::Count(count) => json!(count),
        Value::Rate(number) | Value::Factor(number) => thousandths(u64::from(*number)),
        Value::Duration(duration) => thousandths(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        Value::Flag(flag) => json!(flag),
        Value::Word(word) => json!(word),
        Value::Classes(classes) => json!(classes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
