//! `replicas`: lists the replicas that share the store.

use breaker::Time;
use breakerd_api::v1::{ListReplicasRequest, ListReplicasResponse, Replica};
use clap::Args;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::screen::Screen;
use super::table::{Narrow, Table};
use super::times;
use breakerd_common::clock::Clock;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd replicas
      the replicas of the store, and how far each has read it
  breakerd replicas --json | jq -r .name
      one replica per line, as JSON";

/// A replica writes each second; one that has not for so long is stopped, or has no connection.
const SILENT_SECONDS: i64 = 3;

#[derive(Debug, Args)]
pub struct ReplicasArgs {}

pub(super) async fn run(
    _: &ReplicasArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut operations = connection.operations();
    let request = ListReplicasRequest {};
    let answer = connection.call(request, async |request| operations.list_replicas(request).await).await?;
    let mut rows = table();
    for replica in &answer.replicas {
        if !screen.line("Replica", replica)? {
            rows.row(row(replica, &answer, clock.wall()));
        }
    }
    if !rows.is_empty() {
        rows.write(screen)?;
    }
    if answer.alone {
        screen.note("this replica has no connection to the store: it does not know the others");
    } else if !answer.shared {
        screen.note("this breakerd does not share its store (SQLite, or store.shared = false)");
    }
    Ok(Completion::Done)
}

pub(super) fn table() -> Table {
    Table::new(&[
        ("REPLICA", Narrow::Cut(20)),
        ("VERSION", Narrow::Drop(1)),
        ("UP", Narrow::Keep),
        ("REVISION", Narrow::Keep),
        ("WAITING", Narrow::Drop(2)),
        ("STATUS", Narrow::Keep),
    ])
}

pub(super) fn row(replica: &Replica, answer: &ListReplicasResponse, now: Time) -> Vec<super::table::Cell> {
    let up = replica.started_at.as_ref().map_or_else(String::new, |started| times::age(started, now));
    let silent = replica.silent_for.unwrap_or_default();
    let status = match (replica.responding, answer.alone) {
        (true, true) => "alone".to_owned(),
        (true, false) => "live, this one".to_owned(),
        (false, _) if silent.seconds >= SILENT_SECONDS => format!("silent for {}", times::wire_span(&silent)),
        (false, _) => "live".to_owned(),
    };
    let behind = answer.revision.saturating_sub(replica.revision);
    let revision = match behind {
        0 => replica.revision.to_string(),
        behind => format!("{} ({behind} behind)", replica.revision),
    };
    let waiting = replica.waiting_transitions.to_string();
    [replica.name.clone(), replica.version.clone(), up, revision, waiting, status]
        .into_iter()
        .map(Into::into)
        .collect()
}
