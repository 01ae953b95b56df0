//! `config set` and `config unset`: what was before, what is after.

use breaker::{Field, Value};
use breakerd_api::thresholds;
use breakerd_api::v1::{ServiceConfig, Thresholds, UpdateConfigRequest};
use clap::Args;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::screen::Screen;
use super::table::{Cell, Table};
use super::thresholds::field_of;
use super::{service, words};
use breakerd_common::assignment;

pub(super) const SET_EXAMPLES: &str = "Examples:
  breakerd config set database timeout_seconds=90 --reason 'slow failover'
      names and values as in the config file
  breakerd config set search failure_rate_threshold=50 \\
      ignore_error_classes=Cancelled,NotFound --reason r --dry-run
      show the effective result without a change
  breakerd config set database failure_threshold=3 --etag 5f1c --reason r
      fail if the configuration changed since `config get` showed this etag";

pub(super) const UNSET_EXAMPLES: &str = "Examples:
  breakerd config unset database timeout_seconds --reason 'quick failover'
      one value
  breakerd config unset database
      all thresholds set through the API for a service";

#[derive(Debug, Args)]
pub struct SetConfigArgs {
    /// Service.
    // Read later, as all that a person types here.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Threshold to set, such as `timeout_seconds=90`.
    // Parsed later, so that all errors are reported at once: clap stops at the first.
    #[arg(value_name = "FIELD=VALUE", required = true)]
    fields: Vec<String>,
    /// Reason, shown in `config log`.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Create the service if it does not exist. Default: fail if it is not found.
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    how: WriteOptions,
}

#[derive(Debug, Args)]
pub struct UnsetConfigArgs {
    /// Service.
    // Read later, as all that a person types here.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Threshold to unset. Default: all that were set through the API.
    #[arg(value_name = "FIELD")]
    fields: Vec<String>,
    /// Reason, shown in `config log`.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    how: WriteOptions,
}

impl SetConfigArgs {
    /// What to set, each field once.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(super) fn assignments(&self) -> Result<Vec<(Field, Value)>, Failure> {
        let name = |text: &str| text.split_once('=').map_or(text, |(name, _)| name).to_owned();
        let fields =
            parse_unique(&self.fields, name, |text| assignment::assignment(text).map(|set| (set.0, set)));
        validated(&self.service, Some(&self.reason), fields)
    }
}

impl UnsetConfigArgs {
    /// What to unset.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(super) fn fields(&self) -> Result<Vec<Field>, Failure> {
        let fields = parse_unique(&self.fields, str::to_owned, |text| {
            assignment::field(text).map(|field| (field, field))
        });
        validated(&self.service, self.reason.as_deref(), fields)
    }
}

/// Parses each of `texts`; on failure, one error for each that is invalid or a duplicate.
fn parse_unique<T>(
    texts: &[String],
    name: impl Fn(&str) -> String,
    read: impl Fn(&str) -> Result<(Field, T), String>,
) -> Result<Vec<T>, ArgumentErrors> {
    let (mut found, mut named, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for text in texts {
        match read(text) {
            Ok((field, _)) if named.contains(&field) => {
                wrong.push((name(text), format!("{field}: duplicate field")));
            }
            Ok((field, value)) => {
                named.push(field);
                found.push(value);
            }
            Err(problem) => wrong.push((name(text), problem)),
        }
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong) }
}

/// Arguments that are wrong, each with its name and what is wrong.
type ArgumentErrors = Vec<(String, String)>;

/// The fields, if the other arguments are valid too; else all errors, in the order of the help.
fn validated<T>(
    service: &str,
    reason: Option<&str>,
    fields: Result<Vec<T>, ArgumentErrors>,
) -> Result<Vec<T>, Failure> {
    let mut wrong = Vec::new();
    if let Err(problem) = words::service(service) {
        wrong.push(("SERVICE".to_owned(), format!("SERVICE: {problem}")));
    }
    let (fields, others) = fields.map_or_else(|others| (Vec::new(), others), |fields| (fields, Vec::new()));
    wrong.extend(others);
    if let Some(Err(problem)) = reason.map(words::reason) {
        wrong.push(("--reason".to_owned(), format!("--reason: {problem}")));
    }
    if wrong.is_empty() { Ok(fields) } else { Err(Failure::Arguments(wrong)) }
}

/// Preconditions of a write, and whether it is a dry run.
#[derive(Debug, Args)]
struct WriteOptions {
    /// Fail if the configuration changed since this etag was read.
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
    /// Show the effective result, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn set(
    args: &SetConfigArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut set = Thresholds::default();
    let mut paths = Vec::new();
    for (field, value) in args.assignments()? {
        thresholds::set(&mut set, field, &value);
        paths.push(thresholds::name(field).to_owned());
    }
    let request = UpdateConfigRequest {
        service: args.service.clone(),
        thresholds: Some(set),
        update_mask: Some(prost_types::FieldMask { paths }),
        etag: args.how.etag.clone(),
        validate_only: args.how.dry_run,
        request_id: String::new(),
        reason: args.reason.clone(),
        must_exist: !args.create,
    };
    update(Action::Set, request, connection, screen).await
}

pub(super) async fn unset(
    args: &UnsetConfigArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut paths: Vec<_> =
        args.fields()?.into_iter().map(|field| thresholds::name(field).to_owned()).collect();
    if paths.is_empty() {
        // As DeleteConfig, which takes a name that is not known.
        paths.push("*".to_owned());
    }
    let request = UpdateConfigRequest {
        service: args.service.clone(),
        // Named by the mask and absent here: unset.
        thresholds: Some(Thresholds::default()),
        update_mask: Some(prost_types::FieldMask { paths }),
        etag: args.how.etag.clone(),
        validate_only: args.how.dry_run,
        request_id: String::new(),
        reason: args.reason.clone().unwrap_or_default(),
        must_exist: true,
    };
    update(Action::Unset, request, connection, screen).await
}

async fn update(
    action: Action,
    request: UpdateConfigRequest,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let dry_run = request.validate_only;
    // Only to be shown beside what will be.
    let before = service::config(&request.service, false, connection).await?;
    let mut configs = connection.configs();
    let response = connection.call(request, async |request| configs.update_config(request).await).await?;
    if screen.object("UpdateConfigResponse", &response)? {
        return Ok(Completion::Done);
    }
    let after = response.config.ok_or(Failure::Incomplete("config"))?;
    show(action, &before, &after, response.changed, dry_run, screen)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Set,
    Unset,
}

fn show(
    action: Action,
    before: &ServiceConfig,
    after: &ServiceConfig,
    changed: bool,
    dry_run: bool,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    if !changed {
        let said = if action == Action::Unset { "nothing to unset" } else { "unchanged" };
        writeln!(screen.out, "{}: {said}", after.service)?;
        return Ok(Completion::Done);
    }
    let said = if dry_run {
        "dry run, would change".to_owned()
    } else {
        format!("changed, revision {}", after.revision)
    };
    writeln!(screen.out, "{}: {said}", after.service)?;
    let mut table = Table::default();
    for (field, before, after) in differences(before, after) {
        table.row(vec![
            Cell::from(format!("  {field}")),
            Cell::from(before),
            Cell::from("->"),
            Cell::from(after),
        ]);
    }
    table.write(screen)?;
    for warning in &after.warnings {
        screen.note(&format!("warning: {warning}"));
    }
    Ok(Completion::Done)
}

/// The fields whose value or source changed: before and after, as `1m (file)`.
pub(super) fn differences(before: &ServiceConfig, after: &ServiceConfig) -> Vec<(Field, String, String)> {
    let text_of = |config: &ServiceConfig, field| {
        let (value, layer) = field_of(config, field);
        format!("{value} ({layer})")
    };
    Field::ALL
        .iter()
        .map(|field| (*field, text_of(before, *field), text_of(after, *field)))
        .filter(|(_, before, after)| before != after)
        .collect()
}
