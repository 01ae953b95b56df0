//! `keys`: lists the keys that permits are sealed with, and adds one. The keys themselves are never shown.

use breaker::Time;
use breakerd_api::v1::{ListPermitKeysRequest, ListPermitKeysResponse, PermitKey, RotatePermitKeyRequest};
use clap::{Args, Subcommand};

use super::connect::{CliRequest, CommonOptions, Connection};
use super::error::{Completion, Failure};
use super::screen::Screen;
use super::table::{Cell, Narrow, Table};
use super::{times, words};
use breakerd_common::clock::Clock;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd keys
      the keys by number, how old each is, and which one seals permits
  breakerd keys rotate --reason 'a backup was stolen'
      add a key; it seals permits as soon as every live replica has it";

const ROTATE_EXAMPLES: &str = "Examples:
  breakerd keys rotate --reason 'a backup was stolen'";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct KeysCommand {
    #[command(flatten)]
    list: CliRequest<ListArgs>,
    #[command(subcommand)]
    action: Option<KeysAction>,
}

#[derive(Debug, Subcommand)]
enum KeysAction {
    /// Add a key. Permits sealed with earlier keys stay valid for 24 hours.
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate(CliRequest<RotateArgs>),
}

#[derive(Debug, Args)]
struct ListArgs {}

#[derive(Debug, Args)]
struct RotateArgs {
    /// Reason, shown in the audit.
    #[arg(long, value_name = "TEXT", value_parser = words::reason)]
    reason: Option<String>,
}

impl KeysCommand {
    pub(super) fn options(&self) -> &CommonOptions {
        match &self.action {
            None => &self.list.options,
            Some(KeysAction::Rotate(request)) => &request.options,
        }
    }

    /// Whether it changes anything.
    pub(super) const fn is_write(&self) -> bool {
        self.action.is_some()
    }
}

pub(super) async fn run(
    command: &KeysCommand,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    match &command.action {
        None => list(connection, clock, screen).await,
        Some(KeysAction::Rotate(request)) => rotate(&request.args, connection, screen).await,
    }
}

async fn list(
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut operations = connection.operations();
    let request = ListPermitKeysRequest {};
    let answer = connection.call(request, async |request| operations.list_permit_keys(request).await).await?;
    let ListPermitKeysResponse { keys } = &answer;
    let mut rows = Table::new(&[("KEY", Narrow::Keep), ("AGE", Narrow::Keep), ("STATUS", Narrow::Keep)]);
    for key in keys {
        if !screen.line("PermitKey", key)? {
            rows.row(row(key, clock.wall()));
        }
    }
    if !rows.is_empty() {
        rows.write(screen)?;
    }
    Ok(Completion::Done)
}

fn row(key: &PermitKey, now: Time) -> Vec<Cell> {
    let age = key.created_at.as_ref().map_or_else(String::new, |created| times::age(created, now));
    let status = match (key.sealing, &key.seals_since) {
        (true, _) => "sealing",
        (false, Some(_)) => "accepted",
        (false, None) => "waiting for replicas",
    };
    vec![key.number.to_string().into(), age.into(), status.into()]
}

async fn rotate(
    args: &RotateArgs,
    connection: &Connection,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut operations = connection.operations();
    let request = RotatePermitKeyRequest { reason: args.reason.clone().unwrap_or_default() };
    let response =
        connection.call(request, async |request| operations.rotate_permit_key(request).await).await?;
    if screen.object("RotatePermitKeyResponse", &response)? {
        return Ok(Completion::Done);
    }
    let number = response.number;
    match (response.changed, response.sealing) {
        (true, true) => writeln!(screen.out, "key {number} added: it seals permits")?,
        (true, false) => {
            writeln!(
                screen.out,
                "key {number} added: it seals permits as soon as every live replica has it"
            )?;
        }
        (false, _) => {
            writeln!(screen.out, "key {number} was added before, and waits for replicas: no key added")?;
        }
    }
    Ok(Completion::Done)
}
