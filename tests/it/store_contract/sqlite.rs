//! What only the store in a file promises.

use std::fs;
use std::path::Path;

use breakerd::store::{StoreError, Target, open};

use super::change::{key, trip};
use crate::support::{Bed, open_again};

async fn refusal(path: &Path) -> String {
    match open(&Target::Sqlite(path.to_owned())).await {
        Err(StoreError::Refused(problem)) => problem,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("opened {}", path.display()),
    }
}

#[tokio::test]
async fn what_was_committed_outlives_a_crash() {
    let bed = Bed::sqlite().await;
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    let Target::Sqlite(path) = &bed.target else { unreachable!() };
    // What the disk holds while the process lives is what a killed one leaves behind.
    let left = tempfile::tempdir().unwrap();
    for file in ["breakerd.db", "breakerd.db-wal"] {
        fs::copy(path.with_file_name(file), left.path().join(file)).unwrap();
    }
    let after = open(&Target::Sqlite(left.path().join("breakerd.db"))).await.unwrap();
    assert_eq!(after.breakers(None, 10).await.unwrap(), bed.store.breakers(None, 10).await.unwrap());
    assert_eq!(after.revision().await.unwrap(), 1);
    assert_eq!(after.meta().await.unwrap(), bed.store.meta().await.unwrap());
    after.close().await;
    bed.end().await;
}

#[tokio::test]
async fn a_closed_store_is_one_file() {
    let bed = Bed::sqlite().await;
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    bed.store.breakers(None, 1).await.unwrap();
    bed.store.close().await;
    let Target::Sqlite(path) = &bed.target else { unreachable!() };
    assert!(!path.with_file_name("breakerd.db-wal").exists());
    bed.end().await;
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_the_key_of_the_permits() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::sqlite().await;
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    let Target::Sqlite(path) = &bed.target else { unreachable!() };
    for file in ["breakerd.db", "breakerd.db-wal"] {
        let mode = fs::metadata(path.with_file_name(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    bed.end().await;
}

#[tokio::test]
async fn a_path_that_cannot_be_a_store_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a database, but a text of more than a few bytes").unwrap();

    let problem = refusal(&file).await;
    assert!(problem.contains(&file.display().to_string()), "{problem}");
    assert!(problem.ends_with("is not a SQLite database: move it away, or change data_dir"), "{problem}");
    assert_eq!(fs::read_to_string(&file).unwrap().len(), 51, "it is left as it was");

    let within_a_file = file.join("breakerd.db");
    let problem = refusal(&within_a_file).await;
    assert!(problem.starts_with(&format!("cannot create data directory {}: ", file.display())), "{problem}");

    let problem = refusal(folder.path()).await;
    assert!(problem.contains("for writing: "), "{problem}");
    assert!(problem.contains(&folder.path().display().to_string()), "{problem}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_that_nobody_can_write_is_refused() {
    // Not even root can make a file here.
    let problem = refusal(Path::new("/proc/self/breakerd.db")).await;
    assert!(problem.starts_with("cannot open database /proc/self/breakerd.db for writing: "), "{problem}");
    let problem = refusal(Path::new("/proc/self/data/breakerd.db")).await;
    assert!(problem.starts_with("cannot create data directory /proc/self/data: "), "{problem}");
}

#[tokio::test]
async fn a_file_of_a_newer_breakerd_is_refused() {
    let bed = Bed::sqlite().await;
    bed.store.close().await;
    bed.sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .await;
    let Err(StoreError::Refused(problem)) = open_again(&bed).await else { panic!("not refused") };
    assert!(problem.contains("was written by a newer breakerd"), "{problem}");
    bed.end().await;
}

#[tokio::test]
async fn a_person_who_writes_beside_it_is_waited_for() {
    let bed = Bed::sqlite().await;
    let Target::Sqlite(path) = &bed.target else { unreachable!() };
    let mut person =
        <sqlx::SqliteConnection as sqlx::Connection>::connect(&path.display().to_string()).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut person).await.unwrap();
    let store = std::sync::Arc::clone(&bed.store);
    let write = tokio::spawn(async move { store.propose(&[trip(1, &key("a", ""))]).await });
    // Readers do not wait.
    assert_eq!(bed.store.breakers(None, 10).await.unwrap(), []);
    sqlx::raw_sql("COMMIT").execute(&mut person).await.unwrap();
    write.await.unwrap().unwrap();
    sqlx::Connection::close(person).await.unwrap();
    bed.end().await;
}

/// A file that is not the database any more, and one that is again.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_deleted_or_replaced_under_the_store_records_nothing_until_it_is_back() {
    let bed = Bed::sqlite().await;
    let Target::Sqlite(path) = &bed.target else { unreachable!() };
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    bed.store.ping().await.unwrap();
    let away = path.with_file_name("away.db");
    for replaced in [false, true] {
        fs::rename(path, &away).unwrap();
        if replaced {
            fs::copy(&away, path).unwrap();
        }
        let proposal = trip(2, &key("b", ""));
        for error in [bed.store.ping().await.unwrap_err(), bed.store.propose(&[proposal]).await.unwrap_err()]
        {
            let StoreError::Replaced(problem) = &error else { panic!("{error:?}") };
            let became = if replaced { "replaced by another file" } else { "deleted or moved away" };
            assert!(problem.contains(became), "{problem}");
            assert!(problem.contains(&path.display().to_string()), "{problem}");
        }
        if replaced {
            // Another file stays another one, whatever is in it.
            bed.store.ping().await.unwrap_err();
        }
        fs::rename(&away, path).unwrap();
        bed.store.ping().await.unwrap();
    }
    bed.store.propose(&[trip(2, &key("b", ""))]).await.unwrap();
    assert_eq!(bed.store.breakers(None, 10).await.unwrap().len(), 2);
    bed.end().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_write_ahead_log_that_is_deleted_under_the_store_is_noticed() {
    let bed = Bed::sqlite().await;
    let Target::Sqlite(path) = &bed.target else { unreachable!() };
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    fs::remove_file(path.with_file_name("breakerd.db-wal")).unwrap();
    let error = bed.store.propose(&[trip(2, &key("b", ""))]).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Replaced(problem) if problem.contains("breakerd.db-wal")),
        "{error:?}"
    );
    assert!(matches!(bed.store.ping().await, Err(StoreError::Replaced(_))));
    bed.end().await;
}
