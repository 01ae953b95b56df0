//! A disk that is full, under a real process: a small tmpfs, filled and freed. Who may not mount one is told so, and
//! has the journal's own tests, whose full disk is made up.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use breakerd_api::v1::{Outcome, RecordOutcomeRequest, RecordOutcomesRequest, State};

use crate::process::{Process, eventually, log_of};

/// One failure opens, for longer than the test takes.
const CONFIG: &str =
    "shutdown_grace = \"2s\"\n[circuit_breaker]\nfailure_threshold = 1\ntimeout_seconds = 3600\n";

/// A folder with a `data` in it that is a file system of its own.
struct SmallDisk {
    folder: tempfile::TempDir,
    is_mounted: bool,
}

impl SmallDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("breakerd.toml"), CONFIG).unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&data).output();
        let is_mounted = mount.is_ok_and(|mount| mount.status.success());
        Self { folder, is_mounted }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("data/filler")
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        for size in [64 * 1024, 4 * 1024, 1] {
            let bytes = vec![b'x'; size];
            while filler.write_all(&bytes).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("-l").arg(self.path().join("data")).status();
        }
    }
}

/// Reports a failure of each, and answers how many are open by it.
async fn trip(process: &Process, names: std::ops::Range<u32>) -> usize {
    let failure = |index: u32| RecordOutcomeRequest {
        service: "db".into(),
        name: format!("b{index}"),
        outcome: Outcome::Failure.into(),
        ..Default::default()
    };
    let request =
        RecordOutcomesRequest { requests: names.map(failure).collect(), ..RecordOutcomesRequest::default() };
    let answer = process.breakers().await.record_outcomes(request).await.unwrap().into_inner();
    let is_open = |result: &breakerd_api::v1::RecordOutcomesResult| match &result.result {
        Some(breakerd_api::v1::record_outcomes_result::Result::Response(response)) => {
            response.state() == State::Open
        }
        _ => false,
    };
    answer.results.iter().filter(|result| is_open(result)).count()
}

async fn open(process: &Process) -> u64 {
    let page: serde_json::Value =
        serde_json::from_str(&process.page("/health/circuit-breakers").await).unwrap();
    page["circuit_breakers"]["open"].as_u64().unwrap()
}

#[tokio::test]
async fn a_full_disk_and_kill_9_lose_no_state_that_a_caller_was_told_of() {
    let disk = SmallDisk::new();
    if !disk.is_mounted {
        eprintln!("no right to mount a tmpfs: the journal's own tests fill a disk that is made up");
        return;
    }
    let process = Process::ready(disk.path(), None).await;
    disk.fill();
    assert_eq!(trip(&process, 0..40).await, 40);
    process.kill();
    disk.make_room();
    let process = Process::ready(disk.path(), None).await;
    assert_eq!(open(&process).await, 40);
    assert!(process.stop().await.success(), "{}", log_of(disk.path()));
}

#[tokio::test]
async fn once_a_full_disk_has_room_everything_is_written_without_a_restart() {
    let disk = SmallDisk::new();
    if !disk.is_mounted {
        eprintln!("no right to mount a tmpfs: the journal's own tests fill a disk that is made up");
        return;
    }
    let process = Process::ready(disk.path(), None).await;
    disk.fill();
    assert_eq!(trip(&process, 0..40).await, 40);
    eventually("the store refuses", || async { log_of(disk.path()).contains("wait in the journal") }).await;
    disk.make_room();
    eventually("the store has everything", || async {
        process
            .page("/metrics")
            .await
            .lines()
            .any(|line| line == "llm_incident_manager_breakerd_journal_depth 0")
    })
    .await;
    assert_eq!(trip(&process, 40..50).await, 10);
    assert!(process.stop().await.success(), "{}", log_of(disk.path()));
    let process = Process::ready(disk.path(), None).await;
    assert_eq!(open(&process).await, 50);
}

#[tokio::test]
async fn a_stop_that_loses_transitions_says_so_and_fails() {
    let disk = SmallDisk::new();
    if !disk.is_mounted {
        eprintln!("no right to mount a tmpfs: the journal's own tests fill a disk that is made up");
        return;
    }
    let process = Process::ready(disk.path(), None).await;
    disk.fill();
    // Far more than the reserved space takes.
    for batch in 0..4 {
        assert_eq!(trip(&process, batch * 1_000..(batch + 1) * 1_000).await, 1_000);
    }
    eventually("the journal cannot be written", || async {
        process.page("/metrics").await.lines().any(|line| {
            line.strip_prefix("llm_incident_manager_breakerd_journal_in_memory ")
                .is_some_and(|count| count != "0")
        })
    })
    .await;
    let ended = process.stop().await;
    let log = log_of(disk.path());
    assert!(!ended.success(), "{log}");
    assert!(log.contains("they are lost"), "{log}");
    assert!(!log.contains("in the journal for the next start"), "{log}");
}
