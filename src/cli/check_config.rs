//! `breakerd check-config`: validates a config file, and shows what it comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use breaker::{Field, Origin, Thresholds, Value};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, json};

use super::exit_code::ended;
use crate::catalog::Catalog;
use crate::config::{self, Config, Error, Settings, Sources};
use crate::data_dir::DataDir;
use crate::security::Security;
use crate::store;
use crate::trace_export;
use crate::webhook_files::WebhookFiles;

pub(super) const CHECK_CONFIG_EXAMPLES: &str = "Examples:
  breakerd check-config breakerd.toml
  breakerd check-config breakerd.toml --json | jq .services.database";

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

impl CheckConfigArgs {
    /// What to print.
    pub fn show(&self) -> Show {
        if self.json { Show::Json } else { Show::Table }
    }
}

/// What `check-config` prints of a valid file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A line a service, with what differs from the built-in thresholds.
    Table,
    /// Every effective threshold with its source.
    Json,
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
    let catalog = match Catalog::new(&config.declaration, 0, &BTreeMap::new()) {
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

/// The most services that the table lists: more is for a program to read.
const TABLE_ROWS_MAX: usize = 100;

fn write_table(path: &Path, config: &Config, catalog: &Catalog, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} is valid", path.display())?;
    if !config.declaration.enabled {
        writeln!(out, "breakers are disabled: all calls are allowed")?;
    }
    let built_in = Catalog::default().defaults();
    let differing = |thresholds: &Thresholds| {
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
    let of = |thresholds: &Thresholds, origins: &BTreeMap<Field, Origin>| {
        let fields: Map<_, _> = Field::ALL
            .iter()
            .map(|field| {
                let origin = origins.get(field).copied().unwrap_or(Origin::BuiltIn);
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
