//! The whole service in this process, on free ports, with a database of its own and little patience.

use std::path::PathBuf;
use std::time::Duration;

use fake_network::client::{Answer, get};
use fake_network::{FakeHost, Network};
use serde_json::Value;
use signpost::config::{Config, DatabaseFlag, Flags, InternalAddrFlag, LimitFlags, QuotaFlags};
use signpost::service::{Service, Timing};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::await_condition::await_condition;
use crate::index::{Index, is_atcr};

/// A running service.
pub struct Signpost {
    directory: TempDir,
    flags: Flags,
    timing: Timing,
    running: Running,
}

struct Running {
    url: String,
    internal_url: String,
    shutdown: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
}

/// What is failing is tried again after a tenth of a second or two.
pub fn impatient() -> Timing {
    let mut timing = Timing::default();
    timing.crawl.retry_base = Duration::from_millis(20);
    timing.crawl.grace = Duration::from_millis(100);
    timing.crawl.did_rest = Duration::from_millis(20);
    timing.subscribe.retry_base = Duration::from_millis(20);
    timing.subscribe.retry_cap = Duration::from_millis(200);
    timing
}

/// The same, and hosts are compared all the time.
pub fn comparing() -> Timing {
    let mut timing = impatient();
    timing.crawl.compare_every = Some(Duration::from_millis(500));
    timing
}

/// What is failing is not tried again while a test lasts.
pub fn patient() -> Timing {
    let mut timing = Timing::default();
    timing.crawl.retry_base = Duration::from_secs(1_000_000);
    timing.crawl.firehose_wait = Duration::from_millis(200);
    timing.subscribe.retry_base = Duration::from_secs(1_000_000);
    timing.subscribe.retry_cap = Duration::from_secs(1_000_000);
    timing
}

impl Signpost {
    /// Starts with an empty database and the default filter.
    pub async fn start(network: &Network) -> Signpost {
        Signpost::start_with(network, impatient()).await
    }

    /// The same with other waiting times.
    pub async fn start_with(network: &Network, timing: Timing) -> Signpost {
        Signpost::start_limited(network, timing, LimitFlags::default()).await
    }

    /// The same with other limits.
    pub async fn start_limited(network: &Network, timing: Timing, limits: LimitFlags) -> Signpost {
        Signpost::start_with_flags(network, timing, Flags { limits, quotas: generous(), ..Flags::default() }).await
    }

    /// The same with settings, but for those that make it one of this network and of this test.
    pub async fn start_with_flags(network: &Network, timing: Timing, flags: Flags) -> Signpost {
        let directory = TempDir::new().unwrap();
        // The network's directory is asked as fast as it can answer, unless the test is about that.
        let plc_rate = flags.limits.plc_requests_per_second.clone().or(Some("10000".to_owned()));
        let free_port = || Some("127.0.0.1:0".to_owned());
        let database = directory.path().join("signpost.db").to_str().unwrap().to_owned();
        let flags = Flags {
            database: DatabaseFlag { database_path: Some(database) },
            http_addr: free_port(),
            internal_addr: InternalAddrFlag { internal_addr: free_port() },
            plc_url: Some(network.plc_url().to_owned()),
            allow_private_hosts: Some("true".to_owned()),
            limits: LimitFlags { plc_requests_per_second: plc_rate, ..flags.limits },
            ..flags
        };
        let running = run(flags.clone(), timing).await;
        Signpost { directory, flags, timing, running }
    }

    /// Stops in order, and starts on the same database.
    pub async fn restart(self) -> Signpost {
        self.restart_after(async || ()).await
    }

    /// The same, with something done while no signpost runs.
    pub async fn restart_after(mut self, meanwhile: impl AsyncFnOnce()) -> Signpost {
        self.stop().await;
        meanwhile().await;
        self.running = run(self.flags.clone(), self.timing).await;
        self
    }

    /// The same with another filter.
    pub async fn restart_with_filter(mut self, filter: &str) -> Signpost {
        self.stop().await;
        self.flags.collections = Some(filter.to_owned());
        self.running = run(self.flags.clone(), self.timing).await;
        self
    }

    /// The same with other limits.
    pub async fn restart_limited(mut self, limits: LimitFlags) -> Signpost {
        let plc_rate = self.flags.limits.plc_requests_per_second.take();
        self.flags.limits = LimitFlags { plc_requests_per_second: plc_rate, ..limits };
        self.restart().await
    }

    /// Stops for good: a test that goes on must not have it dial ports that are another host's by then.
    pub async fn end(mut self) {
        self.stop().await;
    }

    async fn stop(&mut self) {
        self.running.shutdown.cancel();
        (&mut self.running.ended).await.unwrap().expect("signpost stops in order");
    }

    /// Where the public listener is.
    pub fn url(&self) -> &str {
        &self.running.url
    }

    /// Where the internal listener is.
    pub fn internal_url(&self) -> &str {
        &self.running.internal_url
    }

    /// The SQLite file.
    pub fn database_path(&self) -> PathBuf {
        self.directory.path().join("signpost.db")
    }

    /// The index, as the file shows it now.
    pub fn index(&self) -> Index {
        Index::open(&self.database_path())
    }

    /// GET of a path of the public listener.
    pub async fn get(&self, path: &str) -> Answer {
        get(&format!("{}{path}", self.running.url)).await.unwrap()
    }

    /// GET of a path of the internal listener.
    pub async fn get_internal(&self, path: &str) -> Answer {
        get(&format!("{}{path}", self.running.internal_url)).await.unwrap()
    }

    /// Announces a host as the host itself would.
    pub async fn request_crawl(&self, host: &FakeHost) {
        let answer = host.request_crawl(&self.running.url).await.unwrap();
        assert_eq!((answer.status, answer.json()), (200, serde_json::json!({})));
    }

    /// Announces hosts and waits until the index equals the truth and their firehoses are connected.
    pub async fn follow<'h>(&self, network: &Network, hosts: impl IntoIterator<Item = &'h FakeHost>) {
        let hosts: Vec<&FakeHost> = hosts.into_iter().collect();
        for host in &hosts {
            self.request_crawl(host).await;
        }
        self.await_truth(network).await;
        for host in hosts {
            host.wait_for_subscribers(1).await;
        }
        self.await_idle().await;
    }

    /// The DIDs that listReposByCollection gives for a collection or pattern, in order of their names.
    pub async fn listed(&self, collection: &str) -> Result<Vec<String>, String> {
        let path = format!("/xrpc/com.atproto.sync.listReposByCollection?limit=2000&collection={collection}");
        let answer = self.get(&path).await;
        let body = answer.json();
        let repos = body["repos"].as_array().filter(|_| answer.status == 200);
        let repos = repos.ok_or_else(|| format!("{} {body}", answer.status))?;
        let mut dids: Vec<String> = repos.iter().map(|repo| repo["did"].as_str().unwrap().to_owned()).collect();
        dids.sort();
        Ok(dids)
    }

    /// Waits until exactly these accounts are listed for a collection or pattern.
    pub async fn await_listed(&self, collection: &str, dids: &[&str]) {
        let mut expected = dids.to_vec();
        expected.sort();
        await_condition(&format!("{collection} lists {expected:?}"), async || {
            let listed = self.listed(collection).await?;
            if listed == expected { Ok(()) } else { Err(format!("{listed:?}")) }
        })
        .await;
    }

    /// What getRepoStatus answers.
    pub async fn repo_status(&self, did: &str) -> Value {
        self.get(&format!("/xrpc/com.atproto.sync.getRepoStatus?did={}", did.replace('%', "%25"))).await.json()
    }

    /// Waits until getRepoStatus answers with this status, `None` standing for active.
    pub async fn await_status(&self, did: &str, status: Option<&str>) {
        await_condition(&format!("the status of {did} is {status:?}"), async || {
            let answer = self.repo_status(did).await;
            let holds = answer["active"] == status.is_none() && answer["status"].as_str() == status;
            if holds { Ok(()) } else { Err(answer.to_string()) }
        })
        .await;
    }

    /// Waits until the index equals the truth under the default filter.
    pub async fn await_truth(&self, network: &Network) {
        await_condition("the index equals the truth", async || self.index().equals(network, is_atcr)).await;
    }

    /// Waits until every event of the host has its outcome and no job is left to be done.
    pub async fn await_heard(&self, host: &FakeHost) {
        self.await_heard_only(host).await;
        self.await_idle().await;
    }

    /// Waits until every event of the host has its outcome, whatever that is.
    pub async fn await_heard_only(&self, host: &FakeHost) {
        await_condition("every event is heard", async || {
            match (self.index().host_cursor(host.name()), host.latest_seq()) {
                (Some(cursor), latest) if cursor == latest => Ok(()),
                (cursor, latest) => Err(format!("at {cursor:?} of {latest}")),
            }
        })
        .await;
    }

    /// Waits until no repo's job and no held event is left to be done: where hosts are compared all the time.
    pub async fn await_repos_idle(&self) {
        await_condition("no repo is waited for", async || match self.index().repo_work_left() {
            0 => Ok(()),
            left => Err(format!("{left} jobs and events left")),
        })
        .await;
    }

    /// Waits until the account belongs to this host.
    pub async fn await_repo_host(&self, did: &str, host: &FakeHost) {
        let sql = "SELECT count(*) FROM repos JOIN hosts USING (host_id) WHERE did = ?1 AND hostname = ?2";
        await_condition("the account has moved", async || match self.index().number(sql, [did, host.name()]) {
            1 => Ok(()),
            _ => Err("elsewhere".to_owned()),
        })
        .await;
    }

    /// Waits until no job and no held event is left to be done; failed jobs may be.
    pub async fn await_idle(&self) {
        await_condition("the queue is idle", async || match self.index().work_left() {
            0 => Ok(()),
            left => Err(format!("{left} jobs and events left")),
        })
        .await;
    }

    /// What /hosts says of a host.
    pub async fn host_report(&self, host: &FakeHost) -> Value {
        let body = self.get_internal("/hosts").await.json();
        let mut hosts = body["hosts"].as_array().unwrap().iter();
        hosts.find(|report| report["hostname"] == host.name()).cloned().unwrap_or_default()
    }

    /// Waits until what /hosts says of a host meets the condition.
    pub async fn await_host_report(&self, host: &FakeHost, what: &str, condition: impl Fn(&Value) -> bool) {
        await_condition(what, async || {
            let report = self.host_report(host).await;
            if condition(&report) { Ok(()) } else { Err(report.to_string()) }
        })
        .await;
    }

    /// How many events of this kind came to this outcome.
    pub async fn outcomes(&self, kind: &str, outcome: &str) -> f64 {
        self.metric(&format!("signpost_events_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}")).await
    }

    /// Waits until so many events of this kind came to this outcome.
    pub async fn await_outcomes(&self, kind: &str, outcome: &str, times: usize) {
        await_condition(&format!("{kind} {outcome} {times} times"), async || {
            match self.outcomes(kind, outcome).await {
                counted if counted >= times as f64 => Ok(()),
                counted => Err(format!("{counted} times")),
            }
        })
        .await;
    }

    /// How many connections of firehoses came to this.
    pub async fn firehose_connects(&self, outcome: &str) -> f64 {
        self.metric(&format!("signpost_firehose_connects_total{{outcome=\"{outcome}\"}}")).await
    }

    /// The value of a metric, 0 if it has none yet; `name` is all that stands before the value.
    pub async fn metric(&self, name: &str) -> f64 {
        let answer = self.get_internal("/metrics").await;
        let text = String::from_utf8(answer.body).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// Quotas that no test meets by chance: all its calls come from one client.
pub fn generous() -> QuotaFlags {
    QuotaFlags { request_crawl_per_minute: Some("10000".to_owned()), ..QuotaFlags::default() }
}

async fn run(flags: Flags, timing: Timing) -> Running {
    let config = Config::resolve(flags, |_| None).unwrap();
    // Between fork and exec, a process that another test starts holds all that we have open, the lock of our database too.
    let service = await_condition("the database is free", async || match Service::open(config.clone()).await {
        Err(error) if error.to_string().contains("in use") => Err(error.to_string()),
        opened => Ok(opened.unwrap()),
    })
    .await;
    let url = format!("http://{}", service.public_addr().unwrap());
    let internal_url = format!("http://{}", service.internal_addr().unwrap().unwrap());
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(service.run(timing, shutdown.clone()));
    await_condition("signpost is ready", async || match get(&format!("{internal_url}/ready")).await.unwrap() {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.json().to_string()),
    })
    .await;
    Running { url, internal_url, shutdown, ended }
}
