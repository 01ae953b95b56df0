//! Takes a changed file while breakerd runs.
//!
//! The file's folder is watched rather than the file: editors write another file and rename it, and Kubernetes swaps
//! the symlink `..data` beside it, so that the file itself never hears of a change. What the folder does not
//! hear of either (a target elsewhere, a mounted file, a file system over the network) a slow look finds, and where
//! nothing can be watched a look each second.
//!
//! An event says only that something may have changed: what counts is the content. It is taken when two looks
//! in a row see the same, so that a file half written is not taken for a short one. Whatever is wrong with the file,
//! the configuration that was last right stays; what to do is for whoever receives the events.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::error::{Error, Fault};
use super::{Config, FileText, Settings, Sources};

/// How long a content must stay the same: longer than a writer pauses within a file, and hardly a wait for people.
const QUIET: Duration = Duration::from_millis(100);
/// How often a file that keeps changing is looked at before it is taken as it stands.
const LOOKS_MAX: usize = 20;
/// How long a busy folder is left alone after a look that found nothing: 20 looks a second are no load.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the file is looked at where its folder cannot be watched.
const POLL: Duration = Duration::from_secs(1);
/// How often it is looked at in case the folder missed a change.
const SLOW_POLL: Duration = Duration::from_secs(5);

/// What became of the file.
#[derive(Debug)]
pub enum FileEvent {
    /// It changed and is right.
    Loaded {
        /// What it says now. Of this, `declaration` is to be taken.
        config: Box<Config>,
        /// The keys of the settings that differ from those the process runs with: they wait for a restart.
        needs_restart: Vec<&'static str>,
    },
    /// It changed and is wrong: everything that is.
    Wrong(Vec<Error>),
    /// It is gone, or cannot be read.
    Unreadable(Error),
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By watching the folder; by looking, where that cannot be.
    Folder,
    /// By looking each second.
    Looking,
}

/// Watches the file of a configuration until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    events: mpsc::Receiver<FileEvent>,
    _task: AbortOnDropHandle<()>,
}

impl Watcher {
    /// Watches the file that `sources` names, on the runtime it is called on. `running` is what was loaded from the
    /// same sources: a change since then is an event too.
    ///
    /// At most one event waits to be received; changes beyond it come to one, with the newest content.
    pub fn start(sources: Sources, running: &Config, method: Method) -> Self {
        // One: an event older than the newest content is of no use to anybody.
        let (sender, events) = mpsc::channel(1);
        let eye = Eye {
            path: sources.file().path,
            sources,
            running: running.settings.clone(),
            last: Ok(running.text.clone()),
        };
        Self { events, _task: AbortOnDropHandle::new(tokio::spawn(eye.watch(method, sender))) }
    }

    /// The next event. Cancel safe. None when the runtime is shutting down.
    pub async fn next(&mut self) -> Option<FileEvent> {
        self.events.recv().await
    }
}

/// What a look finds: a text, no file, or why there is neither.
type Seen = Result<Option<FileText>, Box<Error>>;

struct Eye {
    path: PathBuf,
    sources: Sources,
    running: Settings,
    /// What was seen when the last event was sent.
    last: Seen,
}

impl Eye {
    async fn watch(mut self, method: Method, events: mpsc::Sender<FileEvent>) {
        if std::fs::metadata(&self.path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
            // A pipe: it gave what it had when it was read first, and a second read would wait for ever.
            return events.closed().await;
        }
        let changed = Arc::new(Notify::new());
        let folder = match method {
            Method::Folder => watch_folder(&self.path, Arc::clone(&changed)).ok(),
            Method::Looking => None,
        };
        let poll = if folder.is_some() { SLOW_POLL } else { POLL };
        loop {
            let Some(event) = self.look().await else { return };
            match event {
                Some(event) => {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                None => sleep(PAUSE).await,
            }
            tokio::select! {
                () = changed.notified() => {}
                () = sleep(poll) => {}
            }
        }
    }

    /// Looks until the content settles. `None` when the runtime is shutting down, `Some(None)` when nothing is new.
    async fn look(&mut self) -> Option<Option<FileEvent>> {
        let mut seen = see(&self.path).await?;
        if seen == self.last {
            return Some(None);
        }
        for _ in 0..LOOKS_MAX {
            sleep(QUIET).await;
            let again = see(&self.path).await?;
            if again == seen {
                break;
            }
            seen = again;
        }
        if seen == self.last {
            return Some(None);
        }
        let event = self.judge(&seen);
        self.last = seen;
        Some(Some(event))
    }

    fn judge(&self, seen: &Seen) -> FileEvent {
        match seen {
            Ok(Some(text)) => match super::parse(&text.0, &self.path, &self.sources) {
                Ok(config) => {
                    let needs_restart = self.running.differing(&config.settings);
                    FileEvent::Loaded { config: Box::new(config), needs_restart }
                }
                Err(errors) => FileEvent::Wrong(errors),
            },
            Ok(None) => FileEvent::Unreadable(super::missing(&self.path)),
            Err(error) if matches!(error.fault, Fault::Unreadable(_)) => {
                FileEvent::Unreadable((**error).clone())
            }
            Err(error) => FileEvent::Wrong(vec![(**error).clone()]),
        }
    }
}

async fn see(path: &Path) -> Option<Seen> {
    let path = path.to_owned();
    let read = move || Ok(super::read(&path)?.map(|text| FileText(text.into())));
    tokio::task::spawn_blocking(read).await.ok()
}

fn watch_folder(path: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own look opens the file, and would call for the next.
        let is_look = event.is_ok_and(|event| match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            EventKind::Access(_) => true,
            _ => false,
        });
        if !is_look {
            changed.notify_one();
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
