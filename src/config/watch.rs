//! Takes changed files while breakerd runs.
//!
//! The file's folder is watched rather than the file: editors write another file and rename it, and Kubernetes swaps
//! the symlink `..data` beside it, so that the file itself has no change event. What the folder has no
//! event of either (a target elsewhere, a mounted file, a file system over the network) a slow poll finds, and where
//! nothing can be watched a poll each second.
//!
//! An event means only that something may have changed: what counts is the content. It is read when two polls
//! in a row see the same, so that a half-written file is not taken for a short one. Whatever the errors of the file,
//! the last valid configuration stays; the receiver of the events decides what to do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::error::{Error, Fault};
use super::file::{self, Reading};
use super::{Config, FILE_BYTES_MAX, FileText, Settings, Sources};

/// How long a content must stay the same: longer than a writer pauses within a file, and hardly a wait for people.
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);
/// The most polls of a file that keeps changing, before it is read as it is.
const POLLS_MAX: usize = 20;
/// The pause after a poll that found nothing, for a busy folder: 20 polls a second are no load.
const PAUSE: Duration = Duration::from_millis(50);
/// The poll interval where the folder cannot be watched.
const POLL: Duration = Duration::from_secs(1);
/// The poll interval in case the folder missed a change.
const SLOW_POLL: Duration = Duration::from_secs(5);

/// What became of the file.
#[derive(Debug)]
pub enum FileEvent {
    /// It changed and is valid.
    Loaded {
        /// Its configuration now. Of this, `declaration` is to be applied.
        config: Box<Config>,
        /// The keys of the settings that differ from those the process runs with: they wait for a restart.
        needs_restart: Vec<&'static str>,
    },
    /// It changed and is invalid: all errors.
    Invalid(Vec<Error>),
    /// It is missing, or cannot be read.
    Unreadable(Error),
}

/// What became of files that belong together: certificate and key, tokens.
#[derive(Debug)]
pub enum TextsEvent {
    /// At least one of them changed: the texts of all, in their order.
    Changed(Vec<FileText>),
    /// Not all of them can be read: why not.
    Unreadable(Vec<Error>),
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By watching the folder; by polling, where that is not possible.
    Folder,
    /// By polling each second.
    Polling,
}

/// Watches the file of a configuration, or other files, until it is dropped.
#[derive(Debug)]
pub struct Watcher<E = FileEvent> {
    events: mpsc::Receiver<E>,
    _task: AbortOnDropHandle<()>,
}

impl Watcher {
    /// Watches the file that `sources` names, on the runtime it is called on. `running` is what was loaded from the
    /// same sources: a change since then is an event too.
    ///
    /// At most one event waits to be received; further changes become one, with the newest content.
    pub fn start(sources: Sources, running: &Config, method: Method) -> Self {
        let path = sources.file().path;
        let (settings, at) = (running.settings.clone(), path.clone());
        Self::of(vec![(path, Ok(running.text.clone()))], FILE_BYTES_MAX, method, move |seen| {
            seen.first().map(|seen| event_of(seen, &at, &sources, &settings))
        })
    }
}

impl Watcher<TextsEvent> {
    /// Watches these files, none of them of more than `bytes_max`; their texts are those that were read last.
    pub fn of_texts(files: Vec<(PathBuf, FileText)>, bytes_max: u64, method: Method) -> Self {
        let paths: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
        let files = files.into_iter().map(|(path, text)| (path, Ok(Some(text)))).collect();
        Self::of(files, bytes_max, method, move |seen| {
            let (mut texts, mut errors) = (Vec::new(), Vec::new());
            for (seen, path) in seen.iter().zip(&paths) {
                match seen {
                    Ok(Some(text)) => texts.push(text.clone()),
                    Ok(None) => errors.push(file::missing(path)),
                    Err(error) => errors.push((**error).clone()),
                }
            }
            Some(if errors.is_empty() { TextsEvent::Changed(texts) } else { TextsEvent::Unreadable(errors) })
        })
    }
}

impl<E: Send + 'static> Watcher<E> {
    fn of(
        files: Vec<(PathBuf, Content)>,
        bytes_max: u64,
        method: Method,
        event_of: impl Fn(&[Content]) -> Option<E> + Send + Sync + 'static,
    ) -> Self {
        // One: an event older than the newest content is of no use to anybody.
        let (sender, events) = mpsc::channel(1);
        let (paths, last): (Vec<_>, Vec<Content>) = files.into_iter().unzip();
        let is_once = |seen: &Content| matches!(seen, Ok(Some(text)) if !text.is_repeatable());
        let sources = paths.into_iter().zip(&last);
        let sources =
            sources.map(|(path, seen)| Source { path, pipe_content: is_once(seen).then(|| seen.clone()) });
        let eye = FileWatcher { sources: sources.collect(), bytes_max, last, event_of };
        Self { events, _task: AbortOnDropHandle::new(tokio::spawn(eye.watch(method, sender))) }
    }

    /// The next event. Cancel safe. None when the runtime is shutting down.
    pub async fn next(&mut self) -> Option<E> {
        self.events.recv().await
    }
}

/// The result of reading one file: a text, no file, or an error.
type Content = Result<Option<FileText>, Box<Error>>;

/// A file to watch.
struct Source {
    path: PathBuf,
    /// The content of a pipe, read at the start: it cannot be read again, and is not polled.
    pipe_content: Option<Content>,
}

struct FileWatcher<J> {
    sources: Arc<[Source]>,
    bytes_max: u64,
    /// What was seen when the last event was sent.
    last: Vec<Content>,
    event_of: J,
}

impl<J> FileWatcher<J> {
    async fn watch<E>(mut self, method: Method, events: mpsc::Sender<E>)
    where
        J: Fn(&[Content]) -> Option<E>,
    {
        if self.sources.iter().all(|source| source.pipe_content.is_some()) {
            return events.closed().await;
        }
        let changed = Arc::new(Notify::new());
        let folders = match method {
            Method::Folder => watch_folders(self.sources.iter().map(|source| &*source.path), &changed).ok(),
            Method::Polling => None,
        };
        let poll = if folders.is_some() { SLOW_POLL } else { POLL };
        loop {
            let Some(event) = self.poll_until_settled().await else { return };
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

    /// Polls until the content settles. `None` when the runtime is shutting down, `Some(None)` when nothing is new.
    async fn poll_until_settled<E>(&mut self) -> Option<Option<E>>
    where
        J: Fn(&[Content]) -> Option<E>,
    {
        let mut seen = self.read_all().await?;
        if seen == self.last {
            return Some(None);
        }
        for _ in 0..POLLS_MAX {
            sleep(SETTLE_INTERVAL).await;
            let again = self.read_all().await?;
            if again == seen {
                break;
            }
            seen = again;
        }
        if seen == self.last {
            return Some(None);
        }
        let event = (self.event_of)(&seen);
        self.last = seen;
        Some(event)
    }

    async fn read_all(&self) -> Option<Vec<Content>> {
        let (sources, bytes_max) = (Arc::clone(&self.sources), self.bytes_max);
        let read_all = move |source: &Source| {
            source.pipe_content.clone().unwrap_or_else(|| file::read(&source.path, bytes_max, Reading::Again))
        };
        tokio::task::spawn_blocking(move || sources.iter().map(read_all).collect()).await.ok()
    }
}

fn event_of(seen: &Content, path: &Path, sources: &Sources, running: &Settings) -> FileEvent {
    match seen {
        Ok(Some(text)) => match super::parse(text.expose(), path, sources) {
            Ok(config) => {
                let needs_restart = running.differing(&config.settings);
                FileEvent::Loaded { config: Box::new(config), needs_restart }
            }
            Err(errors) => FileEvent::Invalid(errors),
        },
        Ok(None) => FileEvent::Unreadable(file::missing(path)),
        Err(error) if matches!(error.fault, Fault::Unreadable(_)) => FileEvent::Unreadable((**error).clone()),
        Err(error) => FileEvent::Invalid(vec![(**error).clone()]),
    }
}

fn watch_folders<'p>(
    paths: impl Iterator<Item = &'p Path>,
    changed: &Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // A poll opens the file itself, and would cause the next.
        let is_look = event.is_ok_and(|event| match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            EventKind::Access(_) => true,
            _ => false,
        });
        if !is_look {
            changed.notify_one();
        }
    })?;
    let folders: BTreeSet<_> = paths
        .map(|path| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        })
        .collect();
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}
