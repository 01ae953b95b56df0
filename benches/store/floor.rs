//! What a store can do at the most: rows of the same size as those of a transition, written as fast as its database takes
//! them, with nothing else around.
//!
//! A row of the history goes into a table without an index or a constraint. The row of the breaker has to be found again, so its
//! table has a key: its rows are inserted once, and changed after that. A transaction a batch, as durable as the store's.

use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Arguments, AssertSqlSafe, Connection, PgConnection, Sqlite, SqliteConnection};

use super::{BATCH, BREAKERS, Result, per_second};

/// Texts of a row of the history that are set; two more are NULL.
const TEXTS: [&str; 9] = [
    "bench",
    "0000000000000001",
    "service-17",
    "12345",
    "CLOSED",
    "OPEN",
    "CONSECUTIVE_FAILURES",
    "Timeout",
    "web-1",
];
/// Numbers of a row of the history that are set; three more are NULL. Times are as wide as numbers.
const NUMBERS: i64 = 20;
const NULL_NUMBERS: i64 = 3;

/// Numbers of a row of a breaker that are set; eight more are NULL.
const STATE_NUMBERS: i64 = 8;
/// JSON of a row of a breaker: the outage, and how it was entered.
const STATE_TEXTS: [&str; 3] = [
    "OPEN",
    r#"{"epoch":1,"opened_at_us":1735689600000000,"reason":"CONSECUTIVE_FAILURES","calls":20,"failures":7,"error_class":"Timeout","caller":"web-1"}"#,
    r#"{"from":"CLOSED","reason":"CONSECUTIVE_FAILURES","consecutive_failures":5,"calls":20,"failures":7}"#,
];

/// Rows a second.
pub(crate) struct Floor {
    /// Rows of the history.
    pub(crate) history: f64,
    /// New rows of breakers.
    pub(crate) new_states: f64,
    /// Rows of breakers that change.
    pub(crate) changed_states: f64,
}

impl Floor {
    /// Transitions a second that are a row of the history and the row of a breaker, one after the other, and no more.
    pub(crate) fn transitions(&self, is_new: bool) -> f64 {
        let states = if is_new { self.new_states } else { self.changed_states };
        1.0 / (1.0 / self.history + 1.0 / states)
    }
}

fn names(letter: char, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{letter}{n}")).collect()
}

fn history_columns() -> (Vec<String>, Vec<String>) {
    let numbers = usize::try_from(NUMBERS + NULL_NUMBERS).unwrap_or_default();
    (names('t', TEXTS.len() + 2), names('n', numbers))
}

fn state_columns() -> Vec<String> {
    let mut columns = vec!["service".to_owned(), "name".to_owned()];
    columns.extend(names('t', STATE_TEXTS.len()));
    columns.extend(names('n', 16));
    columns
}

fn key(n: usize) -> (String, String) {
    (format!("service-{}", n % 50), n.to_string())
}

fn number(n: usize) -> i64 {
    1_735_689_600_000_000 + i64::try_from(n).unwrap_or_default()
}

/// The rows of a multi-row `INSERT`, as the store has them in one statement.
const SQLITE_ROWS: usize = 125;

pub(crate) async fn sqlite(path: &std::path::Path) -> Result<Floor> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("cache_size", "-32768")
        .pragma("wal_autocheckpoint", "8192");
    let mut connection = <SqliteConnection as Connection>::connect_with(&options).await?;
    let (texts, numbers) = history_columns();
    let history = [texts.clone(), numbers.clone()].concat();
    let declared = |texts: &[String], numbers: &[String]| {
        [texts.join(" TEXT, "), numbers.join(" INTEGER, ")].join(" TEXT, ") + " INTEGER"
    };
    let state = state_columns();
    let (state_texts, state_numbers) = state.split_at(2 + STATE_TEXTS.len());
    let make = format!(
        "CREATE TABLE history ({}) STRICT; CREATE TABLE state ({}, PRIMARY KEY (service, name)) STRICT",
        declared(&texts, &numbers),
        declared(state_texts, state_numbers)
    );
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await?;

    let insert = |table: &str, columns: &[String]| {
        let row = format!("({})", vec!["?"; columns.len()].join(", "));
        format!("INSERT INTO {table} ({}) VALUES {}", columns.join(", "), vec![row; SQLITE_ROWS].join(", "))
    };
    let statement = insert("history", &history);
    let history = sqlite_rows(&mut connection, &statement, |n, arguments| {
        for text in TEXTS {
            add(arguments, text)?;
        }
        add(arguments, None::<&str>)?;
        add(arguments, None::<&str>)?;
        for _ in 0..NUMBERS {
            add(arguments, number(n))?;
        }
        for _ in 0..NULL_NUMBERS {
            add(arguments, None::<i64>)?;
        }
        Ok(())
    })
    .await?;
    let changes: Vec<_> = state[2..].iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let statement = format!(
        "{} ON CONFLICT (service, name) DO UPDATE SET {}",
        insert("state", &state),
        changes.join(", ")
    );
    let mut states = Vec::new();
    for _ in 0..2 {
        let rate = sqlite_rows(&mut connection, &statement, |n, arguments| {
            let (service, name) = key(n);
            add(arguments, service)?;
            add(arguments, name)?;
            for text in STATE_TEXTS {
                add(arguments, text)?;
            }
            for _ in 0..STATE_NUMBERS {
                add(arguments, number(n))?;
            }
            for _ in 0..8 {
                add(arguments, None::<i64>)?;
            }
            Ok(())
        })
        .await?;
        states.push(rate);
    }
    connection.close().await?;
    Ok(Floor { history, new_states: states[0], changed_states: states[1] })
}

fn add<'q, T: sqlx::Encode<'q, Sqlite> + sqlx::Type<Sqlite>>(
    arguments: &mut SqliteArguments,
    value: T,
) -> Result<()> {
    arguments.add(value)
}

/// The values are made before the time is taken: what the client does is no part of the floor.
async fn sqlite_rows(
    connection: &mut SqliteConnection,
    statement: &str,
    fill: impl Fn(usize, &mut SqliteArguments) -> Result<()>,
) -> Result<f64> {
    let mut took = Duration::ZERO;
    for batch in 0..BREAKERS / BATCH {
        let mut statements = Vec::new();
        for part in 0..BATCH / SQLITE_ROWS {
            let mut arguments = SqliteArguments::default();
            let first = batch * BATCH + part * SQLITE_ROWS;
            (first..first + SQLITE_ROWS).try_for_each(|n| fill(n, &mut arguments))?;
            statements.push(sqlx::query_with(AssertSqlSafe(statement.to_owned()), arguments));
        }
        let begun_at = Instant::now();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        for query in statements {
            query.execute(&mut *connection).await?;
        }
        sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
        took += begun_at.elapsed();
    }
    Ok(per_second(BREAKERS, took))
}

pub(crate) async fn postgres(url: &str) -> Result<Floor> {
    let mut connection = PgConnection::connect(url).await?;
    let (texts, numbers) = history_columns();
    let columns = [texts.clone(), numbers.clone()].concat().join(", ");
    let declared = |texts: &[String], numbers: &[String]| {
        [texts.join(" text, "), numbers.join(" bigint, ")].join(" text, ") + " bigint"
    };
    let state = state_columns();
    let (state_texts, state_numbers) = state.split_at(2 + STATE_TEXTS.len());
    let make = format!(
        "CREATE TABLE floor_history ({});
         CREATE TABLE floor_state ({}, PRIMARY KEY (service, name)) WITH (fillfactor = 50)",
        declared(&texts, &numbers),
        declared(state_texts, state_numbers)
    );
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await?;

    let copied = copy(
        &mut connection,
        &format!("COPY floor_history ({columns}) FROM STDIN (FORMAT binary)"),
        |n, rows| {
            rows.begin(34);
            for text in TEXTS {
                rows.text(text);
            }
            (0..2).for_each(|_| rows.null());
            (0..NUMBERS).for_each(|_| rows.number(number(n)));
            (0..NULL_NUMBERS).for_each(|_| rows.null());
        },
    )
    .await?;
    let inserted = unnest_history(&mut connection, &columns).await?;
    println!(
        "  floor, history by COPY {copied:8.0} rows/s, by INSERT ... SELECT unnest {inserted:8.0} rows/s"
    );

    let list = state.join(", ");
    let new_states =
        copy(&mut connection, &format!("COPY floor_state ({list}) FROM STDIN (FORMAT binary)"), |n, rows| {
            let (service, name) = key(n);
            rows.begin(21);
            rows.text(&service);
            rows.text(&name);
            for text in STATE_TEXTS {
                rows.text(text);
            }
            (0..STATE_NUMBERS).for_each(|_| rows.number(number(n)));
            (0..8).for_each(|_| rows.null());
        })
        .await?;
    let changed_states = update_states(&mut connection, &state).await?;
    sqlx::raw_sql("DROP TABLE floor_history, floor_state").execute(&mut connection).await?;
    connection.close().await?;
    Ok(Floor { history: copied.max(inserted), new_states, changed_states })
}

/// Rows in the binary form of `COPY`.
struct Rows(Vec<u8>);

impl Rows {
    fn begin(&mut self, columns: i16) {
        self.0.extend_from_slice(&columns.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&i32::try_from(text.len()).unwrap_or_default().to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.0.extend_from_slice(&8_i32.to_be_bytes());
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn null(&mut self) {
        self.0.extend_from_slice(&(-1_i32).to_be_bytes());
    }
}

async fn copy(
    connection: &mut PgConnection,
    statement: &str,
    fill: impl Fn(usize, &mut Rows),
) -> Result<f64> {
    let mut took = Duration::ZERO;
    for batch in 0..BREAKERS / BATCH {
        let mut rows = Rows(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec());
        (batch * BATCH..(batch + 1) * BATCH).for_each(|n| fill(n, &mut rows));
        rows.0.extend_from_slice(&(-1_i16).to_be_bytes());
        let begun_at = Instant::now();
        let mut copying = connection.copy_in_raw(statement).await?;
        copying.send(rows.0).await?;
        copying.finish().await?;
        took += begun_at.elapsed();
    }
    Ok(per_second(BREAKERS, took))
}

async fn unnest_history(connection: &mut PgConnection, columns: &str) -> Result<f64> {
    let places: Vec<_> = (1..=34)
        .map(|n| if n <= TEXTS.len() + 2 { format!("${n}::text[]") } else { format!("${n}::bigint[]") })
        .collect();
    let statement =
        format!("INSERT INTO floor_history ({columns}) SELECT * FROM unnest({})", places.join(", "));
    let mut took = Duration::ZERO;
    for batch in 0..BREAKERS / BATCH {
        let mut query = sqlx::query(AssertSqlSafe(statement.clone()));
        for text in TEXTS {
            query = query.bind(vec![text; BATCH]);
        }
        for _ in 0..2 {
            query = query.bind(vec![None::<&str>; BATCH]);
        }
        for _ in 0..NUMBERS {
            query = query.bind(vec![number(batch); BATCH]);
        }
        for _ in 0..NULL_NUMBERS {
            query = query.bind(vec![None::<i64>; BATCH]);
        }
        let begun_at = Instant::now();
        query.execute(&mut *connection).await?;
        took += begun_at.elapsed();
    }
    Ok(per_second(BREAKERS, took))
}

async fn update_states(connection: &mut PgConnection, columns: &[String]) -> Result<f64> {
    let texts = 2 + STATE_TEXTS.len();
    let places: Vec<_> = (1..=columns.len())
        .map(|n| if n <= texts { format!("${n}::text[]") } else { format!("${n}::bigint[]") })
        .collect();
    let changes: Vec<_> = columns[2..].iter().map(|name| format!("{name} = row.{name}")).collect();
    let statement = format!(
        "UPDATE floor_state SET {} FROM unnest({}) AS row ({})
         WHERE floor_state.service = row.service AND floor_state.name = row.name",
        changes.join(", "),
        places.join(", "),
        columns.join(", ")
    );
    let mut took = Duration::ZERO;
    for batch in 0..BREAKERS / BATCH {
        let (services, names): (Vec<_>, Vec<_>) = (batch * BATCH..(batch + 1) * BATCH).map(key).unzip();
        let mut query = sqlx::query(AssertSqlSafe(statement.clone())).bind(services).bind(names);
        for text in STATE_TEXTS {
            query = query.bind(vec![text; BATCH]);
        }
        for _ in 0..STATE_NUMBERS {
            query = query.bind(vec![number(batch); BATCH]);
        }
        for _ in 0..8 {
            query = query.bind(vec![None::<i64>; BATCH]);
        }
        let begun_at = Instant::now();
        query.execute(&mut *connection).await?;
        took += begun_at.elapsed();
    }
    Ok(per_second(BREAKERS, took))
}
