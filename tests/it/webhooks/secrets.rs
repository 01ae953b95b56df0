//! A breakerd that posts, as a process: what is secret stays so, files are taken without a restart, and the end waits for what is queued.

use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use breakerd_api::v1::{Outcome, RecordOutcomeRequest};
use hmac::{KeyInit as _, Mac as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::receiver::{Answer, Receiver};
use crate::certificates::{Authority, Dates, Pair};
use crate::process::{Process, eventually, log_of, program};

const HIDDEN: &str = "hunter2";

async fn trip(process: &Process, service: &str) {
    let mut breakers = process.breakers().await;
    for _ in 0..5 {
        let outcome = Outcome::Failure.into();
        let request = RecordOutcomeRequest { service: service.into(), outcome, ..Default::default() };
        breakers.record_outcome(request).await.unwrap();
    }
}

fn secret(byte: u8) -> String {
    format!("whsec_{}", STANDARD.encode([byte; 32]))
}

fn is_signed_by(post: &super::receiver::Post, byte: u8) -> bool {
    let (id, timestamp) = (post.header("webhook-id"), post.header("webhook-timestamp"));
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&[byte; 32]).unwrap();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(&post.body);
    post.header("webhook-signature") == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn files_are_taken_without_a_restart_and_nothing_secret_is_shown() {
    let (folder, first, second) =
        (tempfile::tempdir().unwrap(), Receiver::timeless().await, Receiver::timeless().await);
    let at = |name: &str| folder.path().join(name);
    fs::write(at("url"), first.url(&format!("/{HIDDEN}\n"))).unwrap();
    fs::write(at("secret"), secret(7)).unwrap();
    let given = format!("http://user:{HIDDEN}@{}/{HIDDEN}", first.address);
    fs::write(
        at("breakerd.toml"),
        format!(
            "[[notify]]\nname = \"files\"\nurl_file = \"url\"\nsecret_file = \"secret\"\n\
             [[notify]]\nname = \"given\"\nurl = \"{given}\"\nservices = [\"given\"]\n"
        ),
    )
    .unwrap();
    let mut program = program(folder.path(), None);
    program.env("BREAKERD_LOG_LEVEL", "trace");
    let process = Process::run(program, folder.path());
    eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;

    trip(&process, "one").await;
    eventually("it is posted", async || first.posts().len() == 1).await;
    assert!(is_signed_by(&first.posts()[0], 7));

    // Wrong ones are refused, and say nothing of what is in them.
    fs::write(at("secret"), HIDDEN).unwrap();
    eventually("it is refused", async || {
        log_of(folder.path()).contains("file of a notification target is invalid")
    })
    .await;
    fs::write(at("secret"), secret(9)).unwrap();
    fs::write(at("url"), second.url(&format!("/{HIDDEN}"))).unwrap();
    let reloaded = "llm_incident_manager_breakerd_notify_last_reload_successful{target=\"files\"} 1";
    eventually("they are taken", async || {
        process.page("/metrics").await.contains(reloaded) && {
            trip(&process, &format!("service-{}", second.posts().len() + first.posts().len())).await;
            second.posts().iter().any(|post| is_signed_by(post, 9))
        }
    })
    .await;

    // One that is rejected, and one whose target is gone, are in the log.
    first.answers([Answer::Status(404)]);
    trip(&process, "given").await;
    eventually("it is rejected", async || {
        log_of(folder.path()).contains("notification rejected by its target")
    })
    .await;
    let mut shown = Vec::new();
    for page in ["/", "/metrics", "/health", "/health/circuit-breakers"] {
        shown.push(process.page(page).await);
    }
    assert!(process.stop().await.success());
    shown.push(log_of(folder.path()));
    for text in shown {
        let place = text.find(HIDDEN).map(|at| &text[at.saturating_sub(200)..text.len().min(at + 50)]);
        assert_eq!(place, None);
        assert!(!text.contains(&secret(7)[6..]) && !text.contains(&secret(9)[6..]));
    }
}

#[tokio::test]
async fn the_end_waits_for_what_is_queued() {
    let (folder, receiver, held) =
        (tempfile::tempdir().unwrap(), Receiver::timeless().await, Arc::new(Notify::new()));
    receiver.answers([Answer::Held(Arc::clone(&held))]);
    let text = format!("[[notify]]\nname = \"chat\"\nurl = \"{}\"\n", receiver.url("/"));
    fs::write(folder.path().join("breakerd.toml"), text).unwrap();
    let process = Process::ready(folder.path(), None).await;
    for service in ["a", "b", "c"] {
        trip(&process, service).await;
    }
    eventually("the first is posted", async || receiver.posts().len() == 1).await;
    process.terminate();
    eventually("it shuts down", async || log_of(folder.path()).contains("shutting down")).await;
    held.notify_one();
    assert!(process.ended().await.success());
    assert_eq!(receiver.posts().len(), 3);
    assert!(!log_of(folder.path()).contains("were not posted"));
}

#[tokio::test]
async fn what_cannot_be_posted_at_the_end_is_logged() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::timeless().await);
    receiver.answers([Answer::Never]);
    let text = format!("[[notify]]\nname = \"chat\"\nurl = \"{}\"\n", receiver.url("/"));
    fs::write(folder.path().join("breakerd.toml"), text).unwrap();
    let process = Process::ready(folder.path(), None).await;
    for service in ["a", "b"] {
        trip(&process, service).await;
    }
    eventually("the first is posted", async || receiver.posts().len() == 1).await;
    assert!(process.stop().await.success());
    let log = log_of(folder.path());
    assert!(
        log.contains("stopped with notifications that were not posted: they are lost")
            && log.contains("lost=2"),
        "{log}"
    );
}

/// Answers one request over TLS.
async fn encrypted(listener: TcpListener, pair: Pair) -> String {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // Who does not trust the certificate says so by leaving.
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let mut read = vec![0; 65_536];
        let length = stream.read(&mut read).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let _ = stream.shutdown().await;
        return String::from_utf8_lossy(&read[..length]).into_owned();
    }
}

#[tokio::test]
async fn tls_takes_the_authority_of_the_target_and_no_other() {
    let (folder, authority, other) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let at = |name: &str| folder.path().join(name);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(encrypted(listener, authority.server(Dates::Good)));
    fs::write(at("ca.pem"), &other.pem).unwrap();
    let text = format!(
        "[[notify]]\nname = \"chat\"\nurl = \"https://localhost:{port}/hook\"\nca_file = \"ca.pem\"\n"
    );
    fs::write(at("breakerd.toml"), text).unwrap();
    let process = Process::ready(folder.path(), None).await;
    trip(&process, "a").await;
    let failed = "llm_incident_manager_breakerd_notify_failed_attempts_total{target=\"chat\"} 0";
    eventually("it is not trusted", async || !process.page("/metrics").await.contains(failed)).await;
    assert!(!server.is_finished());
    fs::write(at("ca.pem"), &authority.pem).unwrap();
    let request =
        tokio::time::timeout(crate::process::PATIENCE, server).await.expect("it is posted").unwrap();
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n") && request.contains("webhook-id: "), "{request}");
    assert!(process.stop().await.success());
}
