//! The service under load: breakerd against an empty tonic handler with the same messages, in the same run.
//!
//! Both run as processes of their own on one core each, `h2load` on the other, in turn, round after round; what
//! counts is the ratio. Promises (docs/benchmarks.md): unary `AllowRequest` at 0.9 of the empty handler's rate, and
//! `3_000_000` decisions a second and core in batches of 128.
//!
//! `cargo bench --bench service` (needs h2load: Debian's nghttp2-client). With `BREAKERD_TEST_POSTGRES_URL`, which
//! `make bench` sets, on Postgres too. `cargo bench --bench service -- traces` runs that part alone; the others are `stores` and
//! `token`.

#[path = "service/traces.rs"]
mod traces;

use std::error::Error;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use breakerd::auth::Token;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::breaker_service_server::{BreakerService, BreakerServiceServer};
use breakerd_api::v1::{
    AllowReason, AllowRequestRequest, AllowRequestResponse, AllowRequestsRequest, AllowRequestsResponse,
    RecordOutcomeRequest, RecordOutcomeResponse, RecordOutcomesRequest, RecordOutcomesResponse, State,
    WatchBreakersRequest, WatchBreakersResponse,
};
use prost::Message;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 5;
const CALLS: usize = 300_000;
const BATCH: u32 = 128;
const BATCH_CALLS: usize = 30_000;
/// Connections, and streams on each.
const SHAPES: [(usize, usize); 2] = [(4, 100), (64, 1)];
/// What can be run alone.
const PARTS: [&str; 3] = ["stores", "token", "traces"];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--empty-handler") {
        let address = arguments.get(at + 1).ok_or("an address")?.parse()?;
        return Ok(tokio::runtime::Runtime::new()?.block_on(serve_empty(address))?);
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--collector") {
        let address = arguments.get(at + 1).ok_or("an address")?.parse()?;
        return Ok(tokio::runtime::Runtime::new()?.block_on(traces::serve_collector(address))?);
    }
    if Command::new("h2load").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Err("h2load is missing: Debian has it in nghttp2-client, and `make bench` installs it".into());
    }
    // Cargo adds flags of its own.
    let parts: Vec<_> = arguments.iter().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        return Err(format!("no part {unknown}: there are {}", PARTS.join(", ")).into());
    }
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| *wanted == part);
    let folder = tempfile::tempdir()?;
    let unary = folder.path().join("unary");
    let request = |i: u32| AllowRequestRequest {
        service: "payments".to_owned(),
        name: format!("dependency-{i}"),
        caller: String::new(),
    };
    write_body(&unary, &request(1))?;
    if is_wanted("stores") {
        let batch = folder.path().join("batch");
        write_body(&batch, &AllowRequestsRequest { requests: (0..BATCH).map(request).collect() })?;
        with_stores(folder.path(), &unary, &batch)?;
    }
    if is_wanted("token") {
        with_a_token(folder.path(), &unary)?;
    }
    if is_wanted("traces") {
        traces::measure(folder.path(), &unary)?;
    }
    Ok(())
}

/// The promises, on each store.
fn with_stores(folder: &Path, unary: &Path, batch: &Path) -> Result<()> {
    let mut stores = vec![("SQLite", None)];
    match std::env::var("BREAKERD_TEST_POSTGRES_URL") {
        Ok(url) => stores.push(("Postgres", Some(url))),
        Err(_) => {
            println!("BREAKERD_TEST_POSTGRES_URL is not set: Postgres is left out (`make bench` sets it)");
        }
    }
    for (store, url) in stores {
        let empty = Server::start_empty()?;
        let breakerd = Server::start_breakerd(&folder.join(store), url.as_deref(), None)?;
        println!("\n{store}");
        for (connections, streams) in SHAPES {
            let shape = Shape { path: "AllowRequest", body: unary, calls: CALLS, connections, streams };
            let (ours, theirs) = compare(&breakerd, &empty, &shape)?;
            println!(
                "  AllowRequest, {connections:>2} connections x {streams:>3} streams: {ours:>8.0} calls/s, \
                 empty handler {theirs:>8.0} calls/s, ratio {:.3} (promise: 0.9)",
                ours / theirs
            );
        }
        let shape =
            Shape { path: "AllowRequests", body: batch, calls: BATCH_CALLS, connections: 4, streams: 10 };
        let mut rates = (0..ROUNDS).map(|_| breakerd.load(&shape)).collect::<Result<Vec<_>>>()?;
        let decisions = median(&mut rates) * f64::from(BATCH);
        println!("  AllowRequests of {BATCH}: {decisions:>10.0} decisions/s on one core (promise: 3000000)");
        breakerd.check()?;
    }
    Ok(())
}

/// What it costs that callers are asked who they are: the same calls with and without.
fn with_a_token(folder: &Path, body: &Path) -> Result<()> {
    let token = Token::draw()?;
    let tokens = folder.join("tokens.toml");
    let digest = token.digest();
    fs::write(
        &tokens,
        format!("[[token]]\nname = \"bench\"\nsha256 = \"{digest}\"\nroles = [\"caller\"]\n"),
    )?;
    let open = Server::start_breakerd(&folder.join("open"), None, None)?;
    let mut guarded = Server::start_breakerd(&folder.join("guarded"), None, Some(&tokens))?;
    guarded.authorization = Some(format!("authorization: Bearer {}", token.expose()));
    println!("\nWith a token");
    for (connections, streams) in SHAPES {
        let shape = Shape { path: "AllowRequest", body, calls: CALLS, connections, streams };
        let (with, without) = compare(&guarded, &open, &shape)?;
        println!(
            "  AllowRequest, {connections:>2} connections x {streams:>3} streams: {with:>8.0} calls/s, \
             without {without:>8.0} calls/s, ratio {:.3}",
            with / without
        );
    }
    Ok(())
}

/// Rounds in turn, so that a machine whose speed drifts slows both; the medians.
fn compare(breakerd: &Server, empty: &Server, shape: &Shape<'_>) -> Result<(f64, f64)> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(empty.load(shape)?);
        ours.push(breakerd.load(shape)?);
    }
    Ok((median(&mut ours), median(&mut theirs)))
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    f64::midpoint(rates[(rates.len() - 1) / 2], rates[rates.len() / 2])
}

struct Shape<'a> {
    path: &'static str,
    body: &'a Path,
    calls: usize,
    connections: usize,
    streams: usize,
}

/// A gRPC body: not compressed, its length, the message.
fn write_body(path: &Path, message: &impl Message) -> Result<()> {
    let encoded = message.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(encoded.len())?.to_be_bytes());
    body.extend(encoded);
    Ok(fs::write(path, body)?)
}

/// A process, ended when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server process, ended when this is dropped.
struct Server {
    process: Process,
    address: SocketAddr,
    /// Of its metrics, if it has some.
    http: Option<SocketAddr>,
    /// A header that every call has.
    authorization: Option<String>,
}

impl Server {
    fn start_empty() -> Result<Self> {
        let address = free_address()?;
        let mut command = pinned("0", &std::env::current_exe()?);
        command.arg("--empty-handler").arg(address.to_string());
        Self::wait(command.spawn()?, address, None)
    }

    fn start_breakerd(data_dir: &Path, url: Option<&str>, tokens: Option<&Path>) -> Result<Self> {
        Self::start_with(data_dir, |command| {
            if let Some(url) = url {
                command.arg("--database-url").arg(url);
            }
            if let Some(tokens) = tokens {
                command.env("BREAKERD_AUTH_TOKENS_FILE", tokens);
            }
        })
    }

    fn start_with(data_dir: &Path, set: impl FnOnce(&mut Command)) -> Result<Self> {
        let (address, http) = (free_address()?, free_address()?);
        let mut command = pinned("0", Path::new(env!("CARGO_BIN_EXE_breakerd")));
        command.env_clear().current_dir(std::env::temp_dir()).arg("serve").arg("--data-dir").arg(data_dir);
        command.arg("--grpc-listen").arg(address.to_string()).arg("--http-listen").arg(http.to_string());
        set(&mut command);
        Self::wait(command.stderr(Stdio::null()).spawn()?, address, Some(http))
    }

    /// Waits until it answers.
    fn wait(process: Child, address: SocketAddr, http: Option<SocketAddr>) -> Result<Self> {
        let server = Self { process: Process(process), address, http, authorization: None };
        for _ in 0..300 {
            // One that asks who comes answers too.
            let refused = |error: Box<dyn Error>| {
                error.downcast_ref::<Status>().is_some_and(|it| it.code() == tonic::Code::Unauthenticated)
            };
            if server.check().or_else(|error| if refused(error) { Ok(()) } else { Err("") }).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("the server on {address} does not answer").into())
    }

    /// h2load counts HTTP's answers; this looks at gRPC's.
    fn check(&self) -> Result<()> {
        let url = format!("http://{}", self.address);
        tokio::runtime::Runtime::new()?.block_on(async {
            let mut client = BreakerServiceClient::connect(url).await?;
            let request = AllowRequestRequest { service: "payments".to_owned(), ..Default::default() };
            let answer = client.allow_request(request).await?.into_inner();
            if answer.allowed { Ok(()) } else { Err("denied".into()) }
        })
    }

    /// The value of a metric without labels, by the end of its name.
    fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = TcpStream::connect(self.http.ok_or("this server has no metrics")?)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let value = page.lines().find_map(|line| {
            let (metric, value) = line.split_once(' ')?;
            metric.ends_with(name).then_some(value)
        });
        Ok(value.ok_or_else(|| format!("no metric {name}"))?.trim().parse()?)
    }

    /// Nanoseconds that its threads have run, where the system counts them (Linux).
    fn processor_time(&self) -> Result<u64> {
        let mut all = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.0.id()))? {
            let counted = fs::read_to_string(thread?.path().join("schedstat"))?;
            all += counted.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(all)
    }

    /// Calls a second.
    fn load(&self, shape: &Shape<'_>) -> Result<f64> {
        calls_a_second(&self.h2load(shape, &[]).output()?, shape.calls)
    }

    /// The command that makes these calls, with further options.
    fn h2load(&self, shape: &Shape<'_>, options: &[&str]) -> Command {
        let mut command = pinned("1", Path::new("h2load"));
        command.args(["-n", &shape.calls.to_string(), "-c", &shape.connections.to_string()]);
        command.args(["-m", &shape.streams.to_string(), "-t", "1", "-d"]).arg(shape.body);
        command.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
        if let Some(header) = &self.authorization {
            command.args(["-H", header]);
        }
        command.args(options);
        command.arg(format!("http://{}/breakerd.v1.BreakerService/{}", self.address, shape.path));
        command
    }
}

/// What h2load says, if all `calls` succeeded.
fn calls_a_second(output: &Output, calls: usize) -> Result<f64> {
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{calls} succeeded");
    if !text.contains(&all) {
        return Err(format!("not every call succeeded:\n{text}").into());
    }
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("finished in ")?.split(", ").nth(1)?.strip_suffix(" req/s"));
    Ok(rate.ok_or_else(|| format!("h2load says no rate:\n{text}"))?.parse()?)
}

/// A command on one core, where the system lets us say so.
fn pinned(core: &str, program: &Path) -> Command {
    if Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok() {
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        return command;
    }
    Command::new(program)
}

fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// What is compared against: tonic, the same messages, and nothing behind them.
struct Empty;

async fn serve_empty(address: SocketAddr) -> std::result::Result<(), tonic::transport::Error> {
    let listener = tokio::net::TcpListener::bind(address).await.expect("the address was free");
    tonic::transport::Server::builder()
        .add_service(BreakerServiceServer::new(Empty))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
}

#[tonic::async_trait]
impl BreakerService for Empty {
    async fn allow_request(
        &self,
        _request: Request<AllowRequestRequest>,
    ) -> std::result::Result<Response<AllowRequestResponse>, Status> {
        Ok(Response::new(AllowRequestResponse {
            allowed: true,
            state: State::Closed.into(),
            reason: AllowReason::Closed.into(),
            permit: prost::bytes::Bytes::from_static(&[7; breakerd::engine::SEALED_BYTES]),
            epoch: 0,
            retry_after: None,
            config_revision: 1,
            lease: None,
            decided_alone: false,
        }))
    }

    async fn record_outcome(
        &self,
        _request: Request<RecordOutcomeRequest>,
    ) -> std::result::Result<Response<RecordOutcomeResponse>, Status> {
        Ok(Response::new(RecordOutcomeResponse::default()))
    }

    async fn allow_requests(
        &self,
        _request: Request<AllowRequestsRequest>,
    ) -> std::result::Result<Response<AllowRequestsResponse>, Status> {
        Ok(Response::new(AllowRequestsResponse::default()))
    }

    async fn record_outcomes(
        &self,
        _request: Request<RecordOutcomesRequest>,
    ) -> std::result::Result<Response<RecordOutcomesResponse>, Status> {
        Ok(Response::new(RecordOutcomesResponse::default()))
    }

    type WatchBreakersStream = tokio_stream::Empty<std::result::Result<WatchBreakersResponse, Status>>;

    async fn watch_breakers(
        &self,
        _request: Request<WatchBreakersRequest>,
    ) -> std::result::Result<Response<Self::WatchBreakersStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}
