//! A road to the throw-away Postgres that can be cut, and mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Carries connections on, until it is cut; then it drops them, and those that come. Ends with this.
pub(crate) struct Road {
    /// The database, by this road.
    pub(crate) url: String,
    is_open: watch::Sender<bool>,
    /// Connections that may still come.
    left: Arc<AtomicUsize>,
    turned_away: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Road {
    /// To the database at `url`.
    pub(crate) async fn to(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (before, database) = rest.rsplit_once('/').expect("a URL with a database");
        let (user, host) = before.rsplit_once('@').expect("a URL with a user");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_open = watch::Sender::new(true);
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let turned_away = Arc::default();
        let counts = (Arc::clone(&left), Arc::clone(&turned_away));
        let task = tokio::spawn(carry(listener, host.to_owned(), is_open.subscribe(), counts));
        Self { url: format!("{scheme}://{user}@{address}/{database}"), is_open, left, turned_away, task }
    }

    /// Nothing goes through any more.
    pub(crate) fn cut(&self) {
        self.is_open.send_replace(false);
    }

    /// So many go through from now on, and nobody after them.
    pub(crate) fn let_through(&self, connections: usize) {
        self.left.store(connections, Ordering::SeqCst);
    }

    /// How many came since [`Road::let_through`] has let the last one through.
    pub(crate) fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::SeqCst)
    }

    /// Who comes from now on goes through.
    pub(crate) fn mend(&self) {
        self.left.store(usize::MAX, Ordering::SeqCst);
        self.is_open.send_replace(true);
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    listener: TcpListener,
    host: String,
    is_open: watch::Receiver<bool>,
    (left, turned_away): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        let (mut client, _) = listener.accept().await.unwrap();
        let counted = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if counted.is_err() {
            turned_away.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let (host, mut is_open) = (host.clone(), is_open.clone());
        carried.spawn(async move {
            let cut = async {
                // Fails when the road is gone, which is a cut too.
                let _ = is_open.wait_for(|is_open| !is_open).await;
            };
            let go = async {
                let mut server = TcpStream::connect(host).await.unwrap();
                // How it ends is theirs.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            };
            tokio::select! {
                biased;
                () = cut => {}
                () = go => {}
            }
        });
    }
}
