//! The operator's page in a real Chromium, on the real binary with the fake network: `cargo test --test page`.
//!
//! What a person does, step by step. Pictures are kept in target/tmp/page.

mod browser;

#[allow(dead_code)]
#[path = "../service/await_condition.rs"]
mod await_condition;
#[allow(dead_code)]
#[path = "../service/index.rs"]
mod index;
#[allow(dead_code)]
#[path = "../service/process.rs"]
mod process;

use fake_network::{FakeHost, Fault, FaultScope, Network};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use browser::Browser;
use process::{Options, Process};

const CAPTAIN: &str = "io.atcr.hold.captain";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const WITH_TOKEN: Options = Options { under: &[], flags: &["--admin-token", TOKEN] };

/// A host with some accounts, each with a captain's record.
fn hold(network: &Network, accounts: usize) -> (FakeHost, Vec<String>) {
    let host = network.add_host();
    let dids = host.create_accounts(accounts);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({ "owner": did }))));
    (host, dids)
}

fn start(network: &Network) -> Process {
    Process::start_in(TempDir::new().unwrap(), network, WITH_TOKEN)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_signpost_says_that_it_is_well_and_how_a_host_comes() {
    let network = Network::start().await;
    let signpost = start(&network);
    let mut browser = Browser::start().await;
    browser.open(signpost.internal_url(), 1280, 900).await;
    browser.until_text("#sentence", "All is well, and no host has announced itself yet.").await;
    browser.until_text("#host-empty", "requestCrawl").await;
    browser.picture("empty").await;

    // The policy lets nothing else run.
    let blocked = browser
        .evaluate(
            "(() => { const it = document.createElement('script'); it.textContent = 'window.ran = true';
        document.body.append(it); return window.ran === undefined; })()",
        )
        .await;
    assert_eq!(blocked, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_appears_by_itself_and_is_looked_into_down_to_a_record() {
    let network = Network::start().await;
    let signpost = start(&network);
    let mut browser = Browser::start().await;
    browser.open(signpost.internal_url(), 1280, 900).await;
    browser.until_text("#sentence", "All is well").await;
    // The page is open already when the host comes.
    let (host, dids) = hold(&network, 3);
    signpost.request_crawl(&host).await;
    browser.until_text("#host-table tbody", host.name()).await;
    browser.until_text("#host-table tbody", "followed").await;
    browser.until_text("#sentence", "1 host is followed, nothing waits.").await;

    browser.click("#host-table tbody button").await;
    browser.until_text("#detail-body", "3 of at most 100,000").await;
    browser.press("Escape").await;
    browser.until("!document.getElementById('detail').open").await;

    // By keyboard alone: to the field, the search, the first answer.
    browser.evaluate("document.getElementById('query').focus()").await;
    browser.type_text(&dids[0]).await;
    browser.press("Enter").await;
    browser.until_text("#found", &dids[0]).await;
    while browser.evaluate("document.activeElement.closest('#found') === null").await == true {
        browser.press("Tab").await;
    }
    browser.press("Enter").await;
    browser.until_text("#detail-body", "io.atcr.hold.captain/self").await;
    let shown = browser.text("#detail-body").await;
    assert!(shown.contains(host.name()) && shown.contains("in step with its host"), "{shown}");
    browser.picture("repo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_fails_is_told_in_words_and_heals_before_the_eyes() {
    let network = Network::start().await;
    let signpost = start(&network);
    let hosts: Vec<FakeHost> = (0..8).map(|number| hold(&network, 1 + number).0).collect();
    let failing = &hosts[5];
    for host in &hosts {
        signpost.request_crawl(host).await;
    }
    signpost.await_truth(&network).await;
    let mut browser = Browser::start().await;
    browser.open(signpost.internal_url(), 1280, 900).await;
    browser.until_text("#sentence", "8 hosts are followed").await;
    failing.down().await;
    browser.until_text("#sentence", "cannot be followed").await;
    let sentence = browser.text("#sentence").await;
    assert!(sentence.starts_with(failing.name()), "{sentence}");
    browser.until_text("#host-table tbody tr", "not followed").await;
    browser.picture("failing").await;
    browser.evaluate("(() => { const it = document.getElementById('host-state'); it.value = 'trouble'; it.dispatchEvent(new Event('change')); })()").await;
    browser.until_text("#host-count", "1 of 8 hosts").await;
    failing.up();
    signpost.request_crawl(failing).await;
    browser.until_text("#sentence", "8 hosts are followed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_behind_stands_among_those_with_a_problem_until_it_has_caught_up() {
    let network = Network::start().await;
    let signpost = start(&network);
    let (late, dids) = hold(&network, 1);
    let (well, _) = hold(&network, 2);
    for host in [&well, &late] {
        signpost.request_crawl(host).await;
    }
    signpost.await_truth(&network).await;
    let mut browser = Browser::start().await;
    browser.open(signpost.internal_url(), 1280, 900).await;
    browser.until_text("#sentence", "2 hosts are followed").await;
    late.fault(Fault::HourOld, FaultScope::Next(1));
    drop(late.put_record(&dids[0], CAPTAIN, "self", json!({ "owner": "of an hour ago" })));
    browser.until_text("#host-table tbody tr", "followed, behind").await;
    let row = browser.text("#host-table tbody tr").await;
    assert!(row.contains(late.name()) && row.contains("60 min"), "{row}");
    browser.until_text("#sentence", "is 60 minutes behind").await;
    browser.picture("behind").await;
    browser.until_text("#sentence", "2 hosts are followed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_asks_for_the_token_and_then_asks_once_more() {
    let network = Network::start().await;
    let signpost = start(&network);
    let (host, dids) = hold(&network, 1);
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    let mut browser = Browser::start().await;
    browser.open(signpost.internal_url(), 1280, 900).await;
    browser.until_text("#host-table tbody", host.name()).await;
    browser.click("#host-table tbody button").await;
    browser.until("document.getElementById('detail').open").await;
    browser.click("#detail-actions .danger").await;
    browser.until("document.getElementById('token-dialog').open").await;
    browser.evaluate("document.getElementById('token').focus()").await;
    browser.type_text("not the token of this service, surely").await;
    browser.press("Enter").await;
    browser.until_text("#token-said", "That is not the token.").await;
    browser.evaluate("document.getElementById('token').select()").await;
    browser.type_text(TOKEN).await;
    browser.press("Enter").await;
    browser.until("document.getElementById('question').open").await;
    browser.until_text("#question-title", &format!("Block {}?", host.name())).await;
    browser.picture("question").await;
    browser.click("#question-no").await;
    browser.until("!document.getElementById('question').open").await;
    assert_eq!(hosts(&signpost).await[0]["blocked"], false);

    browser.click("#detail-actions .danger").await;
    browser.until("document.getElementById('question').open").await;
    browser.click("#question-yes").await;
    browser.until_text("#detail-said", "Done.").await;
    assert_eq!(hosts(&signpost).await[0]["blocked"], true);
    browser.press("Escape").await;
    browser.until_text("#host-table tbody", "blocked").await;

    // An account, from the search.
    browser.evaluate("document.getElementById('query').focus()").await;
    browser.type_text(&dids[0]).await;
    browser.press("Enter").await;
    browser.until_text("#found", &dids[0]).await;
    browser.click("#found button").await;
    browser.until_text("#detail-actions", "Take it down").await;
    browser.click("#detail-actions .danger").await;
    browser.until("document.getElementById('question').open").await;
    browser.click("#question-yes").await;
    browser.until_text("#detail-said", "Done.").await;
    let listed =
        signpost.get("/xrpc/com.atproto.sync.listReposByCollection?collection=io.atcr.hold.captain").await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&listed.body).unwrap()["repos"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_only_a_keyboard_gets_everywhere_and_back() {
    let network = Network::start().await;
    let signpost = start(&network);
    let (host, _) = hold(&network, 1);
    signpost.request_crawl(&host).await;
    signpost.await_truth(&network).await;
    let mut browser = Browser::start().await;
    browser.open(signpost.internal_url(), 1280, 900).await;
    browser.until_text("#host-table tbody", "followed").await;
    // The first stop leads past everything to the hosts.
    browser.press("Tab").await;
    browser.until("document.activeElement.className === 'skip'").await;
    browser.press("Enter").await;
    browser.until("document.activeElement.id === 'hosts'").await;
    let mut stops = Vec::new();
    while browser.evaluate("document.activeElement.closest('#host-table tbody') === null").await == true {
        assert!(stops.len() < 20, "{stops:?}");
        browser.press("Tab").await;
        stops.push(browser.evaluate("document.activeElement.id || document.activeElement.innerText").await);
        // Where one stands is seen.
        assert_eq!(browser.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'").await, true);
    }
    assert_eq!(stops[..3], ["host-state", "host-filter", "Host"], "{stops:?}");
    browser.press("Enter").await;
    browser.until("document.getElementById('detail').open").await;
    while browser.evaluate("document.activeElement.innerText !== 'Block it'").await == true {
        browser.press("Tab").await;
    }
    browser.press("Enter").await;
    browser.until("document.activeElement.id === 'token'").await;
    browser.type_text(TOKEN).await;
    browser.press("Enter").await;
    // Who presses Enter once too often has changed nothing.
    browser.until("document.activeElement.id === 'question-no'").await;
    browser.press("Enter").await;
    browser.until("!document.getElementById('question').open").await;
    browser.until("document.activeElement.innerText === 'Block it'").await;
    browser.press("Escape").await;
    browser.until("!document.getElementById('detail').open").await;
    browser.until(&format!("document.activeElement.innerText === '{}'", host.name())).await;
    assert_eq!(hosts(&signpost).await[0]["blocked"], false);
}

/// A socket for each host and each firehose, of both sides: systems begin with 1024.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_followed_hosts_are_sorted_and_filtered_at_once_and_fit_a_phone() {
    const HOSTS: usize = 1000;
    allow_many_files();
    let network = Network::start().await;
    let signpost = start(&network);
    let mut hosts = Vec::with_capacity(HOSTS);
    for number in 0..HOSTS {
        // One has more than the others.
        hosts.push(hold(&network, if number == 700 { 12 } else { 1 + number % 3 }));
    }
    for some in hosts.chunks(50) {
        for (host, _) in some {
            signpost.request_crawl(host).await;
        }
        for (host, _) in some {
            host.wait_for_subscribers(1).await;
        }
    }
    let mut browser = Browser::start().await;
    browser.open(signpost.internal_url(), 1280, 900).await;
    browser.until_text("#host-count", "1,000 hosts").await;
    browser.until_text("#sentence", "1,000 hosts are followed, nothing waits.").await;
    // They are alive: each writes something.
    for (host, dids) in &hosts {
        drop(host.put_record(&dids[0], CAPTAIN, "self", json!({ "owner": "somebody else" })));
    }
    browser.until("[...hosts.values()].every((host) => host.lag?.seconds === 0 && host.last_event_at)").await;
    browser.until_text("#legend", "1,000 applied").await;
    browser.picture("thousand").await;
    browser.evaluate("document.getElementById('crawling').scrollIntoView()").await;
    browser.picture("thousand-events").await;
    browser.evaluate("window.scrollTo(0, 0)").await;
    // How long the page's own thread is kept by a key that is pressed in the filter.
    let took = browser
        .evaluate(
            "(() => { const field = document.getElementById('host-filter'); const began = performance.now();
        field.value = '7'; showHosts(); return performance.now() - began; })()",
        )
        .await;
    eprintln!("filter and draw 1,000 hosts: {took} ms");
    let with_a_7 = hosts.iter().filter(|(host, _)| host.name().contains('7')).count();
    browser.until_text("#host-count", &format!("{with_a_7} of 1,000 hosts")).await;
    browser.evaluate("(() => { document.getElementById('host-filter').value = ''; showHosts(); })()").await;
    browser.click("#host-table thead [data-key=sort-records]").await;
    let most = hosts[700].0.name();
    browser.until(&format!("document.querySelector('#host-table tbody tr').innerText.includes('{most}')")).await;

    browser.resize(390, 844).await;
    browser.until("document.documentElement.scrollWidth <= 390").await;
    browser.picture("phone").await;
    browser.prefer("dark").await;
    browser.evaluate("document.getElementById('hosts').scrollIntoView()").await;
    browser.picture("phone-dark").await;
    browser.resize(1280, 900).await;
    browser.evaluate("window.scrollTo(0, 0)").await;
    browser.picture("dark").await;
}

async fn hosts(signpost: &Process) -> Value {
    let answer = signpost.get_internal("/hosts").await.unwrap();
    serde_json::from_slice::<Value>(&answer.body).unwrap()["hosts"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crawl_is_shown_with_what_is_done_and_what_is_left() {
    let network = Network::start().await;
    let signpost = start(&network);
    let (host, dids) = hold(&network, 1200);
    let (quick, _) = hold(&network, 3);
    // Some of its repos do not come, so that it cannot be done before somebody has looked.
    let slow = ["com.atproto.sync.getRecord", "com.atproto.sync.getRepo"].map(|method| Fault::Stall { method });
    for did in dids.iter().skip(900).step_by(100) {
        slow.iter().for_each(|slow| host.fault_for(did, slow.clone(), FaultScope::Always));
    }
    let mut browser = Browser::start().await;
    browser.open(signpost.internal_url(), 1280, 900).await;
    for host in [&quick, &host] {
        signpost.request_crawl(host).await;
    }
    browser.until_text("#crawls", "of 1,200 repos done").await;
    browser.until_text("#crawls", "about").await;
    browser.picture("crawl").await;
    slow.iter().for_each(|slow| host.clear(slow));
    browser.until_text("#crawls", "every repo that is known has been taken in").await;
    browser.until_text("#collection-table", CAPTAIN).await;
    browser.evaluate("document.getElementById('crawling').scrollIntoView()").await;
    browser.picture("crawled").await;
}
