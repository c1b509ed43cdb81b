//! The admin calls, by the very requests that the field's command line makes, and what the world sees of them.

use fake_network::client::{Answer, call, post_json_with};
use fake_network::{AccountOptions, FakeHost, Network};
use serde_json::{Value, json};
use signpost::config::{AdminTokenFlag, Flags};

use crate::await_condition::await_condition;
use crate::process::{output, signpost as signpost_command};
use crate::signpost::{Signpost, generous, impatient};
use crate::{CAPTAIN, CREW, GET_REPO, LIST_REPOS, SUBSCRIBE_REPOS};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// "admin:" and the token, as a relay's password goes over the wire.
const BASIC: (&str, &str) = ("authorization", "Basic YWRtaW46MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");

async fn start(network: &Network) -> Signpost {
    let admin_token = AdminTokenFlag { admin_token: Some(TOKEN.to_owned()) };
    let flags = Flags { quotas: generous(), admin_token, ..Flags::default() };
    Signpost::start_with_flags(network, impatient(), flags).await
}

async fn get(signpost: &Signpost, path: &str) -> Value {
    let answer = call("GET", &format!("{}/admin{path}", signpost.internal_url()), &[BASIC]).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.json());
    answer.json()
}

/// A POST with its parameters in the query and no body, as for `host block`.
async fn post_query(signpost: &Signpost, path: &str) {
    let answer = call("POST", &format!("{}/admin{path}", signpost.internal_url()), &[BASIC]).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.json());
}

/// A POST with its parameters as JSON, as for all others.
async fn post(signpost: &Signpost, path: &str, body: Value) {
    let url = format!("{}/admin{path}", signpost.internal_url());
    let answer = post_json_with(&url, &[BASIC], &body).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.json());
}

fn by_name(path: &str, host: &FakeHost) -> String {
    format!("{path}?host={}", host.name().replace(':', "%3A"))
}

fn host_with_account(network: &Network) -> (FakeHost, String) {
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, CAPTAIN, "self", json!({}));
    (host, did)
}

async fn announce(signpost: &Signpost, host: &FakeHost) -> Answer {
    host.request_crawl(signpost.url()).await.unwrap()
}

async fn public_status(signpost: &Signpost, host: &FakeHost) -> Value {
    signpost.get(&format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name())).await.json()["status"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_hosts_firehose_closes_now_and_nothing_of_it_is_taken_until_it_is_let_in() {
    let network = Network::start().await;
    let ((host, did), (bystander, other)) = (host_with_account(&network), host_with_account(&network));
    let signpost = start(&network).await;
    signpost.follow(&network, [&host, &bystander]).await;

    post_query(&signpost, &by_name("/pds/block", &host)).await;
    host.wait_for_subscribers(0).await;
    assert_eq!(public_status(&signpost, &host).await, "banned");
    assert_eq!(announce(&signpost, &host).await.json()["error"], "HostBanned");
    let asked = || [GET_REPO, LIST_REPOS, SUBSCRIBE_REPOS].map(|method| host.requests(method));
    let before = asked();
    let cursor = signpost.index().host_cursor(host.name());
    host.put_record(&did, CREW, "meanwhile", json!({}));
    let signpost = signpost.restart().await;
    // What a bystander writes is heard, also behind the restart.
    bystander.wait_for_subscribers(1).await;
    bystander.put_record(&other, CREW, "one", json!({}));
    signpost.await_listed(CREW, &[&other]).await;
    assert_eq!((asked(), signpost.index().host_cursor(host.name())), (before, cursor), "it is left alone");
    let mut both = [did.as_str(), &other];
    both.sort();
    signpost.await_listed(CAPTAIN, &both).await;

    post_query(&signpost, &by_name("/pds/unblock", &host)).await;
    signpost.await_truth(&network).await;
    host.wait_for_subscribers(1).await;
    assert_eq!(public_status(&signpost, &host).await, "active");
    let log = get(&signpost, "/log").await;
    let actions: Vec<&Value> = log["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["unblock_host", "block_host"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_blocked_while_it_is_being_crawled() {
    let network = Network::start().await;
    let (host, _) = host_with_account(&network);
    let held_up = fake_network::Fault::Stall { method: GET_REPO };
    host.fault(held_up.clone(), fake_network::FaultScope::Always);
    let signpost = start(&network).await;
    signpost.request_crawl(&host).await;
    host.wait_fired(&held_up, 1).await;
    post_query(&signpost, &by_name("/pds/block", &host)).await;
    host.wait_for_subscribers(0).await;
    host.clear(&held_up);
    let index = signpost.index();
    let claimed = "SELECT count(*) FROM crawl_queue WHERE status = 'in_progress'";
    await_condition("nobody works for it", async || match index.number(claimed, []) {
        0 => Ok(()),
        jobs => Err(format!("{jobs} jobs")),
    })
    .await;
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(vec![]));
    post_query(&signpost, &by_name("/pds/unblock", &host)).await;
    signpost.await_truth(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_domain_closes_its_hosts_and_refuses_new_ones() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = start(&network).await;
    signpost.follow(&network, [&host]).await;
    let (newcomer, _) = host_with_account(&network);
    post(&signpost, "/subs/banDomain", json!({ "domain": "localhost" })).await;
    host.wait_for_subscribers(0).await;
    let signpost = signpost.restart().await;
    assert_eq!(get(&signpost, "/subs/listDomainBans").await, json!({ "banned_domains": ["localhost"] }));
    assert_eq!(announce(&signpost, &newcomer).await.json()["error"], "HostBanned");
    assert_eq!(announce(&signpost, &host).await.json()["error"], "HostBanned");
    signpost.await_listed(CAPTAIN, &[&did]).await;
    post(&signpost, "/subs/unbanDomain", json!({ "domain": "localhost" })).await;
    signpost.follow(&network, [&host, &newcomer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takedown_survives_resync_restart_and_migration_and_a_restore_shows_what_was_written_meanwhile() {
    let network = Network::start().await;
    let ((old, did), (new, other)) = (host_with_account(&network), host_with_account(&network));
    let signpost = start(&network).await;
    signpost.follow(&network, [&old, &new]).await;

    post(&signpost, "/repo/takeDown", json!({ "did": did })).await;
    assert_eq!(signpost.listed("io.atcr.*").await, Ok(vec![other.clone()]));
    signpost.await_status(&did, Some("takendown")).await;

    old.put_record(&did, CREW, "meanwhile", json!({}));
    signpost.await_heard(&old).await;
    let fetched = old.requests(GET_REPO);
    post(&signpost, "/repo/resync", json!({ "did": did })).await;
    old.wait_requests(GET_REPO, fetched + 1).await;
    signpost.await_idle().await;
    post_query(&signpost, &by_name("/pds/resync", &old)).await;
    old.wait_requests(GET_REPO, fetched + 2).await;
    signpost.await_idle().await;
    let signpost = signpost.restart().await;
    assert_eq!(signpost.listed("io.atcr.*").await, Ok(vec![other.clone()]));
    assert_eq!(get(&signpost, "/repo/takedowns?cursor=&size=500").await, json!({ "dids": [did] }));

    old.move_account(&did, &new);
    signpost.await_repo_host(&did, &new).await;
    signpost.await_idle().await;
    signpost.await_status(&did, Some("takendown")).await;
    assert_eq!(signpost.listed("io.atcr.*").await, Ok(vec![other.clone()]));

    post(&signpost, "/repo/reverseTakedown", json!({ "did": did })).await;
    let mut both = [did.as_str(), &other];
    both.sort();
    assert_eq!(signpost.listed(CAPTAIN).await, Ok(both.map(str::to_owned).to_vec()), "at once");
    assert_eq!(signpost.listed(CREW).await, Ok(vec![did.clone()]), "and with what was written meanwhile");
    signpost.await_status(&did, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_host_is_gone_with_its_rows_and_may_come_back_as_a_new_one() {
    let network = Network::start().await;
    let ((host, _), (bystander, other)) = (host_with_account(&network), host_with_account(&network));
    for did in host.create_accounts(50) {
        host.put_record(&did, CAPTAIN, "self", json!({}));
    }
    let signpost = start(&network).await;
    signpost.follow(&network, [&host, &bystander]).await;
    post_query(&signpost, &by_name("/pds/forget", &host)).await;
    host.wait_for_subscribers(0).await;
    signpost.await_listed(CAPTAIN, &[&other]).await;
    await_condition("the host is gone", async || {
        let hosts = get(&signpost, "/pds/list").await;
        if hosts.as_array().unwrap().len() == 1 { Ok(()) } else { Err(hosts.to_string()) }
    })
    .await;
    assert_eq!(public_status(&signpost, &host).await, Value::Null);
    bystander.put_record(&other, CREW, "one", json!({}));
    signpost.await_listed(CREW, &[&other]).await;
    signpost.follow(&network, [&host]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_listed_limited_and_added_as_by_the_relays_own_tool() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = start(&network).await;
    post(&signpost, "/pds/requestCrawl", json!({ "hostname": host.name() })).await;
    signpost.await_listed(CAPTAIN, &[&did]).await;
    host.wait_for_subscribers(1).await;
    host.put_record(&did, CREW, "one", json!({}));
    signpost.await_heard(&host).await;
    post(&signpost, "/pds/changeLimits", json!({ "host": host.name(), "repo_limit": 5 })).await;
    let listed = get(&signpost, "/pds/list").await[0].clone();
    let shown = (&listed["Host"], &listed["RepoCount"], &listed["RepoLimit"], &listed["HasActiveConnection"]);
    assert_eq!(shown, (&json!(host.name()), &json!(1), &json!(5), &json!(true)));
    assert!(listed["EventsSeenSinceStartup"].as_i64().unwrap() >= 1, "{listed}");
    assert_eq!(listed["Cursor"], host.latest_seq());

    for authorization in ["", "Bearer wrong", "Basic YWRtaW46d3Jvbmc="] {
        let url = format!("{}/admin/pds/list", signpost.internal_url());
        let answer = call("GET", &url, &[("authorization", authorization)]).await.unwrap();
        assert_eq!(answer.status, 401, "{authorization}");
    }
    assert_eq!(signpost.metric("signpost_admin_calls_total{outcome=\"denied\"}").await, 3.0);
    let public = call("GET", &format!("{}/admin/pds/list", signpost.url()), &[BASIC]).await.unwrap();
    assert_eq!(public.status, 404, "the public listener does not know of admin calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_do_what_the_calls_do() {
    let network = Network::start().await;
    let (host, did) = host_with_account(&network);
    let signpost = start(&network).await;
    signpost.follow(&network, [&host]).await;
    let address = signpost.internal_url().trim_start_matches("http://").to_owned();
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
    let admin = |arguments: &[&str]| {
        let mut command = signpost_command();
        command.arg("admin").args(arguments).args(["--internal-addr", &address]);
        let output = output(command.arg("--admin-token-file").arg(&token_file));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let done = |arguments: &[&str]| {
        let (code, stdout, stderr) = admin(arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        stdout
    };
    assert!(done(&["hosts"]).lines().nth(1).unwrap().starts_with(host.name()));
    let hosts: Value = serde_json::from_str(&done(&["hosts", "--json"])).unwrap();
    assert_eq!(hosts[0]["Host"], host.name());
    done(&["takedown", &did]);
    assert_eq!(done(&["takedowns"]), format!("{did}\n"));
    signpost.await_listed(CAPTAIN, &[]).await;
    done(&["restore", &did]);
    signpost.await_listed(CAPTAIN, &[&did]).await;
    done(&["block", host.name()]);
    host.wait_for_subscribers(0).await;
    done(&["unblock", host.name()]);
    host.wait_for_subscribers(1).await;
    done(&["ban", "example.com"]);
    assert_eq!(done(&["bans"]), "example.com\n");
    done(&["unban", "example.com"]);
    assert!(done(&["limits", host.name(), "--accounts", "7"]).contains('7'));
    let fetched = host.requests(GET_REPO);
    done(&["resync", &did]);
    host.wait_requests(GET_REPO, fetched + 1).await;
    signpost.await_idle().await;
    done(&["resync", host.name()]);
    host.wait_requests(GET_REPO, fetched + 2).await;
    done(&["forget", host.name()]);
    signpost.await_listed(CAPTAIN, &[]).await;
    assert!(done(&["log"]).lines().nth(1).unwrap().contains("forget_host"));

    let (code, stdout, stderr) = admin(&["unblock", "nobody.example.com"]);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 1), "{stderr}");
    assert!(stderr.contains("not known here"), "{stderr}");
    std::fs::write(&token_file, TOKEN.to_uppercase()).unwrap();
    let (code, _, stderr) = admin(&["hosts"]);
    assert!(code == Some(1) && stderr.contains("another admin token"), "{stderr}");
    std::fs::write(&token_file, "hunter2").unwrap();
    let (code, _, stderr) = admin(&["hosts"]);
    assert!(code == Some(2) && !stderr.contains("hunter2"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_are_no_admin_calls() {
    let network = Network::start().await;
    let signpost = Signpost::start(&network).await;
    let answer = call("GET", &format!("{}/admin/pds/list", signpost.internal_url()), &[BASIC]).await.unwrap();
    assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("AdminDisabled")));
}
