//! The collector that the settings name, verified by the certificates that their file holds now.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::reread::RereadFile;
use super::transport::Transport;
use crate::config::{self, FileText, Settings, TraceCompression, TraceEndpoint, TraceProtocol};

/// The way to the collector. It begins anew when the CA certificates change.
pub(super) struct Collector {
    way: Way,
    /// The file of CA certificates, and what it held when it was last valid.
    ca: Option<(RereadFile, FileText)>,
    transport: Transport,
}

/// What the settings say of the way.
#[derive(Clone)]
struct Way {
    endpoint: TraceEndpoint,
    protocol: TraceProtocol,
    compression: TraceCompression,
    timeout: Duration,
}

impl Way {
    fn with_ca(&self, ca: Option<&FileText>) -> Result<Transport> {
        Transport::new(
            self.protocol,
            &self.endpoint,
            ca.map(FileText::expose),
            self.compression,
            self.timeout,
        )
    }
}

impl Collector {
    /// The collector at `endpoint`.
    ///
    /// # Errors
    /// When the file of CA certificates cannot be read, or is invalid, or the system has none.
    pub(super) fn open(settings: &Settings, endpoint: &TraceEndpoint) -> Result<Self> {
        let way = Way {
            endpoint: endpoint.clone(),
            protocol: settings.tracing_protocol,
            compression: settings.tracing_compression,
            timeout: settings.tracing_timeout,
        };
        let ca = match &settings.tracing_ca {
            Some(path) if endpoint.is_https() => Some((RereadFile::new(path.clone()), read(path)?)),
            _ => None,
        };
        let transport = way.with_ca(ca.as_ref().map(|(_, text)| text))?;
        Ok(Self { way, ca, transport })
    }

    /// The way to it now; while the file is invalid, the one by what it held before.
    pub(super) async fn current(&mut self) -> &mut Transport {
        if let Some((file, held)) = &mut self.ca {
            let (way, before) = (self.way.clone(), held.clone());
            let changed = file.read(move |path| {
                let text = read(path)?;
                if text == before {
                    return Ok(None);
                }
                Ok(Some((way.with_ca(Some(&text))?, text)))
            });
            if let Some(Some((transport, text))) = changed.await {
                tracing::info!("CA certificates of the trace collector reloaded");
                (self.transport, *held) = (transport, text);
            }
        }
        &mut self.transport
    }
}

fn read(path: &Path) -> Result<FileText> {
    config::read_small(path).map_err(|error| anyhow!("tracing.ca: {error}"))
}
