//! Spans on their way to a collector: a breakerd as a process, and a receiver of OTLP.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use breakerd::config::{self, Sources};
use breakerd::metrics::Metrics;
use breakerd::trace_export;
use breakerd::traces::BATCH_MAX;
use breakerd_api::v1;
use breakerd_common::clock::{Clock, ManualClock};
use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::certificates::{Authority, Dates};
use crate::grpc_world::{START, ask, report};
use crate::otlp_receiver::{Receiver, attributes};
use crate::process::{Process, eventually, log_of, program};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const ALLOW: &str = "breakerd.v1.BreakerService/AllowRequest";

fn sampled<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", SAMPLED.parse().unwrap());
    request
}

fn tracing(folder: &Path, endpoint: &str) -> Command {
    let mut command = program(folder, None);
    command.env("BREAKERD_TRACING_ENDPOINT", endpoint);
    command
}

async fn ready(command: Command, folder: &Path) -> Process {
    let process = Process::run(command, folder);
    eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;
    process
}

#[tokio::test]
async fn spans_reach_a_collector_over_grpc_with_their_resource_and_headers() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::grpc(None).await);
    let headers = folder.path().join("headers");
    fs::write(&headers, "authorization: Bearer secret\n").unwrap();
    let mut command = tracing(folder.path(), &format!("http://{}", receiver.address));
    command.env("BREAKERD_TRACING_HEADERS_FILE", &headers).env("BREAKERD_REPLICA", "r-1");
    // The standard's own: ours win over them.
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").env("OTEL_SERVICE_NAME", "circuits");
    command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test%20bed,service.name=other");
    let process = ready(command, folder.path()).await;
    process.breakers().await.allow_request(sampled(ask("payments", "eu"))).await.unwrap();
    let spans = receiver.spans_with(ALLOW).await;
    let seen = spans.iter().find(|seen| seen.span.name == ALLOW).unwrap();
    assert_eq!(seen.span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!(seen.span.trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
    let of_span = attributes(&seen.span.attributes);
    assert_eq!((&*of_span["breakerd.service"], &*of_span["breakerd.allowed"]), ("payments", "true"));
    for (key, value) in [
        ("service.name", "circuits"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", "r-1"),
        ("deployment.environment.name", "test bed"),
        ("telemetry.sdk.language", "rust"),
    ] {
        assert_eq!(seen.resource.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(receiver.received.headers().iter().all(|headers| headers["authorization"] == "Bearer secret"));
    let exported = process.page("/metrics").await;
    assert!(exported.contains("llm_incident_manager_breakerd_tracing_failed_exports_total 0"), "{exported}");
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn spans_reach_a_collector_over_http_and_the_last_ones_at_the_shutdown() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::http("/otlp/v1/traces", None).await);
    let mut command = tracing(folder.path(), &format!("http://{}/otlp", receiver.address));
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    command.env("BREAKERD_TRACING_SAMPLE_RATIO", "1");
    let process = ready(command, folder.path()).await;
    let mut client = process.breakers().await;
    for _ in 0..5 {
        let permit = client.allow_request(ask("payments", "")).await.unwrap().into_inner();
        client.record_outcome(sampled(report(&permit, v1::Outcome::Failure))).await.unwrap();
    }
    drop(client);
    // What has ended in this moment leaves before the process does.
    assert!(process.stop().await.success());
    let spans = receiver.received.spans();
    let names: Vec<_> = spans.iter().map(|seen| &*seen.span.name).collect();
    for (name, times) in [(ALLOW, 5), ("transition to OPEN", 1)] {
        assert_eq!(names.iter().filter(|it| **it == name).count(), times, "{name}: {names:?}");
    }
    assert!(names.contains(&"store propose"), "{names:?}");
    let headers = receiver.received.headers();
    assert!(headers.iter().all(|headers| headers["content-type"] == "application/x-protobuf"));
}

/// The variables of traces alone: their path is used as it is, and their headers are sent.
#[tokio::test]
async fn shared_variables_of_traces_name_the_path_the_headers_and_gzip() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::http("/custom", None).await);
    let mut command = program(folder.path(), None);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{}/custom", receiver.address));
    command.env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
    command.env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer%20secret");
    command.env("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip");
    command.env("OTEL_TRACES_SAMPLER", "parentbased_always_on");
    let process = ready(command, folder.path()).await;
    process.breakers().await.allow_request(ask("payments", "")).await.unwrap();
    receiver.spans_with(ALLOW).await;
    for headers in receiver.received.headers() {
        assert_eq!(headers["authorization"], "Bearer secret");
        assert_eq!(headers["content-encoding"], "gzip");
    }
    assert!(process.stop().await.success());
    assert!(!log_of(folder.path()).contains("secret"));
}

#[tokio::test]
async fn a_shared_variable_disables_traces() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::grpc(None).await);
    let mut command = tracing(folder.path(), &format!("http://{}", receiver.address));
    command.env("OTEL_SDK_DISABLED", "true");
    let process = ready(command, folder.path()).await;
    process.breakers().await.allow_request(sampled(ask("payments", ""))).await.unwrap();
    // At the shutdown all that there is would be sent.
    assert!(process.stop().await.success());
    assert!(receiver.received.spans().is_empty());
    assert!(log_of(folder.path()).contains("tracing is disabled"));
}

#[tokio::test]
async fn a_collector_is_verified_with_the_ca_that_is_set() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.server(Dates::Good);
    for protocol in ["grpc", "http/protobuf"] {
        // By another authority nothing arrives, and calls do not care.
        for (ca, arrives) in [(&other, false), (&authority, true)] {
            let receiver = match protocol {
                "grpc" => Receiver::grpc(Some(&pair)).await,
                _ => Receiver::http("/v1/traces", Some(&pair)).await,
            };
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("ca.pem");
            fs::write(&file, &ca.pem).unwrap();
            let mut command =
                tracing(folder.path(), &format!("https://localhost:{}", receiver.address.port()));
            command.env("BREAKERD_TRACING_CA", &file).env("BREAKERD_TRACING_PROTOCOL", protocol);
            let process = ready(command, folder.path()).await;
            process.breakers().await.allow_request(sampled(ask("payments", ""))).await.unwrap();
            if arrives {
                receiver.spans_with(ALLOW).await;
            } else {
                let log = async || log_of(folder.path()).contains("cannot export spans");
                eventually("it is logged", log).await;
                assert!(receiver.received.spans().is_empty());
                // What was not taken is sent again, by what the file holds then.
                fs::write(&file, "no certificate").unwrap();
                let log = async || log_of(folder.path()).contains("keeping the previous version");
                eventually("it is logged", log).await;
                fs::write(&file, &authority.pem).unwrap();
                receiver.spans_with(ALLOW).await;
            }
            assert!(process.stop().await.success());
        }
    }
}

/// By the clock of breakerd no time passes: it is the number of spans that sends them.
#[tokio::test]
async fn a_full_batch_is_sent_before_the_moment_is_over_in_which_spans_are_collected() {
    let receiver = Receiver::grpc(None).await;
    let text = format!("[tracing]\nendpoint = \"http://{}\"\nsample_ratio = 1\n", receiver.address);
    let settings = config::parse(&text, Path::new("breakerd.toml"), &Sources::none()).unwrap().settings;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START));
    let metrics = Metrics::default().tracing;
    let (tracer, exporter) = trace_export::start(&settings, &metrics, &clock).unwrap().unwrap();
    let stop = CancellationToken::new();
    let exporting = tokio::spawn({
        let stop = stop.clone();
        async move { exporter.run(stop).await }
    });
    let span = || drop(tracer.call(ALLOW, &HeaderMap::new(), START));
    span();
    // The first one has woken the exporter, which waits for others.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    for _ in 0..BATCH_MAX {
        span();
    }
    eventually("a batch is sent", async || metrics.exported_spans_total.get() >= 512).await;
    stop.cancel();
    exporting.await.unwrap().unwrap();
    assert_eq!(receiver.received.spans().len(), BATCH_MAX + 1);
}

/// What a page of OpenMetrics has of the RPCs, and how many exemplars it has in all.
async fn rpcs_in_open_metrics(process: &Process) -> (String, usize) {
    let request = reqwest::Client::new().get(format!("{}/metrics", process.http));
    let answer = request.header("accept", "application/openmetrics-text").send().await.unwrap();
    let page = answer.text().await.unwrap();
    let rpcs =
        page.lines().filter(|line| line.contains("_breakerd_grpc_call")).collect::<Vec<_>>().join("\n");
    (rpcs, page.matches(" # {").count())
}

#[tokio::test]
async fn a_sampled_call_is_an_exemplar_of_its_duration_and_of_its_failure_in_open_metrics_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tracing(folder.path(), "http://127.0.0.1:1");
    command.env("BREAKERD_TRACING_SAMPLE_RATIO", "0");
    let process = ready(command, folder.path()).await;
    let (mut breakers, mut operations) = (process.breakers().await, process.operations().await);
    breakers.allow_request(ask("payments", "")).await.unwrap();
    assert_eq!(rpcs_in_open_metrics(&process).await.1, 0, "nothing is sampled");

    breakers.allow_request(sampled(ask("payments", ""))).await.unwrap();
    let nobody = v1::GetBreakerRequest { service: "nobody".to_owned(), ..Default::default() };
    operations.get_breaker(sampled(nobody)).await.unwrap_err();
    let (rpcs, exemplars) = rpcs_in_open_metrics(&process).await;
    assert_eq!(exemplars, 3, "a bucket of each, and the failure: {rpcs}");
    let trace = &SAMPLED[3..35];
    let seconds_since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    for series in [
        r#"_duration_seconds_bucket{service="breakerd.v1.BreakerService",method="AllowRequest",le="#,
        r#"_duration_seconds_bucket{service="breakerd.v1.OperationsService",method="GetBreaker",le="#,
        r#"_calls_total{service="breakerd.v1.OperationsService",method="GetBreaker",code="NOT_FOUND"}"#,
    ] {
        let is_of = |line: &&str| line.contains(series) && line.contains(" # {");
        let line = rpcs.lines().find(is_of).unwrap_or_else(|| panic!("{series} in {rpcs}"));
        let (_, exemplar) = line.split_once(" # ").unwrap();
        let words: Vec<_> = exemplar.split(' ').collect();
        let [labels, value, at] = words[..] else { panic!("{line}") };
        assert_eq!(labels, format!("{{trace_id=\"{trace}\"}}"));
        let (value, at) = (value.parse::<f64>().unwrap(), at.parse::<f64>().unwrap());
        assert!(value > 0.0 && value <= 1.0, "{line}");
        assert!((seconds_since_epoch - at).abs() < 60.0, "{line}");
    }
    // The text format has no place for them.
    assert!(!process.page("/metrics").await.contains(trace));
    drop((breakers, operations));
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = tracing(folder.path(), &format!("http://{closed}"));
    command.env("BREAKERD_TRACING_QUEUE_MAX", "64");
    let process = ready(command, folder.path()).await;
    let mut client = process.breakers().await;
    for _ in 0..1_500 {
        assert!(client.allow_request(sampled(ask("payments", ""))).await.unwrap().into_inner().allowed);
    }
    let dropped = "llm_incident_manager_breakerd_tracing_dropped_spans_total{reason=\"queue_full\"} 0";
    eventually("spans are dropped", async || !process.page("/metrics").await.contains(dropped)).await;
    eventually("it is logged", async || log_of(folder.path()).contains("cannot export spans")).await;
    drop(client);
    assert!(process.stop().await.success());
    assert_eq!(log_of(folder.path()).matches("cannot export spans").count(), 1, "once");
}

#[tokio::test]
async fn a_collector_that_is_busy_for_a_moment_loses_nothing() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::grpc(None).await);
    receiver.received.is_busy.store(true, Ordering::Relaxed);
    let process = ready(tracing(folder.path(), &format!("http://{}", receiver.address)), folder.path()).await;
    process.breakers().await.allow_request(sampled(ask("payments", ""))).await.unwrap();
    eventually("it was refused", async || log_of(folder.path()).contains("cannot export spans")).await;
    receiver.received.is_busy.store(false, Ordering::Relaxed);
    receiver.spans_with(ALLOW).await;
    eventually("it is logged", async || log_of(folder.path()).contains("spans are exported again")).await;
    assert!(process.stop().await.success());
}

/// As behind a load balancer whose collector restarts: the connection is made, and is reset.
#[tokio::test]
async fn a_connection_that_is_reset_loses_nothing() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::grpc(None).await);
    let balancer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, collector) = (balancer.local_addr().unwrap(), receiver.address);
    tokio::spawn(async move {
        for _ in 0..2 {
            drop(balancer.accept().await.unwrap());
        }
        while let Ok((mut stream, _)) = balancer.accept().await {
            let mut onward = tokio::net::TcpStream::connect(collector).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut onward).await });
        }
    });
    let process = ready(tracing(folder.path(), &format!("http://{address}")), folder.path()).await;
    process.breakers().await.allow_request(sampled(ask("payments", ""))).await.unwrap();
    receiver.spans_with(ALLOW).await;
    let page = process.page("/metrics").await;
    assert!(page.contains("tracing_dropped_spans_total{reason=\"export_failed\"} 0"), "{page}");
    assert!(log_of(folder.path()).contains("cannot export spans, retrying"));
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn the_log_says_that_spans_are_dropped_which_are_not_sent_again() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::http("/elsewhere", None).await);
    let mut command = tracing(folder.path(), &format!("http://{}", receiver.address));
    command.env("BREAKERD_TRACING_PROTOCOL", "http/protobuf");
    let process = ready(command, folder.path()).await;
    process.breakers().await.allow_request(sampled(ask("payments", ""))).await.unwrap();
    let log = async || log_of(folder.path()).contains("cannot export spans, dropping them");
    eventually("it is logged", log).await;
    assert!(log_of(folder.path()).contains("404"));
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn settings_that_are_wrong_end_the_start() {
    for (variable, value, problem) in [
        ("BREAKERD_TRACING_ENDPOINT", "collector:4317", "BREAKERD_TRACING_ENDPOINT: invalid value"),
        (
            "BREAKERD_TRACING_ENDPOINT",
            "http://user:s3cr3t@collector",
            "put secrets into tracing.headers_file",
        ),
        ("BREAKERD_TRACING_ENDPOINT", "http://collector?key=s3cr3t", "leave out the query"),
        ("BREAKERD_TRACING_ENDPOINT", "http://collector#s3cr3t", "leave out the #"),
        (
            "BREAKERD_TRACING_ENDPOINT",
            "http://collector:4317/v1/traces",
            "BREAKERD_TRACING_ENDPOINT: tracing.endpoint: http://collector:4317/v1/traces has a path",
        ),
        ("BREAKERD_TRACING_SAMPLE_RATIO", "1.5", "must be 0..=1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL: invalid value"),
        ("BREAKERD_TRACING_RESOURCE_ATTRIBUTES", "team", "team has no ="),
        ("BREAKERD_TRACING_HEADERS_FILE", "nowhere", "tracing.headers_file: nowhere"),
        ("BREAKERD_TRACING_CA", "nowhere", "needs tracing.endpoint with https://"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = tracing(folder.path(), "http://127.0.0.1:4317");
        command.env(variable, value);
        let output = crate::process::ends(command).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(problem), "{variable}={value}: {said}");
        assert!(!said.contains("s3cr3t"), "{said}");
    }
}

#[tokio::test]
async fn the_files_of_traces_are_checked_with_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("headers");
    fs::write(&headers, "authorization Bearer secret\n").unwrap();
    let config = format!(
        "[tracing]\nendpoint = \"https://localhost:1\"\nca = \"nowhere.pem\"\nheaders_file = {:?}\n",
        headers.to_str().unwrap()
    );
    fs::write(folder.path().join("breakerd.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakerd"));
    command.env_clear().current_dir(folder.path()).args(["check-config", "breakerd.toml"]);
    let output = crate::process::ends(command).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for problem in ["tracing.ca: nowhere.pem", "headers:1: must be NAME: VALUE"] {
        assert!(said.contains(problem), "{said}");
    }
    assert!(!said.contains("secret"), "{said}");
}

/// The transaction of a replica is found by what it writes, also where the store gives transitions their numbers.
#[tokio::test]
async fn a_transaction_of_a_replica_is_below_its_transition_on_postgres() {
    let url = crate::support::new_database().await;
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::grpc(None).await);
    let mut command = program(folder.path(), Some(&url));
    command.env("BREAKERD_TRACING_ENDPOINT", format!("http://{}", receiver.address));
    command.env("BREAKERD_TRACING_SAMPLE_RATIO", "0");
    let process = ready(command, folder.path()).await;
    let mut client = process.breakers().await;
    for _ in 0..5 {
        let permit = client.allow_request(ask("payments", "")).await.unwrap().into_inner();
        client.record_outcome(sampled(report(&permit, v1::Outcome::Failure))).await.unwrap();
    }
    let spans = receiver.spans_with("store propose_shared").await;
    let named = |name| spans.iter().find(|seen| seen.span.name == name).map(|seen| &seen.span).unwrap();
    let (store, transition) = (named("store propose_shared"), named("transition to OPEN"));
    assert_eq!(store.parent_span_id, transition.span_id);
    assert_eq!(attributes(&store.attributes)["db.system.name"], "postgresql");
    drop(client);
    assert!(process.stop().await.success());
}
