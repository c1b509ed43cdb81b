//! The public queries, called by the official client (which checks every answer against its lexicon) and compared with the PDS.

use serde_json::{Value, json};

use crate::await_condition::await_condition;
use crate::pds::{Account, Pds};
use crate::signpost::Signpost;

const CAPTAIN: &str = "io.atcr.hold.captain";

fn three_holds() -> (Pds, [Account; 3], Signpost) {
    let pds = Pds::start();
    let holds = [pds.account("one"), pds.account("two"), pds.did_web_hold("three")];
    for hold in &holds {
        hold.put(CAPTAIN, "self", json!({ "owner": hold.did }));
    }
    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CAPTAIN, &holds.each_ref());
    (pds, holds, signpost)
}

fn dids(page: &Value) -> Vec<String> {
    let repos = page["body"]["repos"].as_array().unwrap_or_else(|| panic!("not a page: {page}"));
    repos.iter().map(|repo| repo["did"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn official_client_pages_through_every_list() {
    let (_pds, holds, signpost) = three_holds();
    let questions =
        [("listReposByCollection", json!({ "collection": CAPTAIN, "limit": 1 })), ("listRepos", json!({ "limit": 1 }))];
    for (method, mut parameters) in questions {
        let mut seen = Vec::new();
        loop {
            let page = signpost.ask(method, parameters.clone());
            seen.extend(dids(&page));
            match &page["body"]["cursor"] {
                Value::Null => break,
                cursor => parameters["cursor"] = cursor.clone(),
            }
        }
        seen.sort();
        let mut expected = holds.each_ref().map(|hold| hold.did.clone());
        expected.sort();
        assert_eq!(seen, expected, "{method}");
    }
}

#[test]
fn heads_and_revisions_are_those_of_the_pds() {
    let (pds, holds, signpost) = three_holds();
    let hold = &holds[2];
    hold.put("io.atcr.hold.crew", "one", json!({ "member": hold.did }));
    hold.put("com.example.note", "one", json!({ "text": "a commit without matching records moves the head too" }));
    let truth = pds.listed(hold);
    await_condition("the latest commit is the PDS's", || {
        let answer = signpost.ask("getLatestCommit", json!({ "did": hold.did }));
        let same = answer["body"] == json!({ "cid": truth["head"], "rev": truth["rev"] });
        if same { Ok(()) } else { Err(format!("{answer}, not {truth}")) }
    });
    let status = signpost.ask("getRepoStatus", json!({ "did": hold.did }));
    assert_eq!(status["body"], json!({ "did": hold.did, "active": true, "rev": truth["rev"] }));
    let page = signpost.ask("listRepos", json!({}));
    let repos = page["body"]["repos"].as_array().unwrap();
    let listed = repos.iter().find(|repo| repo["did"] == hold.did).expect("listRepos has the hold");
    assert_eq!((&listed["head"], &listed["rev"]), (&truth["head"], &truth["rev"]));
}

#[test]
fn crawled_host_shows_in_the_host_queries() {
    let (pds, _holds, signpost) = three_holds();
    let status = signpost.ask("getHostStatus", json!({ "hostname": pds.hostname() }));
    assert_eq!(status["body"]["hostname"], pds.hostname(), "{status}");
    assert_eq!(status["body"]["status"], "active", "{status}");
    assert_eq!(status["body"]["accountCount"], 3, "{status}");
    let hosts = signpost.ask("listHosts", json!({}));
    assert_eq!(hosts["body"]["hosts"].as_array().unwrap().len(), 1, "{hosts}");
    assert_eq!(hosts["body"]["hosts"][0]["hostname"], pds.hostname());
}

#[test]
fn errors_have_the_names_of_their_lexicons() {
    let signpost = Signpost::start();
    let unknown = json!({ "did": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa" });
    let expected = [
        ("getRepoStatus", unknown.clone(), 400, "RepoNotFound"),
        ("getLatestCommit", unknown, 400, "RepoNotFound"),
        ("getHostStatus", json!({ "hostname": "pds.example.com" }), 400, "HostNotFound"),
        ("getRepoStatus", json!({ "did": "not a did" }), 400, "InvalidRequest"),
        ("listReposByCollection", json!({ "collection": CAPTAIN, "limit": 2001 }), 400, "InvalidRequest"),
        ("listReposByCollection", json!({ "collection": CAPTAIN, "cursor": "made up" }), 400, "InvalidRequest"),
        ("listReposByCollection", json!({}), 400, "InvalidRequest"),
        ("getRepo", json!({ "did": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa" }), 501, "MethodNotImplemented"),
    ];
    for (method, parameters, status, error) in expected {
        let answer = signpost.ask(method, parameters.clone());
        assert_eq!(
            (&answer["status"], &answer["error"]),
            (&json!(status), &json!(error)),
            "{method} {parameters}: {answer}"
        );
    }
    for uncovered in ["io.*", "app.bsky.feed.post"] {
        let answer = signpost.ask("listReposByCollection", json!({ "collection": uncovered }));
        assert_eq!(answer["error"], "InvalidRequest", "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("io.atcr.*"), "names the filter: {answer}");
    }
}
