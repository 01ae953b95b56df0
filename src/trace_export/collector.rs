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
    fn new(settings: &Settings, endpoint: &TraceEndpoint) -> Self {
        Self {
            endpoint: endpoint.clone(),
            protocol: settings.tracing_protocol,
            compression: settings.tracing_compression,
            timeout: settings.tracing_timeout,
        }
    }

    /// The file of CA certificates, if one is needed.
    fn ca_path<'a>(&self, settings: &'a Settings) -> Option<&'a Path> {
        settings.tracing_ca.as_deref().filter(|_| self.endpoint.is_https())
    }

    fn check(&self, ca: Option<&FileText>) -> Result<()> {
        let ca = ca.map(FileText::expose);
        Transport::check(self.protocol, &self.endpoint, ca, self.compression, self.timeout)
    }

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
    /// What [`Collector::open`] would refuse. It needs no runtime.
    ///
    /// # Errors
    /// As [`Collector::open`].
    pub(super) fn check(settings: &Settings, endpoint: &TraceEndpoint) -> Result<()> {
        let way = Way::new(settings, endpoint);
        let ca = way.ca_path(settings).map(read).transpose()?;
        way.check(ca.as_ref())
    }

    /// The collector at `endpoint`.
    ///
    /// # Errors
    /// When the file of CA certificates cannot be read, or is invalid, or the system has none.
    pub(super) fn open(settings: &Settings, endpoint: &TraceEndpoint) -> Result<Self> {
        let way = Way::new(settings, endpoint);
        let ca = way.ca_path(settings);
        let ca = ca.map(|path| anyhow::Ok((RereadFile::new(path.to_owned()), read(path)?))).transpose()?;
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
