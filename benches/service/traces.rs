//! What traces cost the service.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::{Request, Response, Status};

use super::{Process, Result, SHAPES, Server, Shape, free_address, median, pinned};

/// Two processes that do the same differ by some percent, by where their memory lies, for as long as they run: so each is started
/// several times.
const TRACE_STARTS: usize = 6;
/// What traces cost is a small share: many short rounds tell it better than a few long ones. Even, so that each of two servers
/// goes first as often as the other.
const TRACE_ROUNDS: usize = 4;
const TRACE_CALLS: usize = 50_000;

/// What traces cost: the same calls with tracing disabled, with none of them sampled, and with 1 % of them sampled and sent to a
/// collector, which has the other core, beside the clients. The first row is two servers with tracing disabled: how far two
/// that do the same are apart, which the others cannot tell from a cost. Calls a second have the part of the collector and
/// of the machine in them; the processor time of the server is its own.
pub(super) fn compare_with_disabled(folder: &Path, body: &Path) -> Result<()> {
    let address = free_address()?;
    let mut collector = pinned("1", &std::env::current_exe()?);
    let _collector = Process(collector.arg("--collector").arg(address.to_string()).spawn()?);
    println!(
        "\nWith traces, against disabled; medians of {TRACE_STARTS} starts with {TRACE_ROUNDS} rounds of {TRACE_CALLS} calls each, \
         and of their ratios"
    );
    for (ratio, promise) in [(None, "1"), (Some(0.0), "1"), (Some(0.01), "0.97")] {
        let name = ratio.map_or("disabled".to_owned(), |ratio| format!("sampled {ratio}"));
        let mut measured: [Pairs; SHAPES.len()] = Default::default();
        let mut sent = 0.0;
        for start in 0..TRACE_STARTS {
            let start_with = |ratio: Option<f64>, with: &str| {
                // An environment of another size is another place of the stack, which alone can cost a percent or two: those
                // without tracing have variables of the same size that nobody reads.
                let prefix = if ratio.is_some() { "BREAKERD" } else { "DISABLED" };
                Server::start_with(&folder.join(format!("{name}, {start}, {with}")), |command| {
                    command.env(format!("{prefix}_TRACING_ENDPOINT"), format!("http://{address}"));
                    command.env(
                        format!("{prefix}_TRACING_SAMPLE_RATIO"),
                        format!("{:.2}", ratio.unwrap_or_default()),
                    );
                })
            };
            let (off, traced) = (start_with(None, "off")?, start_with(ratio, "traced")?);
            for ((connections, streams), pairs) in SHAPES.into_iter().zip(&mut measured) {
                let shape = Shape { path: "AllowRequest", body, calls: TRACE_CALLS, connections, streams };
                pairs.measure(&traced, &off, &shape)?;
            }
            // Spans are collected for a second before they are sent.
            std::thread::sleep(Duration::from_secs(2));
            sent += traced.metric("tracing_exported_spans_total")?;
        }
        for ((connections, streams), pairs) in SHAPES.into_iter().zip(&mut measured) {
            println!(
                "  AllowRequest, {connections:>2} connections x {streams:>3} streams, {name:<12}: {:>8.0} calls/s, \
                 disabled {:>8.0} calls/s, ratio {:.3}, of processor time a call {:.3} (promise: {promise})",
                median(&mut pairs.with),
                median(&mut pairs.without),
                median(&mut pairs.ratios),
                median(&mut pairs.times)
            );
        }
        // What is dropped, or not taken, costs less than what is sent.
        let calls = u32::try_from(TRACE_STARTS * SHAPES.len() * (TRACE_ROUNDS + 1) * TRACE_CALLS)?;
        let expected = f64::from(calls) * ratio.unwrap_or_default();
        println!("  {name}: {sent} spans were sent, {expected} expected");
        if !(expected * 0.9..=expected * 1.1).contains(&sent) {
            return Err(format!("{name}: these are not the spans that were to be measured").into());
        }
    }
    Ok(())
}

/// Rates, and the ratios of what was measured next to each other.
#[derive(Default)]
struct Pairs {
    with: Vec<f64>,
    without: Vec<f64>,
    ratios: Vec<f64>,
    /// Processor time of the server without, over that with: as the rates are, below 1 where traces cost something.
    times: Vec<f64>,
}

impl Pairs {
    /// Rounds of both servers, one behind the other, each first in turn: a machine that grows slower during a round slows both as
    /// often. The first loads are not counted: memory and branches are cold.
    fn measure(&mut self, traced: &Server, off: &Server, shape: &Shape<'_>) -> Result<()> {
        let measure = |server: &Server| -> Result<(f64, f64)> {
            let before = server.processor_time()?;
            let rate = server.load(shape)?;
            Ok((rate, Duration::from_nanos(server.processor_time()? - before).as_secs_f64()))
        };
        measure(off)?;
        measure(traced)?;
        for round in 0..TRACE_ROUNDS {
            let (ours, theirs) = if round % 2 == 0 {
                let theirs = measure(off)?;
                (measure(traced)?, theirs)
            } else {
                (measure(traced)?, measure(off)?)
            };
            self.with.push(ours.0);
            self.without.push(theirs.0);
            self.ratios.push(ours.0 / theirs.0);
            self.times.push(theirs.1 / ours.1);
        }
        Ok(())
    }
}

/// A collector of traces that keeps nothing.
struct Collector;

pub(super) async fn serve_collector(address: SocketAddr) -> std::result::Result<(), tonic::transport::Error> {
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector));
    server.serve(address).await
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        _request: Request<ExportTraceServiceRequest>,
    ) -> std::result::Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
