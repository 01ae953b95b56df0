//! `config get` and `config log`: the effective thresholds, and the changes that led to them.

use std::collections::{BTreeMap, BTreeSet};

use breaker::Field;
use breakerd_api::v1::{
    self, ConfigChange, ConfigSource, GetConfigRequest, ListConfigChangesRequest, ListConfigsRequest,
    ServiceConfig,
};
use clap::Args;
use serde_json::{Map, Value as Json};

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::pages::{List, PAGE};
use super::screen::{Screen, style_of};
use super::table::{Cell, Narrow, Table};
use super::times::Moment;
use super::{service, thresholds, times, words};
use breakerd_common::clock::Clock;

pub(super) const GET_EXAMPLES: &str = "Examples:
  breakerd config get
      the services that have their own configuration
  breakerd config get database
      each threshold of a service, and its source
  breakerd config get --defaults --json
      the default thresholds, as JSON";

pub(super) const LOG_EXAMPLES: &str = "Examples:
  breakerd config log
      the newest 50 changes
  breakerd config log database --since 2h
      changes of a service in the last two hours";

pub(super) const LOG: List<ConfigChange> = List {
    message: "ConfigChange",
    columns: &[
        ("TIME", Narrow::Keep),
        ("REVISION", Narrow::Drop(0)),
        ("WHAT", Narrow::Keep),
        ("OF", Narrow::Cut(32)),
        ("ACTOR", Narrow::Below),
        ("REASON", Narrow::Below),
        ("CHANGE", Narrow::Below),
    ],
    row,
    nothing: "no changes found",
};

#[derive(Debug, Args)]
pub struct GetConfigArgs {
    /// Service. Default: list the services that have their own configuration.
    #[arg(value_name = "SERVICE", value_parser = words::service)]
    service: Option<String>,
    /// Show the default thresholds.
    #[arg(long, conflicts_with = "service")]
    defaults: bool,
    /// List only services whose name starts with this prefix.
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["service", "defaults"])]
    prefix: Option<String>,
}

#[derive(Debug, Args)]
pub struct LogArgs {
    /// Only changes of this service and of the config file.
    #[arg(value_name = "SERVICE", value_parser = words::service)]
    service: Option<String>,
    /// Start: a time in UTC (2026-11-24 09:30:00) or an age (2h).
    #[arg(long, value_name = "WHEN", value_parser = times::moment)]
    since: Option<Moment>,
    /// End (exclusive): a time in UTC or an age.
    #[arg(long, value_name = "WHEN", value_parser = times::moment)]
    until: Option<Moment>,
    /// Only changes by this actor.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    actor: String,
    /// Maximum number of entries.
    #[arg(long, value_name = "COUNT", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

pub(super) async fn get(
    args: &GetConfigArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    if args.service.is_none() && !args.defaults {
        return list(args, connection, screen).await;
    }
    let mut configs = connection.configs();
    // The defaults, printed for a mistyped service, would mislead.
    let request = GetConfigRequest { service: args.service.clone().unwrap_or_default(), must_exist: true };
    let response = connection.call(request, async |request| configs.get_config(request).await).await?;
    if screen.object("GetConfigResponse", &response)? {
        return Ok(Completion::Done);
    }
    let config = response.config.ok_or(Failure::Incomplete("config"))?;
    let mut head = Table::default();
    let mut add_row = |name: &str, value: Cell| head.row(vec![Cell::from(name), value]);
    add_row("service", name_of(&config).into());
    if !config.etag.is_empty() {
        add_row("etag", config.etag.as_str().into());
    }
    if config.revision > 0 {
        let at = config.changed_at.as_ref().map_or_else(String::new, |at| format!(", {}", times::clock(at)));
        add_row("revision", format!("{}{at}", config.revision).into());
    }
    if let Some(set) = &config.r#override {
        let ends =
            set.expires_at.as_ref().map_or_else(String::new, |at| format!(", until {}", times::clock(at)));
        add_row("override", Cell::styled(words::state(set.state), style_of(set.state)));
        add_row("  by", format!("{}: {}{ends}", set.actor, set.reason).into());
    }
    head.write(screen)?;
    if !config.enabled {
        screen.note("`enabled = false` in the config file: every call is allowed, thresholds have no effect");
    }
    let is_own = |layer: &i32| {
        !matches!(ConfigSource::try_from(*layer), Ok(ConfigSource::BuiltIn | ConfigSource::FileDefaults))
    };
    if args.service.is_some() && config.r#override.is_none() && !config.sources.values().any(is_own) {
        screen.note("no thresholds set for this service: showing the defaults");
    }
    for warning in &config.warnings {
        screen.note(&format!("warning: {warning}"));
    }
    writeln!(screen.out)?;
    let mut table = Table::new(&[("FIELD", Narrow::Keep), ("VALUE", Narrow::Keep), ("FROM", Narrow::Keep)]);
    for field in Field::ALL {
        let (value, layer) = thresholds::field_of(&config, *field);
        table.row(vec![Cell::from(field.as_str()), Cell::from(value), Cell::from(layer)]);
    }
    table.write(screen)?;
    Ok(Completion::Done)
}

async fn list(
    args: &GetConfigArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut request = ListConfigsRequest {
        page_size: PAGE,
        page_token: String::new(),
        service_prefix: args.prefix.clone().unwrap_or_default(),
        ..ListConfigsRequest::default()
    };
    let mut table = Table::new(&[
        ("SERVICE", Narrow::Cut(32)),
        ("OVERRIDE", Narrow::Keep),
        ("REVISION", Narrow::Drop(0)),
        ("SET", Narrow::Below),
    ]);
    loop {
        let mut configs = connection.configs();
        let page =
            connection.call(request.clone(), async |request| configs.list_configs(request).await).await?;
        for config in &page.configs {
            if !screen.line("ServiceConfig", config)? {
                table.row(vec![
                    Cell::from(name_of(config)),
                    config.r#override.as_ref().map_or_else(
                        || Cell::from("-"),
                        |set| Cell::styled(words::state(set.state), style_of(set.state)),
                    ),
                    Cell::from(config.revision.to_string()),
                    Cell::from(what_was_set(config)),
                ]);
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if !screen.is_json() {
        if table.is_empty() {
            screen.note("no service is configured: show the defaults with `breakerd config get --defaults`");
        } else {
            table.write(screen)?;
        }
    }
    Ok(Completion::Done)
}

fn name_of(config: &ServiceConfig) -> String {
    if config.service.is_empty() { "(all others)".to_owned() } else { config.service.clone() }
}

/// What was set through the API, over the file: `timeout_seconds 90s, failure_threshold 3`.
pub(super) fn what_was_set(config: &ServiceConfig) -> String {
    let set = config.api_thresholds.clone().unwrap_or_default();
    let fields: Vec<_> = Field::ALL
        .iter()
        .filter_map(|field| {
            let value = thresholds::get(&set, *field)?;
            Some(format!("{field} {}", field.show(Some(&value))))
        })
        .collect();
    if fields.is_empty() { "nothing set".to_owned() } else { fields.join(", ") }
}

pub(super) async fn log(
    args: &LogArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let now = clock.wall();
    let mut request = ListConfigChangesRequest {
        service: args.service.clone().unwrap_or_default(),
        from_time: args.since.map(|since| since.stamp(now)),
        to_time: args.until.map(|until| until.stamp(now)),
        actor: args.actor.clone(),
        ..ListConfigChangesRequest::default()
    };
    LOG.show(args.limit, screen, async |page_size, page_token| {
        (request.page_size, request.page_token) = (page_size, page_token);
        let mut configs = connection.configs();
        let page = connection
            .call(request.clone(), async |request| configs.list_config_changes(request).await)
            .await?;
        // No changes, and an unknown service, are reported differently.
        if let Some(service) = &args.service
            && request.page_token.is_empty()
            && page.next_page_token.is_empty()
            && !page.changes.iter().any(|change| change.service == *service)
        {
            service::check_exists(service, connection).await?;
        }
        Ok((page.changes, page.next_page_token))
    })
    .await
}

fn row(change: &ConfigChange) -> Vec<Cell> {
    let of = match (&*change.service, &*change.name) {
        ("", _) => "all".to_owned(),
        (service, "") => service.to_owned(),
        (service, name) => words::breaker_name(service, name),
    };
    vec![
        Cell::time(change.changed_at.as_ref().map_or_else(|| "?".to_owned(), times::clock)),
        Cell::from(change.revision.to_string()),
        Cell::from(words::named::<v1::ChangeKind>(change.kind)),
        Cell::from(of),
        Cell::from(&*change.actor),
        Cell::from(&*change.reason),
        // The last, since what a file declares is as long as the file.
        Cell::from(difference(&change.before_json, &change.after_json)),
    ]
}

/// The fields that differ: `timeout_seconds 60 -> 90`. For a change of the config file each with its
/// service: `search.timeout_seconds 60 -> 90`.
fn difference(before: &str, after: &str) -> String {
    let fields = |text: &str| match serde_json::from_str(text) {
        Ok(Json::Object(members)) => {
            let mut fields = BTreeMap::new();
            flatten("", members, &mut fields);
            Some(fields)
        }
        _ if text.is_empty() => Some(BTreeMap::new()),
        _ => None,
    };
    let (Some(before), Some(after)) = (fields(before), fields(after)) else {
        return format!("{before} -> {after}");
    };
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changes: Vec<_> = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| format!("{name} {} -> {}", shown(name, before.get(name)), shown(name, after.get(name))))
        .collect();
    if changes.is_empty() { "-".to_owned() } else { changes.join(", ") }
}

/// Nested members, by their dotted names. Services are at the top level, as in the file.
fn flatten(above: &str, members: Map<String, Json>, fields: &mut BTreeMap<String, Json>) {
    for (name, value) in members {
        let path = match above {
            "" if name == "services" => String::new(),
            "" => name,
            above => format!("{above}.{name}"),
        };
        match value {
            Json::Object(members) if !members.is_empty() => flatten(&path, members, fields),
            Json::Object(_) if path.is_empty() => {}
            value => drop(fields.insert(path, value)),
        }
    }
}

/// A value of the audit, as `config get` shows it.
fn shown(path: &str, value: Option<&Json>) -> String {
    let name = path.rsplit_once('.').map_or(path, |(_, name)| name);
    match (value, Field::by_name(name)) {
        (None | Some(Json::Null), _) => "none".to_owned(),
        (Some(Json::Number(count)), Some(field)) if field.is_off_at_zero() && count.as_u64() == Some(0) => {
            breaker::OFF.to_owned()
        }
        (Some(Json::String(text)), _) => text.clone(),
        (Some(Json::Object(_)), _) => "no thresholds".to_owned(),
        (Some(value), _) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_what_differs() {
        let text = difference(
            "{\"timeout_seconds\":60,\"a\":1}",
            "{\"timeout_seconds\":90,\"a\":1,\"w\":\"FIXED\"}",
        );
        assert_eq!(text, "timeout_seconds 60 -> 90, w none -> FIXED");
        assert_eq!(difference("", "{\"a\":[1]}"), "a none -> [1]");
        assert_eq!(difference("", ""), "-");
        assert_eq!(difference("?", "{}"), "? -> {}");
        assert_eq!(difference("", "{\"failure_threshold\":0}"), "failure_threshold none -> off");
    }

    #[test]
    fn a_changed_file_is_told_by_the_fields_that_changed() {
        let before = "{\"enabled\":true,\"defaults\":{\"failure_threshold\":5},\"services\":{\"search\":\
                      {\"timeout_seconds\":\"2m\",\"multiplier\":2},\"mail\":{\"timeout_seconds\":\"1m\"}}}";
        let after = "{\"enabled\":false,\"defaults\":{\"failure_threshold\":5},\"services\":{\"search\":\
                     {\"timeout_seconds\":\"90s\",\"multiplier\":2},\"orders\":{}}}";
        let expected = "enabled true -> false, mail.timeout_seconds 1m -> none, orders none -> no thresholds, \
                    search.timeout_seconds 2m -> 90s";
        assert_eq!(difference(before, after), expected);
        assert_eq!(
            difference("", "{\"defaults\":{\"max_wait\":\"1h\"},\"services\":{}}"),
            "defaults.max_wait none -> 1h"
        );
    }
}
