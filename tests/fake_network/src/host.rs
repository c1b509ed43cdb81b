//! A host: its name, its server and what it holds. What happens to its accounts is in life.rs, what a test does to
//! the host as a whole in controls.rs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::Response;
use cid::Cid;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::Account;
use crate::fault::UNPOISONED;
use crate::firehose::History;
use crate::network::Shared;
use crate::serve::{bind, serve};
use crate::wait::DEADLINE;
use crate::wire::Wire;
use crate::xrpc::router;

/// How a host is reached.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The port, 0 for any.
    pub port: u16,
    /// The name before the port, `localhost` or `127.0.0.1`.
    pub name: String,
    /// The seq of its first event. A host that keeps its name but not its history begins later than it ended.
    pub first_seq: i64,
    /// Whether answers are compressed (brotli or gzip) when the client accepts it.
    pub compress: bool,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        HostOptions { port: 0, name: "localhost".to_owned(), first_seq: 1, compress: false }
    }
}

/// A handle to a host of a [`crate::Network`]; clones are the same host.
#[derive(Clone)]
pub struct FakeHost(Arc<Inner>);

struct Inner {
    name: String,
    port: u16,
    compress: bool,
    shared: Arc<Shared>,
    wire: Arc<Wire>,
    state: Mutex<State>,
    latest: watch::Sender<i64>,
    subscribers: watch::Sender<usize>,
    server: Mutex<Server>,
}

enum Server {
    /// The socket holds the port and refuses connections.
    Down(Option<TcpSocket>),
    Up(CancellationToken, TaskTracker),
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) accounts: BTreeMap<String, Arc<Account>>,
    pub(crate) ordinals: u64,
    pub(crate) history: History,
    /// The repos as they were when [`crate::Fault::StaleRepo`] was set.
    pub(crate) stale: BTreeMap<String, Vec<u8>>,
    pub(crate) page_limit: Option<usize>,
    /// The accounts that listRepos leaves out.
    pub(crate) hidden: BTreeSet<String>,
    /// DIDs that listRepos names behind the accounts, as if each had a repo here.
    pub(crate) phantoms: Vec<String>,
    /// How far ahead the host's clock is.
    pub(crate) clock_ahead: Duration,
}

impl FakeHost {
    pub(crate) fn start(shared: Arc<Shared>, options: HostOptions) -> std::io::Result<FakeHost> {
        let socket = bind(options.port)?;
        let port = socket.local_addr()?.port();
        let host = FakeHost(Arc::new(Inner {
            name: format!("{}:{port}", options.name),
            port,
            compress: options.compress,
            shared,
            wire: Arc::new(Wire::new()),
            state: Mutex::new(State { history: History::starting_at(options.first_seq), ..State::default() }),
            latest: watch::Sender::default(),
            subscribers: watch::Sender::default(),
            server: Mutex::new(Server::Down(Some(socket))),
        }));
        host.up();
        Ok(host)
    }

    /// The host's public name, such as `localhost:2583`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The host's URL, such as `http://localhost:2583`, which is also its accounts' PDS endpoint.
    pub fn origin(&self) -> String {
        format!("http://{}", self.0.name)
    }

    /// The DID of the host's own did:web account, whether it has one or not.
    pub fn web_did(&self) -> String {
        format!("did:web:{}", self.0.name.replace(':', "%3A"))
    }

    /// Stops the server: connections drop without a closing handshake, new ones are refused. The port stays reserved.
    pub async fn down(&self) {
        let mut server = std::mem::replace(&mut *self.0.server.lock().expect(UNPOISONED), Server::Down(None));
        if let Server::Up(stop, tasks) = &mut server {
            stop.cancel();
            tasks.close();
            tasks.wait().await;
            self.wait_for_subscribers(0).await;
            server = Server::Down(Some(self.take_port_back().await));
        }
        *self.0.server.lock().expect(UNPOISONED) = server;
    }

    /// The port was free for a moment, in which somebody's outgoing connection may have been given it.
    async fn take_port_back(&self) -> TcpSocket {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            match bind(self.0.port) {
                Ok(socket) => return socket,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "port {}: {error}", self.0.port),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts the server again on the same port; nothing happens if it runs.
    pub fn up(&self) {
        let mut server = self.0.server.lock().expect(UNPOISONED);
        if let Server::Down(socket) = &mut *server {
            let socket = socket.take().expect("down() has ended before up() is called");
            let listener = socket.listen(1024).expect("the port is bound and ours");
            let (stop, tasks) = (self.0.shared.stop.child_token(), TaskTracker::new());
            serve(listener, router(self.clone()), stop.clone(), &tasks);
            *server = Server::Up(stop, tasks);
        }
    }

    /// Stops the server and starts it again.
    pub async fn restart(&self) {
        self.down().await;
        self.up();
    }
}

impl FakeHost {
    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(crate) fn wire(&self) -> Arc<Wire> {
        self.0.wire.clone()
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().expect(UNPOISONED)
    }

    pub(crate) fn with_history<T>(&self, read: impl FnOnce(&History) -> T) -> T {
        read(&self.lock().history)
    }

    /// The seq of the last event, to be watched.
    pub(crate) fn latest(&self) -> &watch::Sender<i64> {
        &self.0.latest
    }

    /// The number of WebSockets that are open, to be watched.
    pub(crate) fn subscriber_count(&self) -> &watch::Sender<usize> {
        &self.0.subscribers
    }

    pub(crate) fn compresses(&self) -> bool {
        self.0.compress
    }

    /// The token that ends this run of the server; cancelled already if it is down.
    pub(crate) fn stop_token(&self) -> CancellationToken {
        match &*self.0.server.lock().expect(UNPOISONED) {
            Server::Up(stop, _) => stop.clone(),
            Server::Down(_) => {
                let stopped = CancellationToken::new();
                stopped.cancel();
                stopped
            }
        }
    }

    pub(crate) fn identity_answer(&self, did: &str) -> Response {
        self.0.shared.directory.answer(did)
    }

    /// The rev of a commit that is made now.
    pub(crate) fn next_rev(&self) -> String {
        let ahead = self.lock().clock_ahead;
        self.0.shared.clock.next(ahead)
    }

    pub(crate) fn account(&self, did: &str) -> Option<Arc<Account>> {
        self.lock().accounts.get(did).cloned()
    }

    /// The accounts after this ordinal, and whether they are the last ones.
    pub(crate) fn page_of_accounts(&self, after: u64, limit: usize) -> (Vec<Arc<Account>>, bool) {
        let state = self.lock();
        let limit = limit.min(state.page_limit.unwrap_or(limit));
        let is_listed = |it: &&Arc<Account>| it.ordinal > after && !state.hidden.contains(&it.did);
        let mut accounts: Vec<_> = state.accounts.values().filter(is_listed).cloned().collect();
        accounts.sort_by_key(|account| account.ordinal);
        let last = accounts.len() <= limit;
        accounts.truncate(limit);
        (accounts, last)
    }

    pub(crate) fn each_active_record(&self, mut visit: impl FnMut(&str, &str, &Cid)) {
        for account in self.lock().accounts.values() {
            let identity = self.0.shared.directory.get(&account.did);
            let here = identity.is_some_and(|it| it.tombstone.is_none() && it.pds == self.origin());
            if here && account.status.is_active() {
                for (path, record) in account.repo.records() {
                    visit(&account.did, path, &record.cid);
                }
            }
        }
    }
}
