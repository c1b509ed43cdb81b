//! The public and the internal listener over a real database, from the request to the bytes of the answer.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::config::Flags;
use crate::repo::DagCid;
use crate::store::{Admission, Durability, HostId, Status, Tx, UsageChange};
use crate::syntax::{CollectionFilter, Did, Rev};

mod admin;
mod lists;
mod quotas;
mod repos_and_hosts;
mod request_crawl;
mod routes;
mod server;
mod slow;
mod surface;

const CAPTAIN: &str = "io.atcr.hold.captain";
const CREW: &str = "io.atcr.hold.crew";
const ADMIN_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A database of its own, and the two routers over it.
struct World {
    store: Store,
    public: PublicService,
    internal: Router,
    readiness: Readiness,
    directory: tempfile::TempDir,
}

impl World {
    fn new(filter: &str) -> World {
        World::with(filter, HostPolicy::PublicOnly)
    }

    fn with(filter: &str, policy: HostPolicy) -> World {
        World::open(filter, policy, tempfile::tempdir().unwrap())
    }

    fn open(filter: &str, policy: HostPolicy, directory: tempfile::TempDir) -> World {
        World::open_with(filter, policy, generous(), directory)
    }

    /// The default filter, with these quotas.
    fn with_quotas(quotas: QuotaConfig) -> World {
        World::open_with("io.atcr.*", HostPolicy::PublicOnly, quotas, tempfile::tempdir().unwrap())
    }

    fn open_with(filter: &str, policy: HostPolicy, quotas: QuotaConfig, directory: tempfile::TempDir) -> World {
        let mut config = Config::resolve(Flags::default(), |_| None).unwrap();
        config.store.path = directory.path().join("signpost.db");
        config.store.filter = CollectionFilter::parse(filter).unwrap();
        config.outbound.policy = policy;
        config.outbound.public_hostname = Some(Host::parse("relay.example.com", HostPolicy::PublicOnly).unwrap());
        config.quotas = quotas;
        config.admin_token = Some(AdminToken::of(ADMIN_TOKEN));
        World::of(&config, directory)
    }

    /// The default settings, and no admin token.
    fn without_admin() -> World {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::resolve(Flags::default(), |_| None).unwrap();
        config.store.path = directory.path().join("signpost.db");
        World::of(&config, directory)
    }

    fn of(config: &Config, directory: tempfile::TempDir) -> World {
        let store = Store::open(&config.store, CancellationToken::new()).unwrap();
        let api = Api::new(store, Metrics::new(), config);
        let readiness = Readiness::new();
        World {
            store: api.store.clone(),
            public: PublicService::new(api.clone()),
            internal: internal_router(
                api,
                readiness.clone(),
                crate::clock::Clock::default(),
                super::History::default(),
            ),
            readiness,
            directory,
        }
    }

    /// A GET of an XRPC method, with its query.
    async fn query(&self, call: &str) -> Answer {
        self.get(&format!("/xrpc/com.atproto.sync.{call}")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = Answer::of(self.public.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
        answer
    }

    async fn internal(&self, path: &str) -> Answer {
        self.internal_send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn internal_send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.internal.clone().oneshot(request).await.unwrap()).await
    }

    async fn fill(&self, work: impl FnOnce(&Tx) + Send + 'static) {
        self.store
            .write(Durability::Replayable, move |tx| {
                work(tx);
                Ok(())
            })
            .await
            .unwrap();
    }

    /// Hosts that answered, in a database without others: the n-th has the id n.
    async fn reached_hosts(&self, names: &[&str]) {
        for (name, id) in names.iter().zip(1..) {
            let host = Host::parse(name, HostPolicy::AllowPrivate).unwrap();
            self.store.request_crawl(&host, Admission::Free).await.unwrap();
            self.fill(move |tx| tx.host_reached(HostId(id)).unwrap()).await;
        }
    }

    /// Repos did:web:repo1.example.com and so on, of the first host, each with a record in each of the
    /// collections.
    async fn repos(&self, count: usize, collections: &'static [&'static str]) {
        self.reached_hosts(&["hold01.example.com"]).await;
        self.fill(move |tx| {
            for number in 1..=count {
                add_repo(tx, &did(number), true, None, collections);
            }
        })
        .await;
    }
}

/// Quotas that no test meets by chance.
fn generous() -> QuotaConfig {
    QuotaConfig {
        public_request_crawl: true,
        request_crawl_per_minute: 10_000,
        new_hosts_per_day: 10_000,
        new_hosts_per_domain_per_day: 10_000,
        trusted_domains: Vec::new(),
        trusted_proxies: Vec::new(),
    }
}

fn did(number: usize) -> String {
    format!("did:web:repo{number}.example.com")
}

fn commit() -> (Rev, DagCid) {
    (Rev::parse("3jzfcijpj2z2a").unwrap(), DagCid::for_block(b"a commit"))
}

fn add_repo(tx: &Tx, did: &str, active: bool, status: Option<Status>, collections: &[&str]) {
    let repo = tx.insert_repo(&Did::parse(did).unwrap(), HostId(1), active, status).unwrap();
    let (rev, cid) = commit();
    tx.set_repo_commit(repo, &rev, cid, cid).unwrap();
    tx.set_signing_key(repo, "did:key:z6Mk").unwrap();
    for nsid in collections {
        let known = tx.collection(nsid).unwrap();
        let collection = known.unwrap_or_else(|| tx.new_collection(nsid, HostId(1)).unwrap());
        tx.insert_record(collection.id, repo, "self", cid, "{}").unwrap();
        tx.adjust_count(collection, repo, 1).unwrap();
        tx.change_usage(repo, &UsageChange { records: 1, bytes: 2, collections: 1 }).unwrap();
    }
}

/// A whole answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    async fn of(response: Response<Body>) -> Answer {
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON of a 200.
    fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self.json()
    }

    /// The message of an error of this status and name.
    fn error(&self, status: u16, name: &str) -> String {
        let body = self.json();
        assert_eq!((self.status.as_u16(), body["error"].as_str()), (status, Some(name)), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
        body["message"].as_str().unwrap().to_owned()
    }

    fn dids(&self) -> Vec<String> {
        let repos = self.ok()["repos"].clone();
        repos.as_array().unwrap().iter().map(|repo| repo["did"].as_str().unwrap().to_owned()).collect()
    }

    fn cursor(&self) -> Option<String> {
        self.ok().get("cursor").map(|cursor| cursor.as_str().unwrap().to_owned())
    }
}
