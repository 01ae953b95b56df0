//! The server under the pages: what it answers to what is not a page, and how it ends.

use std::io::ErrorKind;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::http_world::World;

/// Longer than any of this takes: a test that reaches it has failed.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_index_lists_every_page() {
    let world = World::loaded().await;
    let index = world.get("/").await;
    assert_eq!(index.status, 200);
    assert!(index.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    let pages: Vec<_> = index.text.lines().filter(|line| line.starts_with('/')).collect();
    assert_eq!(pages.len(), 6);
    for page in pages {
        let path = page.split(' ').next().unwrap();
        let page = world.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.headers["cache-control"], "no-store", "{path}");
    }
}

#[tokio::test]
async fn what_is_no_page_is_answered_in_json() {
    let world = World::loaded().await;
    for path in ["/nothing", "/metrics/", "/health/x", "/%00", "/..%2f..%2fetc"] {
        let page = world.get(path).await;
        let body: Value = serde_json::from_str(&page.text).unwrap();
        assert_eq!((page.status, body), (404, json!({ "error": "no such page: / lists them" })), "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let page = world.ask(method.clone(), "/metrics").await;
        let body: Value = serde_json::from_str(&page.text).unwrap();
        let expected = json!({ "error": "pages are only read: GET or HEAD" });
        assert_eq!((page.status, body), (405, expected), "{method}");
        let allow: Vec<_> = page.headers.get_all("allow").iter().collect();
        assert_eq!(allow.len(), 1, "{allow:?}");
    }
}

#[tokio::test]
async fn head_has_the_status_and_no_body() {
    let world = World::loaded().await;
    for path in ["/", "/metrics", "/livez", "/readyz", "/health", "/health/circuit-breakers"] {
        let page = world.ask(Method::HEAD, path).await;
        assert_eq!((page.status, page.text.as_str()), (200, ""), "{path}");
    }
    world.fail("sentinel", "", 5);
    assert_eq!(world.ask(Method::HEAD, "/health/circuit-breakers").await.status, 503);
}

#[tokio::test]
async fn nonsense_is_refused_and_breakerd_goes_on() {
    let world = World::loaded().await;
    let endless = vec![b'x'; 100_000];
    for nonsense in [&b"\0\0\0\0\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", &endless] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        // The server may have hung up before all of it is sent.
        let _ = stream.write_all(nonsense).await;
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    }
    assert_eq!(world.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_read() {
    let world = World::loaded().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    timeout(LONG, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_end() {
    let world = World::not_loaded(10, LONG * 10).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");

    world.shutdown.cancel();
    timeout(LONG, world.server).await.expect("serve ends").unwrap();
}

#[tokio::test]
async fn a_client_in_the_middle_of_a_request_delays_the_end_by_the_grace_time_only() {
    let world = World::not_loaded(10, Duration::from_millis(50)).await;
    // An answer on another connection shows that the first one was accepted.
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET /livez HT").await.unwrap();
    assert_eq!(world.get("/livez").await.status, 200);

    world.shutdown.cancel();
    // The head would be waited for longer than this.
    timeout(Duration::from_secs(5), world.server).await.expect("serve ends").unwrap();
    let mut rest = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the connection is closed");
}

#[tokio::test]
async fn one_address_does_not_have_all_the_connections() {
    let world = World::loaded().await;
    let mut open = Vec::new();
    let answered = loop {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        // One that is closed at once may be so before it has written.
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut answer = [0; 12];
        if timeout(LONG, stream.read_exact(&mut answer)).await.unwrap().is_err() {
            break open.len();
        }
        assert_eq!(&answer, b"HTTP/1.1 200");
        open.push(stream);
    };
    assert_eq!(answered, 128, "there are 256 in all");
    open.pop();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    while stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.is_err()
        || stream.read_exact(&mut [0; 12]).await.is_err()
    {
        // The place of the one that went is free once the server has seen that.
        stream = TcpStream::connect(world.address).await.unwrap();
    }
    drop(open);
}

#[tokio::test]
async fn a_page_that_nobody_reads_ends_its_connection() {
    let world = World::not_loaded(1_000, LONG).await;
    world.load();
    for number in 0..300 {
        world.call("payments", &format!("dependency-{number}"), breaker::Outcome::Success);
    }
    let socket = TcpSocket::new_v4().unwrap();
    // So that the kernel does not read on our behalf.
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(world.address).await.unwrap();
    // More than the kernel keeps for us, one after the other.
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    stream.write_all(&request).await.unwrap();
    let ended = timeout(LONG, async {
        // Only one who writes is told that the other end has gone.
        while !matches!(stream.try_write(b"\r\n"), Err(error) if error.kind() != ErrorKind::WouldBlock) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    ended.await.expect("the connection is closed");
    assert_eq!(world.get("/metrics").await.status, 200, "and others are served");
}
