//! A road to a breakerd that can be cut, slowed down, and led to another breakerd.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Where it leads, and how fast.
#[derive(Debug, Clone, Default, PartialEq)]
struct Course {
    /// The address of a breakerd; None: connections are refused and dropped.
    to: Option<String>,
    /// Each way.
    delay: Duration,
}

/// Carries connections to a breakerd. Ends with this.
pub(crate) struct ClientRoad {
    /// The address of the road itself.
    pub(crate) url: String,
    course: watch::Sender<Course>,
    task: JoinHandle<()>,
}

impl ClientRoad {
    /// To the breakerd at `url`.
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let course = watch::Sender::new(Course { to: Some(host(url)), delay: Duration::ZERO });
        let task = tokio::spawn(carry(listener, course.subscribe()));
        Self { url: own, course, task }
    }

    /// Drops what it carries, and what comes.
    pub(crate) fn cut(&self) {
        self.course.send_modify(|course| course.to = None);
    }

    /// Drops what it carries; what comes goes to the breakerd at `url`.
    pub(crate) fn lead_to(&self, url: &str) {
        self.course.send_modify(|course| course.to = Some(host(url)));
    }

    /// Holds all bytes up so long, each way.
    pub(crate) fn delay(&self, delay: Duration) {
        self.course.send_modify(|course| course.delay = delay);
    }
}

impl Drop for ClientRoad {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

async fn carry(listener: TcpListener, course: watch::Receiver<Course>) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        let (client, _) = listener.accept().await.unwrap();
        let to = course.borrow().to.clone();
        let Some(to) = to else { continue };
        let mut course = course.clone();
        carried.spawn(async move {
            let Ok(server) = TcpStream::connect(&to).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let delays = course.clone();
            tokio::select! {
                () = pass(from_client, to_server, delays.clone()) => {}
                () = pass(from_server, to_client, delays) => {}
                _ = course.wait_for(|course| course.to.as_ref() != Some(&to)) => {}
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, course: watch::Receiver<Course>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let delay = course.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
