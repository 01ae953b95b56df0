//! What breakerd's store knows of the story, by SQL.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{Column, ConnectOptions, Row, SqliteConnection};

/// As docs/sql.md has it, in a form that fits a terminal.
pub(crate) const HISTORY: &str = "\
SELECT substr(at, 12, 12) AS at, name, from_state || ' -> ' || to_state AS change, reason, error_class, caller,
       round(lasted_s, 1) AS lasted_s, rejected_calls AS rejected
FROM history ORDER BY revision, number";

/// Each outage from its first opening to its end.
pub(crate) const OUTAGES: &str = "\
SELECT service, name, substr(opened_at, 12, 12) AS opened_at, round(seconds, 1) AS seconds, reason, error_class,
       reopened, probes, rejected_calls AS rejected, ended_by
FROM episodes ORDER BY opened_at";

/// The store, to be read only.
pub(crate) async fn open(database: &Path) -> sqlx::Result<SqliteConnection> {
    SqliteConnectOptions::new().filename(database).read_only(true).connect().await
}

/// The rows of a query as texts, with the names of the columns first.
pub(crate) async fn rows(
    store: &mut SqliteConnection,
    query: &'static str,
) -> sqlx::Result<Vec<Vec<String>>> {
    let rows: Vec<SqliteRow> = sqlx::query(query).fetch_all(store).await?;
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let mut table = vec![first.columns().iter().map(|column| column.name().to_owned()).collect()];
    for row in &rows {
        // Unchecked: SQLite writes its numbers as texts by itself.
        let cells = (0..row.len()).map(|column| row.try_get_unchecked::<Option<String>, _>(column));
        let cells = cells.map(|cell| Ok(cell?.unwrap_or_else(|| "-".to_owned())));
        table.push(cells.collect::<sqlx::Result<_>>()?);
    }
    Ok(table)
}
