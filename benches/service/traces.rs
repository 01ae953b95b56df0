//! What traces cost the service.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::{Request, Response, Status};

use super::{Process, Result, SHAPES, Server, Shape, calls_a_second, free_address, median, pinned};

/// Two processes that do the same differ by some percent, by where their memory lies, for as long as they run: so each is started
/// several times.
const STARTS: usize = 6;
/// What traces cost is a small share: many short rounds tell it better than a few long ones. Even, so that each of two servers
/// goes first as often as the other.
const ROUNDS: usize = 4;
const CALLS: usize = 50_000;
/// Of sampled calls, in one process: they are told from unsampled ones better than two processes from each other.
const SAMPLED_STARTS: usize = 3;
const SAMPLED_ROUNDS: usize = 10;
const SAMPLED_CALLS: u32 = 2_000;
/// Of which those are 1 %.
const SAMPLED_OF_CALLS: usize = 200_000;
/// Spans are collected for a second before they are sent.
const SENT_WITHIN: Duration = Duration::from_millis(1_300);

pub(super) fn measure(folder: &Path, body: &Path) -> Result<()> {
    let address = free_address()?;
    let mut collector = pinned("1", &std::env::current_exe()?);
    let _collector = Process(collector.arg("--collector").arg(address.to_string()).spawn()?);
    compare_with_disabled(folder, body, address)?;
    compare_sampled(folder, body, address)
}

/// What it costs that tracing is enabled and samples nothing: the same calls to a server with and to one without. The first row
/// is two servers with tracing disabled: how far two that do the same are apart, which the other cannot tell from a
/// cost.
fn compare_with_disabled(folder: &Path, body: &Path, collector: SocketAddr) -> Result<()> {
    println!(
        "\nWith traces of which none is sampled, against disabled; medians of {STARTS} starts with {ROUNDS} rounds of {CALLS} \
         calls each, and of their ratios"
    );
    for ratio in [None, Some(0.0)] {
        let name = ratio.map_or("disabled", |_| "enabled");
        let mut measured: [Pairs; SHAPES.len()] = Default::default();
        for number in 0..STARTS {
            let start_with =
                |ratio, with| start(&folder.join(format!("{name}, {number}, {with}")), ratio, collector);
            let (off, traced) = (start_with(None, "off")?, start_with(ratio, "traced")?);
            for ((connections, streams), pairs) in SHAPES.into_iter().zip(&mut measured) {
                let shape = Shape { path: "AllowRequest", body, calls: CALLS, connections, streams };
                pairs.measure(&traced, &off, &shape)?;
            }
        }
        for ((connections, streams), pairs) in SHAPES.into_iter().zip(&mut measured) {
            println!(
                "  AllowRequest, {connections:>2} connections x {streams:>3} streams, {name:<8}: {:>8.0} calls/s, \
                 disabled {:>8.0} calls/s, ratio {:.3}, of processor time a call {:.3} (promise: 1)",
                median(&mut pairs.with),
                median(&mut pairs.without),
                median(&mut pairs.ratios),
                median(&mut pairs.times)
            );
        }
    }
    Ok(())
}

/// Tracing disabled, or with this share sampled.
fn start(data_dir: &Path, ratio: Option<f64>, collector: SocketAddr) -> Result<Server> {
    // An environment of another size is another place of the stack, which alone can cost a percent or two: those without tracing have
    // variables of the same size that nobody reads.
    let prefix = if ratio.is_some() { "BREAKERD" } else { "DISABLED" };
    Server::start_with(data_dir, |command| {
        command.env(format!("{prefix}_TRACING_ENDPOINT"), format!("http://{collector}"));
        command.env(format!("{prefix}_TRACING_SAMPLE_RATIO"), format!("{:.2}", ratio.unwrap_or_default()));
    })
}

/// What it costs that 1 % of the calls are sampled, and sent to a collector, which has the other core, beside the clients. Beside the load
/// one client makes 1 % of the calls, whose `traceparent` says in one round that they are sampled, and in the next that they
/// are not. So both are measured in one process, and nothing but that bit differs.
fn compare_sampled(folder: &Path, body: &Path, collector: SocketAddr) -> Result<()> {
    println!(
        "\nWith 1 % of the calls sampled, against none, in one process; means of {SAMPLED_STARTS} starts with {SAMPLED_ROUNDS} rounds of \
         {SAMPLED_OF_CALLS} calls each, without the outer tenths"
    );
    let mut costs: [Vec<f64>; SHAPES.len()] = Default::default();
    for number in 0..SAMPLED_STARTS {
        let server = start(&folder.join(format!("sampled, {number}")), Some(0.0), collector)?;
        for ((connections, streams), costs) in SHAPES.into_iter().zip(&mut costs) {
            let shape = Shape { path: "AllowRequest", body, calls: SAMPLED_OF_CALLS, connections, streams };
            let sampled_a_second = server.load(&shape)? / 100.0;
            let measure = |is_sampled| with_callers(&server, &shape, sampled_a_second, is_sampled);
            for round in 0..SAMPLED_ROUNDS {
                let (with, without) = in_turn(round, || measure(true), || measure(false))?;
                costs.push(with / without - 1.0);
            }
        }
        // What is dropped, or not taken, costs less than what is sent.
        let sent = server.metric("tracing_exported_spans_total")?;
        let rounds = u32::try_from(SHAPES.len() * SAMPLED_ROUNDS)?;
        let missing = f64::from(rounds * SAMPLED_CALLS) - sent;
        if missing.abs() >= 1.0 {
            return Err(format!("{sent} spans were sent, which are {missing} too few").into());
        }
    }
    for ((connections, streams), costs) in SHAPES.into_iter().zip(&mut costs) {
        let (mean, error) = mean_and_error(costs)?;
        println!(
            "  AllowRequest, {connections:>2} connections x {streams:>3} streams: {:.1} % more processor time a call, standard \
             error {:.1} (promise: at most 3)",
            mean * 100.0,
            error * 100.0
        );
    }
    Ok(())
}

/// Processor time of the server while it takes these calls and, beside them, those of a client that says whether it samples. Of all calls
/// its part is the same.
fn with_callers(server: &Server, shape: &Shape<'_>, a_second: f64, is_sampled: bool) -> Result<f64> {
    let before = server.processor_time()?;
    let calls = usize::try_from(SAMPLED_CALLS)?;
    let few = Shape { calls, connections: 1, streams: 20, ..*shape };
    let flags = if is_sampled { "01" } else { "00" };
    let parent = format!("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    let a_second = format!("{a_second:.0}");
    let callers = server.h2load(&few, &["--rps", &a_second, "-H", &parent]).stdout(Stdio::piped()).spawn()?;
    server.load(shape)?;
    calls_a_second(&callers.wait_with_output()?, calls)?;
    std::thread::sleep(SENT_WITHIN);
    Ok(Duration::from_nanos(server.processor_time()? - before).as_secs_f64())
}

/// Both of a round: a machine that grows slower during one slows each of the two as often.
fn in_turn<T>(
    round: usize,
    with: impl FnOnce() -> Result<T>,
    without: impl FnOnce() -> Result<T>,
) -> Result<(T, T)> {
    if round.is_multiple_of(2) {
        let without = without()?;
        return Ok((with()?, without));
    }
    Ok((with()?, without()?))
}

/// Of all but the least and the greatest tenth. The error is the standard one of the mean.
fn mean_and_error(values: &mut [f64]) -> Result<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let outer = values.len() / 10;
    let inner = &values[outer..values.len() - outer];
    let count = f64::from(u32::try_from(inner.len())?);
    let mean = inner.iter().sum::<f64>() / count;
    let variance = inner.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Ok((mean, (variance / count).sqrt()))
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
        for round in 0..ROUNDS {
            let (ours, theirs) = in_turn(round, || measure(traced), || measure(off))?;
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
