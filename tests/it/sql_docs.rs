//! docs/sql.md, pasted as it stands into the shells that it names; and what the views answer, exactly.

mod shell;
mod story;

use std::fs;
use std::time::Duration;

use breaker::{State, Time};
use breakerd::store::{Change, Target};

use crate::store_contract::change::{key, own};
use crate::store_contract::on_every_database;
use crate::support::{Bed, postgres};
use shell::{ask, run_script};

const DOCUMENT: &str = "docs/sql.md";

/// 2025-01-31 23:59:30 UTC, half a minute before a day and a month end.
const LATE: Time = Time::from_micros(1_738_367_970_000_000);

on_every_database!(
    every_query_of_the_document_answers_on_a_store_that_has_something_to_tell,
    every_query_of_the_document_runs_on_an_empty_store,
    episodes_tell_when_and_why_and_what_is_not_known,
    time_open_is_split_at_midnight_and_ends_at_a_gap,
    a_transition_stands_next_to_the_newest_change_before_it,
    the_newest_change_counts_whether_it_is_the_files_or_the_services,
    durations_are_measured_and_not_the_difference_of_two_times,
    overrides_in_force_are_those_of_breakers_and_of_services,
    an_episode_is_whole_though_the_history_of_its_opening_has_gone,
    changes_tell_who_and_why,
);

/// A query of the document.
struct Block {
    line: usize,
    /// `sql`: for both stores.
    dialect: String,
    query: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(dialect @ ("sql" | "postgresql" | "sqlite")) => {
                inside = true;
                blocks.push(Block { line: index + 1, dialect: dialect.to_owned(), query: String::new() });
            }
            Some(_) => inside = false,
            None if inside => {
                let query = &mut blocks.last_mut().unwrap().query;
                query.push_str(line);
                query.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// Those that are for this store.
fn blocks_for(target: &Target) -> Vec<Block> {
    let own = match target {
        Target::Sqlite(_) => "sqlite",
        Target::Postgres(_) => "postgresql",
    };
    let mut blocks = blocks(&fs::read_to_string(DOCUMENT).unwrap());
    blocks.retain(|block| block.dialect == "sql" || block.dialect == own);
    blocks
}

async fn every_query_of_the_document_answers_on_a_store_that_has_something_to_tell(bed: &mut Bed) {
    let seconds = match bed.target {
        Target::Sqlite(_) => "SELECT CAST(unixepoch() AS TEXT)",
        Target::Postgres(_) => "SELECT CAST(CAST(extract(epoch FROM now()) AS bigint) AS text)",
    };
    let now: u64 = bed.text(seconds).await.unwrap().parse().unwrap();
    // So that it all was within the last hour.
    story::tell(bed, Time::from_micros((now - 1_800) * 1_000_000)).await;
    let mut wrong = Vec::new();
    for block in blocks_for(&bed.target) {
        match ask(&bed.target, &block.query) {
            Ok(table) if table.rows.is_empty() => wrong.push((block.line, "no row".to_owned())),
            Ok(_) => {}
            Err(said) => wrong.push((block.line, said)),
        }
    }
    assert!(wrong.is_empty(), "{DOCUMENT}: {wrong:#?}");
}

async fn every_query_of_the_document_runs_on_an_empty_store(bed: &mut Bed) {
    for block in blocks_for(&bed.target) {
        if let Err(said) = ask(&bed.target, &block.query) {
            panic!("{DOCUMENT}:{}: {said}", block.line);
        }
    }
}

#[test]
fn every_question_of_the_document_is_answered_for_both_stores() {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let questions: Vec<_> = text.split("\n### ").skip(1).collect();
    assert!(questions.len() >= 15);
    for question in questions {
        let dialects: Vec<_> = blocks(question).into_iter().map(|block| block.dialect).collect();
        assert!(
            dialects == ["sql"] || dialects == ["postgresql", "sqlite"],
            "{dialects:?}: {}",
            question.lines().next().unwrap()
        );
    }
}

/// The rows of an answer, a line a row.
fn lines(bed: &Bed, query: &str) -> Vec<String> {
    let table = ask(&bed.target, query).unwrap();
    table.rows.into_iter().map(|row| row.join("|")).collect()
}

async fn episodes_tell_when_and_why_and_what_is_not_known(bed: &mut Bed) {
    story::tell(bed, LATE).await;
    let query = "
        SELECT service, name, opened_at, half_open_at, closed_at,
               CASE WHEN ended_by IS NULL THEN seconds > 86400 ELSE seconds END AS seconds,
               reason, error_class, caller, rejected_calls, reopened, probes, ended_by, lost_transitions, failure_rate, actor, why, epoch
        FROM episodes ORDER BY opened_at, service";
    let query = match bed.target {
        Target::Sqlite(_) => query.to_owned(),
        Target::Postgres(_) => query.replace("seconds > 86400", "(seconds > 86400)::int"),
    };
    let from = "Timeout|web-1";
    let by_ann = "ann@example.org|maintenance, see #12";
    assert_eq!(
        lines(bed, &query),
        [
            format!(
                "payments|eu|2025-01-31 23:59:30|2025-02-01 00:00:30|2025-02-01 00:19:30|1200|FAILURE_RATE|{from}|102|2|20|PROBES_SUCCEEDED|0|58.333|||1"
            ),
            format!("orders|orders|2025-02-01 00:01:10|||1|OVERRIDE_SET|||0|0|0||0|58.333|{by_ann}|1"),
            format!("mail|mail|2025-02-01 00:06:10||||FAILURE_COUNT|{from}|0|0|0|HISTORY_GAP|3|58.333|||1"),
            format!(
                "mail|mail|2025-02-01 00:09:30|2025-02-01 00:10:30|2025-02-01 00:10:40|70|FAILURE_COUNT|{from}|34|0|2|PROBES_SUCCEEDED|0|58.333|||5"
            ),
            format!("catalog|catalog|2025-02-01 00:12:50|||1|SLOW_CALL_RATE|{from}|0|0|0||0|58.333|||1"),
            format!("ledger|ledger|2025-02-01 00:12:50|||1|FAILURE_RATE|{from}|0|0|0||0|58.333|||1"),
        ]
    );
}

async fn durations_are_measured_and_not_the_difference_of_two_times(bed: &mut Bed) {
    let a = key("a", "");
    // The wall clock is set back by an hour while it is OPEN.
    let told = [
        (1, State::Closed, State::Open, 0, LATE, 5),
        (2, State::Open, State::HalfOpen, 1, LATE - Duration::from_hours(1), 60),
        (3, State::HalfOpen, State::Closed, 2, LATE - Duration::from_mins(59), 10),
    ];
    for (seq, from, to, base_epoch, at, lasted) in told {
        let mut proposal = own(seq, &a, from, to, base_epoch);
        let Change::Transition(transition) = &mut proposal.change else { unreachable!() };
        (transition.at, transition.after.entered_at) = (at, at);
        transition.lasted = Some(Duration::from_secs(lasted));
        bed.store.propose(&[proposal]).await.unwrap();
    }
    assert_eq!(lines(bed, "SELECT seconds FROM episodes"), ["70"]);
    assert_eq!(lines(bed, "SELECT seconds, openings FROM time_open_by_day"), ["60|1"]);
    assert_eq!(lines(bed, "SELECT lasted_s FROM history ORDER BY revision"), ["5", "60", "10"]);
}

async fn overrides_in_force_are_those_of_breakers_and_of_services(bed: &mut Bed) {
    story::tell(bed, LATE).await;
    // That of billing has ended.
    let query = "SELECT service, name, state, scope, actor, why, since, expires_at FROM overrides ORDER BY service, scope";
    assert_eq!(
        lines(bed, query),
        [
            "orders|orders|FORCED_OPEN|BREAKER|ann@example.org|maintenance, see #12|2025-02-01 00:01:10|",
            "search|search|METRICS_ONLY|BREAKER|ann@example.org|maintenance, see #12|2025-02-01 00:02:50|",
            "search||METRICS_ONLY|SERVICE|bob|new thresholds|2025-02-01 00:02:50|",
        ]
    );
}

async fn time_open_is_split_at_midnight_and_ends_at_a_gap(bed: &mut Bed) {
    story::tell(bed, LATE).await;
    let ended = "SELECT service, name, day, seconds, openings FROM time_open_by_day
                 WHERE service IN ('payments', 'mail', 'search') ORDER BY service, day";
    assert_eq!(
        lines(bed, ended),
        ["mail|mail|2025-02-01|160|2", "payments|eu|2025-01-31|30|1", "payments|eu|2025-02-01|270|2",]
    );
    let lasting = "SELECT day, seconds, openings FROM time_open_by_day
                   WHERE service = 'orders' ORDER BY day LIMIT 3";
    assert_eq!(lines(bed, lasting), ["2025-02-01|86330|1", "2025-02-02|86400|0", "2025-02-03|86400|0"]);
}

async fn a_transition_stands_next_to_the_newest_change_before_it(bed: &mut Bed) {
    story::tell(bed, LATE).await;
    let query =
        "SELECT service, from_state, to_state, kind, change_at, change_kind, change_actor, change_why,
                        seconds_after_change, change_revision
                 FROM transitions_with_change WHERE to_state IN ('OPEN', 'FORCED_OPEN')
                 ORDER BY revision, number";
    let ann = "2025-01-31 23:58:30|THRESHOLDS|ann@example.org|opens too late, see #7";
    let file = "2025-01-31 22:59:30|FILE_APPLIED|file|";
    assert_eq!(
        lines(bed, query),
        [
            format!("payments|CLOSED|OPEN|change|{ann}|60|2"),
            format!("payments|HALF_OPEN|OPEN|change|{ann}|130|2"),
            format!("orders|CLOSED|FORCED_OPEN|change|{file}|3700|1"),
            format!("orders|CLOSED|OPEN|superseded|{file}|3701|1"),
            format!("payments|HALF_OPEN|OPEN|change|{ann}|260|2"),
            format!("search|METRICS_ONLY|OPEN|shadow|{file}|3900|1"),
            format!("mail|CLOSED|OPEN|change|{file}|4000|1"),
            format!("mail|CLOSED|OPEN|change|{file}|4200|1"),
            format!("catalog|CLOSED|OPEN|change|{file}|4400|1"),
            format!("ledger|CLOSED|OPEN|change|{file}|4400|1"),
        ]
    );
}

async fn the_newest_change_counts_whether_it_is_the_files_or_the_services(bed: &mut Bed) {
    let query = "SELECT revision, change_kind, change_revision FROM transitions_with_change
                 WHERE service = 'search' AND kind = 'change' ORDER BY revision";
    story::tell(bed, LATE).await;
    assert_eq!(lines(bed, query), ["10|FILE_APPLIED|1"]);
    bed.sql("UPDATE audit SET service = 'search', kind = 'SERVICE_OVERRIDE' WHERE revision = 2").await;
    assert_eq!(lines(bed, query), ["10|SERVICE_OVERRIDE|2"]);
    bed.sql("UPDATE audit SET revision = 3 WHERE kind = 'FILE_APPLIED'").await;
    assert_eq!(lines(bed, query), ["10|FILE_APPLIED|3"]);
    // One that came later does not count, nor one of another service.
    bed.sql("UPDATE audit SET revision = 11 WHERE kind = 'FILE_APPLIED'").await;
    assert_eq!(lines(bed, query), ["10|SERVICE_OVERRIDE|2"]);
    bed.sql("UPDATE audit SET service = 'other' WHERE revision = 2").await;
    assert_eq!(lines(bed, query), ["10||"]);
}

async fn an_episode_is_whole_though_the_history_of_its_opening_has_gone(bed: &mut Bed) {
    story::tell(bed, LATE).await;
    bed.sql("DELETE FROM transition WHERE service = 'payments' AND epoch = 1").await;
    let episodes = "SELECT opened_at, seconds FROM episodes WHERE service = 'payments'";
    assert_eq!(lines(bed, episodes), ["2025-01-31 23:59:30|1200"]);
    let days = "SELECT day, seconds, openings FROM time_open_by_day WHERE service = 'payments' ORDER BY day";
    assert_eq!(lines(bed, days), ["2025-01-31|30|1", "2025-02-01|270|2"]);
}

async fn changes_tell_who_and_why(bed: &mut Bed) {
    story::tell(bed, LATE).await;
    let query = "SELECT at, actor, why, kind, service, name, before, after, revision, number FROM changes
                 WHERE kind = 'THRESHOLDS'";
    assert_eq!(
        lines(bed, query),
        ["2025-01-31 23:58:30|ann@example.org|opens too late, see #7|THRESHOLDS|payments||\
             {\"timeout\": 60, \"failure_rate_threshold\": 90}|{\"timeout\": 60, \"failure_rate_threshold\": 50}|2|0"]
    );
}

#[tokio::test]
async fn the_views_have_the_same_columns_in_both_stores() {
    let (sqlite, postgres) = (Bed::sqlite().await, Bed::postgres().await);
    for bed in [&sqlite, &postgres] {
        story::tell(bed, LATE).await;
    }
    for view in [
        "current_state",
        "history",
        "changes",
        "episodes",
        "overrides",
        "time_open_by_day",
        "transitions_with_change",
    ] {
        let query = format!("SELECT * FROM {view}");
        let columns = |bed: &Bed| ask(&bed.target, &query).unwrap().columns;
        assert_eq!(columns(&sqlite), columns(&postgres), "{view}");
    }
    sqlite.end().await;
    postgres.end().await;
}

#[tokio::test]
async fn every_column_of_a_view_is_explained_in_postgres() {
    let bed = Bed::postgres().await;
    let silent = "SELECT relname || '.' || attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
                  WHERE relnamespace = 'public'::regnamespace AND relkind = 'v' AND attnum > 0
                    AND coalesce(col_description(attrelid, attnum), '') = ''";
    assert_eq!(lines(&bed, silent), Vec::<String>::new(), "without a comment");
    bed.end().await;
}

#[tokio::test]
async fn a_reader_of_postgres_sees_all_but_the_secret_and_changes_nothing() {
    let bed = Bed::postgres().await;
    let Target::Postgres(url) = &bed.target else { unreachable!() };
    let (_, database) = url.rsplit_once('/').unwrap();
    let role = format!("reader_{database}");
    story::tell(&bed, LATE).await;
    let script = "scripts/readonly-role.sql";
    let variables = [format!("role={role}"), "password=it's $a secret\"".to_owned()];
    let variables: Vec<_> = variables.iter().map(String::as_str).collect();
    // The second time as after an upgrade.
    for _ in 0..2 {
        let output = run_script(url, script, &variables);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    bed.sql(
        "CREATE TABLE transition_later PARTITION OF transition
         FOR VALUES FROM ('2200-01-01') TO ('2200-02-01')",
    )
    .await;
    let reader = Target::Postgres(url.replacen("postgres://breakerd@", &format!("postgres://{role}@"), 1));
    let ask_reader = |query: &str| ask(&reader, query);
    for view in ["episodes", "changes", "transition", "breaker", "service_override", "current_state"] {
        let table = ask_reader(&format!("SELECT * FROM {view}")).unwrap();
        assert!(!table.rows.is_empty(), "{view}");
    }
    assert_eq!(ask_reader("SELECT timeline FROM meta").unwrap().rows, [["0"]]);
    for (query, refusal) in [
        ("SELECT * FROM meta", "permission denied for table meta"),
        ("SELECT permit_key FROM meta", "permission denied for table meta"),
        ("SELECT secret FROM permit_key", "permission denied for table permit_key"),
        ("DELETE FROM audit", "read-only transaction"),
        ("BEGIN READ WRITE; DELETE FROM audit", "permission denied for table audit"),
    ] {
        let said = ask_reader(query).unwrap_err();
        assert!(said.contains(refusal), "{query}: {said}");
    }
    bed.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    bed.end().await;
}

#[tokio::test]
async fn the_role_that_owns_the_tables_is_made_no_reader() {
    let bed = Bed::postgres().await;
    let Target::Postgres(url) = &bed.target else { unreachable!() };
    for (variables, problem) in [
        (&["role=breakerd", "password=x"][..], "choose another name"),
        (&["role=nobody_yet"][..], "which password?"),
        (&["password=x"][..], "which role?"),
    ] {
        let output = run_script(url, "scripts/readonly-role.sql", variables);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains(problem), "{output:?}");
    }
    let mut connection = postgres(url).await;
    let made: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_roles WHERE rolname = 'nobody_yet'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(made, 0);
    drop(connection);
    bed.end().await;
}

#[tokio::test]
async fn a_store_that_is_closed_can_be_asked_too() {
    let bed = Bed::sqlite().await;
    story::tell(&bed, LATE).await;
    bed.store.close().await;
    assert_eq!(lines(&bed, "SELECT count(*) FROM episodes"), ["6"]);
    bed.end().await;
}
