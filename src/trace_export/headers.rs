//! The headers for the collector, of the settings and from a file: they hold secrets.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use http::header::HeaderMap;

use super::reread::RereadFile;
use crate::config::{self, TraceHeaders};

/// The headers of the settings, the file, and what both came to when the file was last valid.
pub(super) struct HeadersFile {
    set: TraceHeaders,
    file: Option<RereadFile>,
    headers: TraceHeaders,
}

impl HeadersFile {
    /// Reads it; its headers win over those that are `set`. None: there are only these.
    ///
    /// # Errors
    /// When it cannot be read, or is invalid.
    pub(super) fn open(set: TraceHeaders, path: Option<PathBuf>) -> Result<Self> {
        let of_file = path.as_deref().map(read).transpose()?.unwrap_or_default();
        let headers = set.clone().overridden_by(&of_file);
        Ok(Self { set, file: path.map(RereadFile::new), headers })
    }

    /// What applies now; while the file is invalid, what it held before.
    pub(super) async fn current(&mut self) -> &HeaderMap {
        if let Some(file) = &mut self.file
            && let Some(of_file) = file.read(read).await
        {
            self.headers = self.set.clone().overridden_by(&of_file);
        }
        self.headers.map()
    }
}

fn read(path: &Path) -> Result<TraceHeaders> {
    let text = config::read_small(path).map_err(|error| anyhow!("tracing.headers_file: {error}"))?;
    let mut headers = TraceHeaders::default();
    for (index, line) in text.expose().lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line may be a secret, and is not shown.
        let at = format!("tracing.headers_file: {}:{}", path.display(), index + 1);
        let Some((name, value)) = line.split_once(':') else { bail!("{at}: must be NAME: VALUE") };
        headers.add(name, value).map_err(|problem| anyhow!("{at}: {problem}"))?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn headers_are_read_again_and_kept_while_the_file_is_invalid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        std::fs::write(&path, "# for the collector\nauthorization: Bearer one\n\nx-tenant: a\n").unwrap();
        let mut set = TraceHeaders::default();
        set.add("x-tenant", "b").unwrap();
        set.add("x-set", "1").unwrap();
        let mut file = HeadersFile::open(set, Some(path.clone())).unwrap();
        assert_eq!(file.current().await["authorization"], "Bearer one");
        assert_eq!(file.current().await["x-tenant"], "a");
        std::fs::write(&path, "authorization: Bearer two\n").unwrap();
        assert_eq!(file.current().await["authorization"], "Bearer two");
        assert_eq!(file.current().await["x-tenant"], "b", "the file's is gone");
        assert_eq!(file.current().await["x-set"], "1");
        std::fs::write(&path, "nothing\n").unwrap();
        assert_eq!(file.current().await["authorization"], "Bearer two");
    }

    #[test]
    fn an_invalid_file_is_refused_with_its_line_and_without_its_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        for (text, problem) in [
            ("Bearer secret", "headers:1: must be NAME: VALUE"),
            ("a: b\nno name: secret", "headers:2: the name must be letters, digits and -"),
            ("grpc-timeout: 1S", "headers:1: grpc-timeout is set by the protocol"),
            ("a: secr\u{e9}t\u{1}", "headers:1: the value of a must be visible ASCII characters"),
            (&"a: b\n".repeat(33), "headers:33: too many headers, the limit is 32"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error =
                HeadersFile::open(TraceHeaders::default(), Some(path.clone())).err().unwrap().to_string();
            assert!(error.ends_with(problem) && !error.contains("secr"), "{error}");
        }
    }
}
