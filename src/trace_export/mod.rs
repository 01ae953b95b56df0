//! Sends spans to a collector over OTLP.
//!
//! One task takes ended spans from the queue of the tracer, in batches, and sends one batch at a time. Nothing waits for it: while
//! the collector is away the queue fills up, and what finds no room is dropped and counted. A batch that could be taken
//! later is sent again a few times; one that is refused is dropped. At the shutdown what is left is sent once, within a bound.

mod collector;
mod compression;
mod exporter;
mod grpc_export;
mod headers;
mod http_answer;
mod http_export;
mod request;
mod reread;
mod resource;
mod transport;

use std::sync::Arc;

use anyhow::Result;
use breakerd_common::clock::Clock;

pub use exporter::TraceExporter;

use crate::config::Settings;
use crate::metrics::{DroppedSpans, TracingMetrics};
use crate::traces::{StoreSystem, Tracer};
use collector::Collector;
use headers::HeadersFile;

/// The tracer, and who exports what it makes. None: tracing is disabled.
///
/// # Errors
/// When a file that the settings name cannot be read, or is invalid.
pub fn start(
    settings: &Settings,
    metrics: &TracingMetrics,
    clock: &Arc<dyn Clock>,
) -> Result<Option<(Tracer, TraceExporter)>> {
    let Some(endpoint) = settings.traces_endpoint() else {
        if settings.tracing_endpoint.is_some() {
            tracing::info!("tracing is disabled");
        }
        return Ok(None);
    };
    let collector = Collector::open(settings, endpoint)?;
    let headers = headers(settings)?;
    let store = if settings.has_database() { StoreSystem::Postgres } else { StoreSystem::Sqlite };
    let (tracer, queue) = Tracer::new(
        settings.tracing_sample_ratio.per_million(),
        settings.tracing_queue_max,
        store,
        Arc::clone(clock),
        metrics.dropped(DroppedSpans::QueueFull),
    );
    let (uri, protocol) = (endpoint.uri(), settings.tracing_protocol.name());
    tracing::info!(endpoint = %uri, protocol, "tracing is enabled");
    let resource = resource::of(settings);
    let exporter = TraceExporter::new(
        queue,
        collector,
        headers,
        resource,
        settings.tracing_timeout,
        metrics.clone(),
        Arc::clone(clock),
    );
    Ok(Some((tracer, exporter)))
}

/// What [`start`] would refuse.
///
/// # Errors
/// All errors of the files that the settings name.
pub fn check(settings: &Settings) -> Result<(), Vec<anyhow::Error>> {
    let Some(endpoint) = settings.traces_endpoint() else { return Ok(()) };
    let collector = Collector::check(settings, endpoint);
    let headers = headers(settings).map(drop);
    let errors: Vec<_> = [collector, headers].into_iter().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn headers(settings: &Settings) -> Result<HeadersFile> {
    HeadersFile::open(settings.tracing_headers.clone(), settings.tracing_headers_file.clone())
}
