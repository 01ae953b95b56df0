//! The shells that people ask the stores with: psql and sqlite3.

use std::ffi::OsStr;
use std::process::{Command, Output};

use breakerd::store::Target;

/// What neither shell writes into a cell of ours.
const CELL: &str = "\u{1f}";
const ROW: &str = "\u{1e}";

/// What a query answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// The names of the columns; SQLite gives none when there is no row.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// Asks as a reader would; what the shell says when it fails.
pub(super) fn ask(target: &Target, query: &str) -> Result<Table, String> {
    let output = match target {
        Target::Sqlite(path) => {
            let mut sqlite3 = Command::new("sqlite3");
            sqlite3.args(["-readonly", "-bail", "-ascii", "-header"]).arg(path).arg(query);
            run(sqlite3)
        }
        Target::Postgres(url) => {
            let mut psql = psql(url);
            psql.args(["-A", "-F", CELL, "-R", ROW, "-P", "footer=off", "-c", query]);
            run(psql)
        }
    };
    if !output.status.success() || !output.stderr.is_empty() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.trim_end_matches(['\n', '\u{1e}']);
    let mut rows = text.split(ROW).filter(|row| !row.is_empty()).map(|row| row.split(CELL));
    let columns = rows.next().map_or_else(Vec::new, |row| row.map(str::to_owned).collect());
    Ok(Table { columns, rows: rows.map(|row| row.map(plain).collect()).collect() })
}

/// Runs a script of psql's with these variables.
pub(super) fn run_script(url: &str, script: impl AsRef<OsStr>, variables: &[&str]) -> Output {
    let mut psql = psql(url);
    for variable in variables {
        psql.args(["-v", variable]);
    }
    psql.arg("-f").arg(script);
    run(psql)
}

fn psql(url: &str) -> Command {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).arg(url).env("PGTZ", "UTC");
    psql
}

fn run(mut command: Command) -> Output {
    let name = command.get_program().to_owned();
    command.output().unwrap_or_else(|error| panic!("run {}: {error}", name.display()))
}

/// The same for both: a time to the second, a number without the zeros behind it.
fn plain(cell: &str) -> String {
    let is_time = cell.len() > 18 && cell.as_bytes()[4] == b'-' && cell.as_bytes()[13] == b':';
    match cell.parse::<f64>() {
        _ if is_time => cell[..19].to_owned(),
        Ok(number) => number.to_string(),
        Err(_) => cell.to_owned(),
    }
}
