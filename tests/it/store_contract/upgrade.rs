//! A database that an earlier version made, with rows in it.

use breaker::{State, Time};
use breakerd::store::{Answer, Proposal, Target, TransitionId, TransitionQuery, open};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::change::{key, own, trip};
use super::history;
use crate::support::{Bed, new_database, sql, text};

/// The migrations of the version before episodes were kept.
const BEFORE: [&str; 4] = ["0001_store.sql", "0002_control.sql", "0003_views.sql", "0004_receipts.sql"];

/// 2025-01-31 23:59:30 UTC, in seconds.
const START: u64 = 1_738_367_970;

/// `(service, from, to, reason, base_epoch, seconds after START, missing)`, a revision each.
const ROWS: [(&str, &str, &str, &str, u64, u64, u64); 10] = [
    ("a", "CLOSED", "OPEN", "FAILURE_RATE", 0, 0, 0),
    ("a", "OPEN", "HALF_OPEN", "WAIT_ELAPSED", 1, 60, 0),
    ("a", "HALF_OPEN", "OPEN", "PROBES_FAILED", 2, 70, 0),
    ("a", "OPEN", "HALF_OPEN", "WAIT_ELAPSED", 3, 130, 0),
    ("b", "CLOSED", "OPEN", "SLOW_CALL_RATE", 0, 135, 0),
    ("a", "HALF_OPEN", "CLOSED", "PROBES_SUCCEEDED", 4, 140, 0),
    ("c", "CLOSED", "OPEN", "FAILURE_COUNT", 0, 200, 0),
    ("c", "OPEN", "OPEN", "HISTORY_GAP", 1, 210, 3),
    ("c", "CLOSED", "OPEN", "FAILURE_COUNT", 4, 220, 0),
    ("c", "OPEN", "HALF_OPEN", "WAIT_ELAPSED", 5, 280, 0),
];

pub(super) async fn make_with(target: &Target, files: &[String]) {
    let kind = if matches!(target, Target::Sqlite(_)) { "sqlite" } else { "postgres" };
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::copy(format!("migrations/{kind}/{file}"), folder.path().join(file)).unwrap();
    }
    let migrator = Migrator::new(folder.path()).await.unwrap();
    match target {
        Target::Sqlite(path) => {
            std::fs::File::create(path).unwrap();
            let mut connection = SqliteConnection::connect(&path.display().to_string()).await.unwrap();
            migrator.run_direct(None, &mut connection, false).await.unwrap();
            connection.close().await.unwrap();
        }
        Target::Postgres(url) => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            migrator.run_direct(None, &mut connection, false).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// A time as SQL, and how the column that holds it ends.
pub(super) fn time(target: &Target, seconds: u64) -> (&'static str, String) {
    match target {
        Target::Sqlite(_) => ("_us", format!("{}", (START + seconds) * 1_000_000)),
        Target::Postgres(_) => ("", format!("to_timestamp({})", START + seconds)),
    }
}

async fn fill(target: &Target) {
    let no = if matches!(target, Target::Sqlite(_)) { "0" } else { "false" };
    for (revision, (service, from, to, reason, base_epoch, seconds, missing)) in (1..).zip(ROWS) {
        let (us, at) = time(target, seconds);
        let epoch = if missing > 0 { "NULL".to_owned() } else { (base_epoch + 1).to_string() };
        let calls = if from == "HALF_OPEN" { 5 } else { 10 };
        sql(
            target,
            &format!(
                "INSERT INTO transition (revision, number, replica, boot, seq, service, name, from_state, to_state,
                     reason, epoch, base_epoch, calls, failures, slow_calls, consecutive_failures,
                     consecutive_successes, reporters, attempts, missing, shadow, alone, config_revision,
                     occurred_at{us}, recorded_at{us})
                 VALUES ({revision}, 0, 'r', '0123456789abcdef', {revision}, '{service}', '{service}', '{from}', '{to}',
                     '{reason}', {epoch}, {base_epoch}, {calls}, 5, 0, 5, 0, 0, 1, {missing}, {no}, {no}, 0, {at}, {at})"
            ),
        )
        .await;
    }
    for (service, state, epoch, seconds, more) in [
        ("a", "CLOSED", 5, 140, ("", "")),
        ("b", "OPEN", 1, 135, (", wait_us", ", 60000000")),
        (
            "c",
            "HALF_OPEN",
            6,
            280,
            (", permitted, failures_to_open, lease_us, after_max_wait", ", 2, 1, 60000000, 'OPEN'"),
        ),
    ] {
        let (us, at) = time(target, seconds);
        let (columns, values) = more;
        sql(
            target,
            &format!(
                "INSERT INTO breaker (service, name, epoch, state, attempts, entered_at{us}, config_revision,
                     revision{columns})
                 VALUES ('{service}', '{service}', {epoch}, '{state}', 0, {at}, 0, 1{values})"
            ),
        )
        .await;
    }
    sql(target, &format!("UPDATE revision SET n = {}", ROWS.len())).await;
}

/// The rows of an answer as one text, a line a row.
pub(super) async fn lines(target: &Target, query: &str) -> String {
    let joined = match target {
        Target::Sqlite(_) => format!("SELECT group_concat(line, char(10)) FROM ({query})"),
        Target::Postgres(_) => format!("SELECT string_agg(line, chr(10)) FROM ({query}) AS answer"),
    };
    text(target, &joined).await.unwrap_or_default()
}

async fn is_brought_forward(target: &Target) {
    make_with(target, &BEFORE.map(str::to_owned)).await;
    fill(target).await;
    let store = open(target).await.unwrap();
    let bed = Bed::of(store, target.clone());
    let rows = history(&*bed.store).await;
    let lasted: Vec<_> = rows.iter().map(|row| row.lasted.map(|lasted| lasted.as_secs())).collect();
    assert_eq!(
        lasted,
        [None, Some(60), Some(10), Some(60), None, Some(10), None, None, None, Some(60)],
        "how long each state had lasted"
    );
    let ended = lines(
        target,
        "SELECT service || ' ' || reason || ' ' || coalesce(CAST(CAST(seconds AS INTEGER) AS TEXT), '-') || ' '
             || reopened || ' ' || probes || ' ' || ended_by || ' ' || lost_transitions || ' ' || epoch AS line
         FROM episodes WHERE ended_by IS NOT NULL ORDER BY service, epoch",
    )
    .await;
    assert_eq!(ended, "a FAILURE_RATE 140 1 10 PROBES_SUCCEEDED 0 1\nc FAILURE_COUNT - 0 0 HISTORY_GAP 3 1");
    let lasting = lines(
        target,
        "SELECT service || ' ' || reason || ' ' || epoch || ' ' || CAST(failure_rate AS INTEGER) AS line
         FROM episodes WHERE ended_by IS NULL ORDER BY service",
    )
    .await;
    assert_eq!(lasting, "b SLOW_CALL_RATE 1 50\nc FAILURE_COUNT 5 50");
    let open_time = lines(
        target,
        "SELECT service || ' ' || day || ' ' || CAST(seconds AS INTEGER) || ' ' || openings AS line
         FROM time_open_by_day WHERE service <> 'b' ORDER BY service, day",
    )
    .await;
    assert_eq!(open_time, "a 2025-01-31 30 1\na 2025-02-01 90 1\nc 2025-02-01 70 2");
    bed.store.close().await;
}

/// The migrations before this one.
pub(super) fn before(target: &Target, number: &str) -> Vec<String> {
    let kind = if matches!(target, Target::Sqlite(_)) { "sqlite" } else { "postgres" };
    let files = std::fs::read_dir(format!("migrations/{kind}")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    files.filter(|file| file.as_str() < number).collect()
}

/// Of the version that kept a receipt for each id: 2,501 of one life that won at revision 1, but every hundredth, which lost;
/// three of revision 2; one that changed nothing.
async fn fill_with_a_receipt_for_each_id(target: &Target) {
    let (us, at) = time(target, 0);
    let far = match target {
        Target::Sqlite(_) => i64::MAX.to_string(),
        Target::Postgres(_) => "'infinity'::timestamptz".to_owned(),
    };
    let no = if matches!(target, Target::Sqlite(_)) { "0" } else { "false" };
    let outage = r#"{"epoch": 1, "opened_at_us": 1738367970000000, "lasted_us": 0, "reason": "FAILURE_RATE", "calls": 10,
        "failures": 5, "slow_calls": 0, "reopened": 0, "probes": 0, "rejected_calls": 0, "missing": 0}"#;
    let entered_by = r#"{"from": "CLOSED", "reason": "FAILURE_RATE", "calls": 10, "failures": 5}"#;
    let row = |revision: u64, at: &str| {
        format!(
            "INSERT INTO transition (revision, number, replica, boot, seq, service, name, from_state, to_state, reason,
                 epoch, base_epoch, calls, failures, slow_calls, consecutive_failures, consecutive_successes, reporters,
                 attempts, missing, shadow, alone, config_revision, occurred_at{us}, recorded_at{us})
             VALUES ({revision}, 0, 'r', '0123456789abcdef', {revision}, 'a', 'a', 'CLOSED', 'OPEN', 'FAILURE_RATE', 1, 0,
                 10, 5, 0, 5, 0, 0, 1, 0, {no}, {no}, 0, {at}, {recorded_at})",
            recorded_at = time(target, 0).1
        )
    };
    sql(target, &row(1, &at)).await;
    sql(target, &row(2, &far)).await;
    sql(
        target,
        &format!(
            "INSERT INTO breaker (service, name, epoch, state, attempts, entered_at{us}, wait_us, config_revision, revision,
                 episode, entered_by)
             VALUES ('a', 'a', 1, 'OPEN', 1, {at}, 60000000, 0, 1, '{outage}', '{entered_by}')"
        ),
    )
    .await;
    sql(
        target,
        &format!(
            "INSERT INTO receipt (replica, boot, seq, epoch, revision, recorded_at{us})
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
             SELECT 'r', '0123456789abcdef', i, CASE WHEN i % 100 > 0 THEN 1 END, 1, {at} FROM n
             UNION ALL SELECT 'r', '0123456789abcdef', i + 3000, 7, 2, {at} FROM n WHERE i < 3
             UNION ALL SELECT 'r', '0123456789abcdef', 3003, NULL, NULL, {at}"
        ),
    )
    .await;
    sql(target, "UPDATE revision SET n = 2").await;
}

async fn is_brought_forward_to_ranges_of_ids(target: &Target) {
    make_with(target, &before(target, "0013")).await;
    fill_with_a_receipt_for_each_id(target).await;
    let store = open(target).await.unwrap();
    let bed = Bed::of(store, target.clone());
    let again = |seq| {
        let id = TransitionId { replica: "r".into(), boot: 0x0123_4567_89ab_cdef, seq };
        Proposal { id, ..trip(seq, &key("b", &seq.to_string())) }
    };
    let seqs = [0, 1, 999, 1_000, 1_001, 2_499, 2_500, 3_000, 3_002, 3_003];
    let answers = bed.store.propose(&seqs.map(again)).await.unwrap();
    for (seq, answer) in seqs.iter().zip(answers) {
        let first = match seq {
            3_003 => None,
            3_000.. => Some((7, 2)),
            seq if seq % 100 == 0 => None,
            _ => Some((1, 1)),
        };
        let won = match answer {
            Answer::Won { epoch, revision } => Some((epoch, revision)),
            Answer::Lost { .. } => None,
        };
        assert_eq!(won, first, "id {seq}");
    }
    assert_eq!(bed.store.revision().await.unwrap(), 2);
    assert_eq!(text(target, "SELECT CAST(count(*) AS text) FROM receipt").await.as_deref(), Some("5"));
    // What was never answered is new.
    let new = bed.store.propose(&[again(2_501), again(3_004)]).await.unwrap();
    assert!(new.iter().all(|answer| matches!(answer, Answer::Won { epoch: 1, revision: 3 })), "{new:?}");

    let start = Time::from_micros(START * 1_000_000);
    let from_time = Some(start);
    let query =
        TransitionQuery { from_time, service: Some("a".to_owned()), limit: 9, ..TransitionQuery::default() };
    let found = bed.store.transitions(&query).await.unwrap();
    assert_eq!(found.iter().map(|row| row.occurred_at).collect::<Vec<_>>(), [Time::MAX, start]);
    let until_time = Some(Time::from_micros(START * 1_000_000 + 1));
    let query = TransitionQuery { from_time, until_time, limit: 9, ..TransitionQuery::default() };
    assert_eq!(bed.store.transitions(&query).await.unwrap().len(), 1);
    let query = TransitionQuery {
        until_time: from_time,
        service: Some("a".to_owned()),
        limit: 9,
        ..TransitionQuery::default()
    };
    assert_eq!(bed.store.transitions(&query).await.unwrap(), []);
    let rates = "SELECT CAST(CAST(failure_rate AS INTEGER) AS TEXT) || ' ' || CAST(CAST(slow_call_rate AS INTEGER) AS TEXT)
                 FROM history WHERE revision = 1";
    assert_eq!(text(target, rates).await.as_deref(), Some("50 0"));
    let lasting = "SELECT reason || ' ' || CAST(CAST(failure_rate AS INTEGER) AS TEXT) || ' ' || reopened || ' ' || lost_transitions
                   FROM episodes WHERE service = 'a'";
    assert_eq!(text(target, lasting).await.as_deref(), Some("FAILURE_RATE 50 0 0"));
    let stored = bed.store.breakers(None, 1).await.unwrap().remove(0);
    assert_eq!((stored.snapshot.state, stored.entered_by.unwrap().stats.calls), (State::Open, 10));
    // The outage goes on where it was.
    bed.store.propose(&[own(1, &stored.key, State::Open, State::Closed, 1)]).await.unwrap();
    let ended =
        "SELECT reason || ' ' || ended_by || ' ' || CAST(CAST(failure_rate AS INTEGER) AS TEXT) FROM episodes
                 WHERE service = 'a'";
    assert_eq!(text(target, ended).await.as_deref(), Some("FAILURE_RATE PROBES_SUCCEEDED 50"));
    bed.store.close().await;
}

#[tokio::test]
async fn a_database_with_a_receipt_for_each_id_is_brought_forward_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    is_brought_forward_to_ranges_of_ids(&Target::Sqlite(folder.path().join("breakerd.db"))).await;
}

#[tokio::test]
async fn a_database_with_a_receipt_for_each_id_is_brought_forward_on_postgres() {
    is_brought_forward_to_ranges_of_ids(&Target::Postgres(new_database().await)).await;
}

#[tokio::test]
async fn a_database_of_an_earlier_version_is_brought_forward_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    is_brought_forward(&Target::Sqlite(folder.path().join("breakerd.db"))).await;
}

#[tokio::test]
async fn a_database_of_an_earlier_version_is_brought_forward_on_postgres() {
    let target = Target::Postgres(new_database().await);
    is_brought_forward(&target).await;
    // The months that stood in the default partition have partitions of their own, and so has the present one.
    let partitions = "SELECT string_agg(tableoid::regclass::text, ' ' ORDER BY tableoid::regclass::text)
                      FROM (SELECT DISTINCT tableoid FROM transition) AS used";
    assert_eq!(text(&target, partitions).await.as_deref(), Some("transition_2025_01 transition_2025_02"));
    let present = "SELECT (to_regclass(to_char(now() AT TIME ZONE 'UTC', '\"transition_\"YYYY\"_\"MM')) IS NOT NULL)::text";
    assert_eq!(text(&target, present).await.as_deref(), Some("true"));
}

#[tokio::test]
async fn the_month_of_installation_has_a_partition() {
    let bed = Bed::postgres().await;
    bed.store.propose(&[super::change::trip(1, &super::change::key("a", ""))]).await.unwrap();
    let in_default = bed.text("SELECT count(*)::text FROM transition_default").await;
    assert_eq!(in_default.as_deref(), Some("0"));
    bed.end().await;
}
