//! A file that changes under a running breakerd.

use std::fs;
use std::path::Path;
use std::time::Duration;

use breakerd::config::watch::{FileEvent, Method, TextsEvent, Watcher};
use breakerd::config::{self, Sources};
use tempfile::TempDir;

use super::catalog;

/// How long a test waits for what must come. It is no measure: only a broken watcher takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

async fn next(watcher: &mut Watcher) -> FileEvent {
    tokio::time::timeout(PATIENCE, watcher.next()).await.expect("an event comes").expect("the watcher lives")
}

async fn loaded_threshold(watcher: &mut Watcher) -> u32 {
    match next(watcher).await {
        FileEvent::Loaded { config, .. } => catalog(&config).defaults().failure_threshold(),
        other => panic!("not loaded: {other:?}"),
    }
}

fn threshold(number: u32) -> String {
    format!("[circuit_breaker]\nfailure_threshold = {number}\n")
}

fn rename_into(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("write the file beside");
    fs::rename(beside, path).expect("rename it");
}

fn watch(path: &Path, method: Method) -> Watcher {
    let sources = Sources::none().with_file(path);
    let config = config::load(&sources).expect("the file is right");
    Watcher::start(sources, &config, method)
}

#[tokio::test]
async fn a_changed_file_is_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, threshold(1)).unwrap();
    let mut watcher = watch(&path, Method::Folder);

    // As editors do, and as a shell does.
    rename_into(&path, &threshold(2));
    assert_eq!(loaded_threshold(&mut watcher).await, 2);
    fs::write(&path, threshold(3)).unwrap();
    assert_eq!(loaded_threshold(&mut watcher).await, 3);

    // Gone, and back.
    fs::remove_file(&path).unwrap();
    match next(&mut watcher).await {
        FileEvent::Unreadable(error) => assert!(error.to_string().ends_with("there is no such file")),
        other => panic!("not gone: {other:?}"),
    }
    rename_into(&path, &threshold(3));
    assert_eq!(loaded_threshold(&mut watcher).await, 3, "it is there again, and that is news");
}

#[tokio::test]
async fn a_wrong_file_is_told_with_its_errors_and_so_is_the_right_one_after_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, threshold(1)).unwrap();
    let mut watcher = watch(&path, Method::Folder);
    rename_into(&path, "[circuit_breaker]\nfailure_threshold = -1\nmax_wait = 0\n");
    match next(&mut watcher).await {
        FileEvent::Invalid(errors) => {
            assert_eq!(errors.len(), 2);
            assert!(
                errors[0].to_string().contains(":2:21: circuit_breaker.failure_threshold: invalid value -1")
            );
        }
        other => panic!("not wrong: {other:?}"),
    }
    fs::write(&path, b"\xff").unwrap();
    assert!(matches!(next(&mut watcher).await, FileEvent::Invalid(_)));
    rename_into(&path, &threshold(1));
    assert_eq!(loaded_threshold(&mut watcher).await, 1, "it is right again, and that is news");
}

#[tokio::test]
async fn settings_that_wait_for_a_restart_are_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, threshold(1)).unwrap();
    let sources = Sources::none().with_file(&path).with_variables([("BREAKERD_LOG_LEVEL", "warn")]);
    let config = config::load(&sources).unwrap();
    let mut watcher = Watcher::start(sources, &config, Method::Folder);
    let text = format!("data_dir = \"other\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\n{}", threshold(5));
    rename_into(&path, &text);
    match next(&mut watcher).await {
        FileEvent::Loaded { config, needs_restart } => {
            assert_eq!(needs_restart, ["data_dir", "log.format"], "the variable still wins over log.level");
            assert_eq!(config.settings.log_level, "warn");
        }
        other => panic!("not loaded: {other:?}"),
    }
}

#[tokio::test]
async fn changed_webhooks_wait_for_a_restart() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    let text = |url: &str| {
        format!("[[notify]]\nname = \"chat\"\nurl = \"https://hooks.example/{url}\"\n{}", threshold(1))
    };
    fs::write(&path, text("a")).unwrap();
    let mut watcher = watch(&path, Method::Folder);
    rename_into(&path, &text("b"));
    match next(&mut watcher).await {
        FileEvent::Loaded { needs_restart, .. } => assert_eq!(needs_restart, ["notify"]),
        other => panic!("not loaded: {other:?}"),
    }
    rename_into(&path, &text("a"));
    match next(&mut watcher).await {
        FileEvent::Loaded { needs_restart, .. } => assert!(needs_restart.is_empty(), "it is as it was"),
        other => panic!("not loaded: {other:?}"),
    }
}

#[tokio::test]
async fn a_changed_file_is_told_where_nothing_can_be_watched() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, threshold(1)).unwrap();
    let mut watcher = watch(&path, Method::Polling);
    rename_into(&path, &threshold(2));
    assert_eq!(loaded_threshold(&mut watcher).await, 2);
    fs::write(&path, threshold(3)).unwrap();
    assert_eq!(loaded_threshold(&mut watcher).await, 3);
}

#[tokio::test]
async fn a_folder_that_is_not_there_yet_is_looked_for() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("later").join("breakerd.toml");
    // As when the default file is missing: what runs is built in.
    let config = config::parse("", &path, &Sources::none()).unwrap();
    let mut watcher = Watcher::start(Sources::none().with_file(&path), &config, Method::Folder);
    assert!(matches!(next(&mut watcher).await, FileEvent::Unreadable(_)));
    fs::create_dir(folder.path().join("later")).unwrap();
    rename_into(&path, &threshold(2));
    assert_eq!(loaded_threshold(&mut watcher).await, 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_swapped_symlink_is_a_changed_file() {
    use std::os::unix::fs::symlink;

    // As Kubernetes mounts a config map: the file is a link into ..data, and ..data is swapped.
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, number) in [("..v1", 1), ("..v2", 2)] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("breakerd.toml"), threshold(number)).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/breakerd.toml", at("breakerd.toml")).unwrap();
    let mut watcher = watch(&at("breakerd.toml"), Method::Folder);
    symlink("..v2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(loaded_threshold(&mut watcher).await, 2);
}

#[tokio::test]
async fn a_change_between_loading_and_watching_is_not_missed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, threshold(1)).unwrap();
    let sources = Sources::none().with_file(&path);
    let config = config::load(&sources).unwrap();
    fs::write(&path, threshold(2)).unwrap();
    let mut watcher = Watcher::start(sources, &config, Method::Folder);
    assert_eq!(loaded_threshold(&mut watcher).await, 2);
}

#[tokio::test]
async fn a_dropped_watcher_ends_its_task() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, threshold(1)).unwrap();
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let watcher = watch(&path, Method::Folder);
    assert_eq!(metrics.num_alive_tasks(), before + 1);
    drop(watcher);
    tokio::time::timeout(PATIENCE, async {
        while metrics.num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the task ends");
}

/// Puts `what` (not a regular file) in the place of the file, in one step.
fn put_in_place(path: &Path, make: &str, target: &[&str]) {
    let beside = path.with_extension("new");
    let status = std::process::Command::new(make).args(target).arg(&beside).status().unwrap();
    assert!(status.success());
    fs::rename(beside, path).unwrap();
}

#[tokio::test]
async fn a_pipe_or_a_device_in_place_of_the_file_is_told_and_the_next_file_is_taken() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, threshold(1)).unwrap();
    let mut watcher = watch(&path, Method::Folder);
    for (number, (make, target, what)) in
        [("mkfifo", &[][..], "is a pipe"), ("ln", &["-s", "/dev/zero"], "is a device")]
            .into_iter()
            .enumerate()
    {
        put_in_place(&path, make, target);
        match next(&mut watcher).await {
            FileEvent::Unreadable(error) => assert!(error.to_string().contains(what), "{error}"),
            other => panic!("not {what}: {other:?}"),
        }
        let number = u32::try_from(number).unwrap() + 2;
        rename_into(&path, &threshold(number));
        assert_eq!(loaded_threshold(&mut watcher).await, number);
    }
}

#[tokio::test]
async fn a_pipe_in_place_of_one_of_several_files_is_told_and_the_next_file_is_taken() {
    let folder = TempDir::new().unwrap();
    let paths = [folder.path().join("certificate"), folder.path().join("key")];
    let files = paths.iter().map(|path| {
        fs::write(path, "old").unwrap();
        (path.clone(), config::read_small(path).unwrap())
    });
    let mut watcher = Watcher::of_texts(files.collect(), 1_000, Method::Folder);
    put_in_place(&paths[1], "mkfifo", &[]);
    match tokio::time::timeout(PATIENCE, watcher.next()).await.expect("an event comes").unwrap() {
        TextsEvent::Unreadable(errors) => assert!(errors[0].to_string().contains("is a pipe"), "{errors:?}"),
        TextsEvent::Changed(texts) => panic!("changed: {texts:?}"),
    }
    rename_into(&paths[1], "new");
    match tokio::time::timeout(PATIENCE, watcher.next()).await.expect("an event comes").unwrap() {
        TextsEvent::Changed(texts) => assert_eq!([texts[0].expose(), texts[1].expose()], ["old", "new"]),
        TextsEvent::Unreadable(errors) => panic!("unreadable: {errors:?}"),
    }
}
