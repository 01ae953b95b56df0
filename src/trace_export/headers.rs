//! The headers for the collector, from a file: they hold secrets.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config;

/// More is another file.
const HEADERS_MAX: usize = 32;
/// What the protocols set by themselves.
const RESERVED: [&str; 6] =
    ["content-type", "content-length", "te", "host", "connection", "transfer-encoding"];

/// The file, and what it held when it was last valid.
pub(super) struct HeadersFile {
    path: Option<PathBuf>,
    headers: HeaderMap,
    /// Whether the log has that it is invalid.
    is_reported: bool,
}

impl HeadersFile {
    /// Reads it; none: there are no headers.
    ///
    /// # Errors
    /// When it cannot be read, or is invalid.
    pub(super) fn open(path: Option<PathBuf>) -> Result<Self> {
        let headers = path.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { path, headers, is_reported: false })
    }

    /// What it holds now; while it is invalid, what it held before.
    pub(super) async fn current(&mut self) -> &HeaderMap {
        if let Some(path) = self.path.clone() {
            match tokio::task::spawn_blocking(move || read(&path)).await {
                Ok(Ok(headers)) => {
                    self.headers = headers;
                    self.is_reported = false;
                }
                Ok(Err(error)) if !self.is_reported => {
                    self.is_reported = true;
                    tracing::warn!(problem = %error, "headers file is invalid, keeping the previous version");
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        &self.headers
    }
}

fn read(path: &Path) -> Result<HeaderMap> {
    let text = config::read_small(path).map_err(|error| anyhow!("tracing.headers_file: {error}"))?;
    let mut headers = HeaderMap::new();
    for (index, line) in text.expose().lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line may be a secret, and is not shown.
        let at = format!("tracing.headers_file: {}:{}", path.display(), index + 1);
        let Some((name, value)) = line.split_once(':') else { bail!("{at}: must be NAME: VALUE") };
        let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) else {
            bail!("{at}: the name must be letters, digits and -");
        };
        if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("grpc-") || is_binary(&name) {
            bail!("{at}: {name} is set by the protocol");
        }
        let Ok(mut value) = HeaderValue::from_str(value.trim()) else {
            bail!("{at}: the value of {name} must be visible ASCII characters");
        };
        if headers.len() == HEADERS_MAX {
            bail!("{at}: too many headers, the limit is {HEADERS_MAX}");
        }
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// gRPC wants their values in Base64.
fn is_binary(name: &HeaderName) -> bool {
    name.as_str().ends_with("-bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn headers_are_read_again_and_kept_while_the_file_is_invalid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        std::fs::write(&path, "# for the collector\nauthorization: Bearer one\n\nx-tenant: a\n").unwrap();
        let mut file = HeadersFile::open(Some(path.clone())).unwrap();
        assert_eq!(file.current().await["authorization"], "Bearer one");
        assert_eq!(file.current().await["x-tenant"], "a");
        std::fs::write(&path, "authorization: Bearer two\n").unwrap();
        assert_eq!(file.current().await["authorization"], "Bearer two");
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
            let error = HeadersFile::open(Some(path.clone())).err().unwrap().to_string();
            assert!(error.ends_with(problem) && !error.contains("secr"), "{error}");
        }
    }
}
