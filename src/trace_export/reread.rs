//! A file that is read again before each export.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// A file whose newest valid content applies.
pub(super) struct RereadFile {
    path: PathBuf,
    /// Whether the log has that it is invalid.
    is_reported: bool,
}

impl RereadFile {
    /// The file at `path`, which has been read once already.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, is_reported: false }
    }

    /// What `read` makes of it now. None: it is invalid, which the log says once, by the error, which names the setting.
    pub(super) async fn read<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&Path) -> Result<T> + Send + 'static,
    ) -> Option<T> {
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || read(&path)).await {
            Ok(Ok(content)) => {
                self.is_reported = false;
                Some(content)
            }
            Ok(Err(error)) => {
                if !self.is_reported {
                    self.is_reported = true;
                    tracing::warn!(problem = %error, "tracing file is invalid, keeping the previous version");
                }
                None
            }
            Err(_) => None,
        }
    }
}
