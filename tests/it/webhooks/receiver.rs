//! A server that webhooks are posted to: it answers as it is told, and keeps what it got.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use breaker::Time;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::StreamExt as _;

/// A request that it got.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// When, by the clock of the test.
    pub(crate) at: Time,
}

impl Post {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers)).to_str().unwrap()
    }

    /// The state that was entered.
    pub(crate) fn to(&self) -> String {
        self.json()["toState"].as_str().unwrap().trim_start_matches("STATE_").to_owned()
    }
}

/// How it answers one request.
#[derive(Clone)]
pub(crate) enum Answer {
    Status(u16),
    With(u16, &'static str, String),
    /// Not before this is notified; then 200.
    Held(Arc<Notify>),
    Never,
    /// With a body that begins, and goes on for ever.
    Endless(u16, Rest),
}

/// How a body without an end goes on.
#[derive(Clone, Copy)]
pub(crate) enum Rest {
    /// With nothing, while the connection stays.
    Silent,
    /// As fast as it is read.
    Fast,
}

type ClockOf = Arc<dyn Fn() -> Time + Send + Sync>;

#[derive(Clone)]
struct Shared {
    posts: Arc<Mutex<Vec<Post>>>,
    /// Of the next requests; then 200.
    answers: Arc<Mutex<VecDeque<Answer>>>,
    clock: ClockOf,
}

/// The server. Ends when this is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Shared,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start(clock: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        let shared = Shared { posts: Arc::default(), answers: Arc::default(), clock: Arc::new(clock) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, task }
    }

    /// One that nobody asks for the time.
    pub(crate) async fn timeless() -> Self {
        Self::start(|| Time::ZERO).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.answers.lock().extend(answers);
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let post = Post { path, headers: parts.headers, body, at: (shared.clock)() };
    shared.posts.lock().push(post);
    let answer = shared.answers.lock().pop_front().unwrap_or(Answer::Status(200));
    let response = Response::builder();
    let response = match answer {
        Answer::Status(status) => response.status(status),
        Answer::With(status, name, value) => response.status(status).header(name, value),
        Answer::Held(until) => {
            until.notified().await;
            response.status(200)
        }
        Answer::Never => std::future::pending().await,
        Answer::Endless(status, rest) => {
            let chunk = || Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 1_000]));
            let first = tokio_stream::once(chunk());
            let body = match rest {
                Rest::Silent => Body::from_stream(first.chain(tokio_stream::pending())),
                Rest::Fast => {
                    Body::from_stream(first.chain(tokio_stream::iter(std::iter::repeat_with(chunk))))
                }
            };
            return response.status(status).body(body).unwrap();
        }
    };
    response.body(Body::from("taken")).unwrap()
}
