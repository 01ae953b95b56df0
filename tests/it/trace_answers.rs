//! What a collector answers over HTTP, and what is counted and logged of the spans that it was sent.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use breakerd::config::{self, Sources};
use breakerd::metrics::{DroppedSpans, Metrics, TracingMetrics};
use breakerd::trace_export;
use breakerd::traces::BATCH_MAX;
use breakerd_common::clock::{Clock, ManualClock};
use http::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::grpc_world::{START, ask};
use crate::process::{Process, eventually, log_of, program};

const PAGE: &str = "<!doctype html><title>Sign in</title><p>authorization: Bearer secret</p>";

/// Answers each request with the same bytes, once the body has come; then it goes on with what `repeated` has, for ever.
async fn answers_with(answer: String, repeated: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, answer.clone(), repeated));
        }
    });
    address
}

/// Ends when the client has closed it.
async fn answer_all(mut stream: TcpStream, answer: String, repeated: &[u8]) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&received[..head_end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let whole = head_end + length.unwrap().trim().parse::<usize>().unwrap();
        while received.len() < whole {
            stream.read_buf(&mut received).await?;
        }
        received.drain(..whole);
        stream.write_all(answer.as_bytes()).await?;
        while !repeated.is_empty() {
            stream.write_all(repeated).await?;
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// Exports one full batch to `address`, and answers what is counted: exported, failed exports, dropped as failed.
async fn exported_to(address: SocketAddr) -> (u64, u64, u64) {
    let text = format!(
        "[tracing]\nendpoint = \"http://{address}\"\nprotocol = \"http/protobuf\"\nsample_ratio = 1\n"
    );
    let settings = config::parse(&text, Path::new("breakerd.toml"), &Sources::none()).unwrap().settings;
    // By this clock no time passes: a batch that is to be sent again is not settled.
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START));
    let metrics: TracingMetrics = Metrics::default().tracing;
    let (tracer, exporter) = trace_export::start(&settings, &metrics, &clock).unwrap().unwrap();
    let stop = CancellationToken::new();
    let exporting = tokio::spawn({
        let stop = stop.clone();
        async move { exporter.run(stop).await }
    });
    for _ in 0..BATCH_MAX {
        drop(tracer.call("one", &HeaderMap::new(), START));
    }
    let counted = || {
        let failed = metrics.dropped(DroppedSpans::ExportFailed).get();
        (metrics.exported_spans_total.get(), metrics.failed_exports_total.get(), failed)
    };
    eventually("it is settled", async || {
        let (taken, _, failed) = counted();
        taken + failed + metrics.dropped(DroppedSpans::Rejected).get() >= BATCH_MAX as u64
    })
    .await;
    stop.cancel();
    exporting.await.unwrap().unwrap();
    counted()
}

#[tokio::test]
async fn an_answer_that_is_none_of_otlp_drops_its_batch_and_one_without_a_body_does_not() {
    let all = BATCH_MAX as u64;
    let (taken, dropped) = ((all, 0, 0), (0, 1, all));
    for (status, headers, body, expected) in [
        ("200 OK", "content-type: application/x-protobuf\r\n", "", taken),
        ("200 OK", "", "", taken),
        ("200 OK", "content-type: text/plain\r\n", "OK", taken),
        ("200 OK", "content-type: application/json\r\n", "{}", taken),
        ("200 OK", "content-type: text/html\r\n", PAGE, dropped),
        ("200 OK", "", PAGE, dropped),
        ("200 OK", "content-type: application/x-protobuf\r\n", PAGE, dropped),
        ("302 Found", "location: http://127.0.0.1:1/\r\n", PAGE, dropped),
        ("307 Temporary Redirect", "location: http://127.0.0.1:1/\r\n", "", dropped),
    ] {
        let address = answers_with(answer(status, headers, body), &[]).await;
        assert_eq!(exported_to(address).await, expected, "{status} {headers} {body}");
    }
    let address = answers_with("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), &[]).await;
    assert_eq!(exported_to(address).await, taken);
}

#[tokio::test]
async fn a_body_without_an_end_holds_no_batch() {
    let all = BATCH_MAX as u64;
    for status in ["200 OK", "404 Not Found"] {
        for form in ["text/html", "application/x-protobuf"] {
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: {form}\r\n\r\n");
            // By the clock of the test it would have no end either.
            let address = answers_with(head, &[b'<'; 1_000]).await;
            assert_eq!(exported_to(address).await, (0, 1, all), "{status} {form}");
        }
    }
}

#[tokio::test]
async fn the_log_says_what_was_answered_and_nothing_that_is_in_it() {
    let page = answer("200 OK", "content-type: text/html; charset=utf-8\r\n", PAGE);
    let (folder, address) = (tempfile::tempdir().unwrap(), answers_with(page, &[]).await);
    let mut command = program(folder.path(), None);
    command.env("BREAKERD_TRACING_ENDPOINT", format!("http://{address}"));
    command.env("BREAKERD_TRACING_PROTOCOL", "http/protobuf").env("BREAKERD_TRACING_SAMPLE_RATIO", "1");
    let process = Process::run(command, folder.path());
    eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;
    process.breakers().await.allow_request(Request::new(ask("payments", ""))).await.unwrap();
    let log = async || log_of(folder.path()).contains("cannot export spans, dropping them");
    eventually("it is logged", log).await;
    assert!(process.stop().await.success());
    let log = log_of(folder.path());
    assert!(log.contains("HTTP status 200 OK with content-type text/html; charset=utf-8"), "{log}");
    assert!(log.contains("check that a collector answers at tracing.endpoint"), "{log}");
    assert!(!log.contains("secret") && !log.contains("Sign in"), "{log}");
}
