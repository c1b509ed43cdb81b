//! The fake network, seen from the outside by a reader that shares no code with it.

mod reader;

use fake_network::client::get;
use fake_network::{
    AccountOptions, Curve, Damage, DocumentForm, Fault, FaultScope, HostOptions, Network, Record, Status, Write,
};
use ipld_core::ipld::Ipld;
use reader::{Received, Subscriber, commit_of, get_repo, is_signed_by, query, raw_head, read_car};
use serde_json::json;

const POST: &str = "app.test.post";

#[tokio::test]
async fn accounts_announce_themselves_in_the_order_of_the_reference() {
    let network = Network::start().await;
    let host = network.add_host();
    host.create_account(AccountOptions::default());
    host.create_account(AccountOptions::web());
    let mut subscriber = Subscriber::connect(&host, "?cursor=0").await;
    assert_eq!(subscriber.kinds(4).await, ["#identity", "#account", "#commit", "#sync"]);
    assert_eq!(subscriber.kinds(3).await, ["#account", "#identity", "#sync"]);
}

#[tokio::test]
async fn every_document_form_names_the_key_that_signed_the_repo() {
    let network = Network::start().await;
    let host = network.add_host();
    for document in [DocumentForm::Multikey, DocumentForm::Legacy] {
        let did = host.create_account(AccountOptions { document, ..Default::default() });
        host.put_record(&did, POST, "1", json!({ "text": "hello" }));
        let document = get(&format!("{}/{did}", network.plc_url())).await.unwrap().json();
        assert_eq!(document["service"][0]["serviceEndpoint"], host.origin());
        assert!(is_signed_by(&commit_of(&get_repo(&host, &did).await).await.unwrap(), &document));
    }
    let web = host.create_account(AccountOptions::web());
    let document = get(&format!("{}/.well-known/did.json", host.origin())).await.unwrap().json();
    assert_eq!(document["id"], web);
    assert!(is_signed_by(&commit_of(&get_repo(&host, &web).await).await.unwrap(), &document));
    network.tombstone(&web, 410);
    assert_eq!(get(&format!("{}/.well-known/did.json", host.origin())).await.unwrap().status, 410);
}

#[tokio::test]
async fn list_repos_gives_a_cursor_on_the_last_page_too() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(5);
    let mut seen = Vec::new();
    let mut path = "listRepos?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let (_, page) = query(&host, &path).await;
        pages += 1;
        seen.extend(page["repos"].as_array().unwrap().iter().map(|repo| repo["did"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["cursor"].as_str() else {
            break;
        };
        path = format!("listRepos?limit=2&cursor={cursor}");
    }
    assert_eq!((seen, pages), (dids, 4));
    assert_eq!(query(&host, "listRepos?limit=1001").await.0, 400);
}

#[tokio::test]
async fn inactive_accounts_are_listed_and_their_repos_refused_by_name() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    let errors = [
        (Status::Deactivated, "RepoDeactivated"),
        (Status::Takendown, "RepoTakendown"),
        (Status::Suspended, "RepoSuspended"),
    ];
    for (status, name) in errors {
        host.set_inactive(&did, status);
        let (code, body) = query(&host, &format!("getRepo?did={did}")).await;
        assert_eq!((code, body["error"].as_str()), (400, Some(name)));
        assert_eq!(query(&host, "listRepos").await.1["repos"][0]["active"], false);
        assert_eq!(query(&host, &format!("getRepoStatus?did={did}")).await.1["active"], false);
        assert!(network.expected(|_| true).is_empty());
    }
    host.delete_account(&did);
    assert_eq!(query(&host, &format!("getRepo?did={did}")).await.1["error"], "RepoNotFound");
    let mut subscriber = Subscriber::connect(&host, "?cursor=0").await;
    let (kind, body) = subscriber.frame().await;
    assert_eq!((kind.as_str(), &body["status"]), ("#account", &Ipld::String("deleted".to_owned())));
}

#[tokio::test]
async fn commits_chain_by_since_and_prev_data_and_carry_their_records() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions { curve: Curve::P256, ..Default::default() });
    let mut subscriber = Subscriber::connect(&host, "").await;
    host.wait_for_subscribers(1).await;
    let mut before = commit_of(&get_repo(&host, &did).await).await.unwrap();
    let put = |rkey: &str, text: &str| Write::put(POST, rkey, json!({ "text": text }));
    let commits = [
        vec![put("a", "1"), put("b", "1"), put("c", "1")],
        vec![put("a", "2"), Write::delete(POST, "b")],
        vec![put("a", "2")],
        vec![Write::delete(POST, "a"), Write::delete(POST, "c")],
    ];
    let actions = [vec!["create", "create", "create"], vec!["update", "delete"], vec![], vec!["delete", "delete"]];
    for (writes, actions) in commits.into_iter().zip(actions) {
        host.apply_writes(&did, writes);
        if actions.is_empty() {
            continue;
        }
        let (_, body) = subscriber.frame().await;
        assert_eq!((&body["since"], &body["prevData"]), (&before["rev"], &before["data"]));
        let Ipld::Bytes(blocks) = &body["blocks"] else { panic!("blocks are bytes") };
        let (root, car) = read_car(blocks).await.unwrap();
        assert_eq!(body["commit"], Ipld::Link(root));
        before = commit_of(blocks).await.unwrap();
        let Ipld::List(ops) = &body["ops"] else { panic!("ops is a list") };
        assert_eq!(ops.len(), actions.len());
        for (op, action) in ops.iter().zip(actions) {
            let Ipld::Map(op) = op else { panic!("an op is a map") };
            assert_eq!(op["action"], Ipld::String(action.to_owned()));
            assert_eq!(op.contains_key("prev"), action != "create");
            if let Ipld::Link(record) = &op["cid"] {
                assert!(car.iter().any(|(cid, _)| cid == record));
            }
        }
    }
    assert_eq!(commit_of(&get_repo(&host, &did).await).await.unwrap(), before);
}

#[tokio::test]
async fn the_commit_is_not_the_first_block_of_a_repo() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.load_records(&did, (0..200).map(|n| Write::put(POST, &format!("{n}"), json!({ "n": n }))));
    let (root, blocks) = read_car(&get_repo(&host, &did).await).await.unwrap();
    assert_ne!(blocks[0].0, root);
    assert_eq!(network.expected(|collection| collection == POST).len(), 200);
}

#[tokio::test]
async fn a_cursor_decides_what_is_replayed() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.put_record(&did, POST, "1", json!({}));
    let last = host.latest_seq();
    assert_eq!(Subscriber::connect(&host, &format!("?cursor={}", last - 1)).await.kinds(1).await, ["#commit"]);

    let mut future = Subscriber::connect(&host, &format!("?cursor={}", last + 1)).await;
    assert_eq!(future.frame().await.1["error"], Ipld::String("FutureCursor".to_owned()));
    assert!(matches!(future.next().await, Received::Closed(Some(1008))));

    host.forget_events(last - 1);
    let mut outdated = Subscriber::connect(&host, "?cursor=1").await;
    assert_eq!(outdated.kinds(2).await, ["#info", "#commit"]);

    let mut live = Subscriber::connect(&host, "?cursor=").await;
    host.wait_for_subscribers(2).await;
    host.change_handle(&did, "new.test");
    assert_eq!(live.kinds(1).await, ["#identity"]);
}

#[tokio::test]
async fn a_host_that_was_down_comes_back_on_its_port_with_its_history() {
    let network = Network::start().await;
    let host = network.add_host();
    host.create_account(AccountOptions::default());
    let mut subscriber = Subscriber::connect(&host, "?cursor=0").await;
    subscriber.kinds(4).await;
    host.down().await;
    assert!(matches!(subscriber.next().await, Received::Closed(None)));
    assert!(Subscriber::try_connect(&host, "").await.is_err());
    host.up();
    assert_eq!(Subscriber::connect(&host, "?cursor=2").await.kinds(2).await, ["#commit", "#sync"]);
}

#[tokio::test]
async fn a_moved_account_is_true_on_its_new_host_only() {
    let network = Network::start().await;
    let (old, new) = (network.add_host(), network.add_host());
    let did = old.create_account(AccountOptions::default());
    old.put_record(&did, POST, "1", json!({}));
    old.move_account(&did, &new);
    let document = async || get(&format!("{}/{did}", network.plc_url())).await.unwrap().json();
    assert_eq!(document().await["service"][0]["serviceEndpoint"], new.origin());
    let carried = commit_of(&get_repo(&new, &did).await).await.unwrap();
    assert!(!is_signed_by(&carried, &document().await));
    assert!(matches!(&carried["rev"], Ipld::String(rev) if *rev < new.rev(&did)));
    new.put_record(&did, POST, "2", json!({}));
    assert!(is_signed_by(&commit_of(&get_repo(&new, &did).await).await.unwrap(), &document().await));
    assert_eq!(network.expected(|_| true).len(), 2);
    let log = get(&format!("{}/{did}/log/audit", network.plc_url())).await.unwrap().json();
    assert_eq!(log.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn every_damage_of_a_repo_is_counted_and_seen() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    host.load_records(&did, (0..50).map(|n| Write::put(POST, &format!("{n}"), json!({ "n": n }))));
    let whole = get_repo(&host, &did).await;
    let document = get(&format!("{}/{did}", network.plc_url())).await.unwrap().json();
    for damage in [
        Damage::WrongKey,
        Damage::HighS,
        Damage::WrongDid,
        Damage::FutureRev,
        Damage::FlippedBit,
        Damage::MissingRecord,
        Damage::MissingRecords,
        Damage::MissingNode,
        Damage::MissingCommit,
        Damage::Truncated,
        Damage::TruncatedLength,
        Damage::NoBlocks,
        Damage::DuplicateBlocks,
        Damage::ExtraBlock,
    ] {
        let fault = Fault::Repo(damage);
        host.fault(fault.clone(), FaultScope::Next(1));
        let broken = get_repo(&host, &did).await;
        assert_ne!(broken, whole, "{damage:?}");
        assert_eq!(host.fired(&fault), 1);
        assert_eq!(get_repo(&host, &did).await, whole, "{damage:?} is over");
        match damage {
            Damage::WrongKey | Damage::HighS => {
                assert!(!is_signed_by(&commit_of(&broken).await.unwrap(), &document));
            }
            Damage::WrongDid | Damage::FutureRev => {
                assert!(is_signed_by(&commit_of(&broken).await.unwrap(), &document));
            }
            Damage::FlippedBit => assert!(read_car(&broken).await.is_err()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn stream_faults_fire_once_and_only_for_their_account() {
    let network = Network::start().await;
    let host = network.add_host();
    let (alice, bob) = (host.create_account(AccountOptions::default()), host.create_account(AccountOptions::default()));
    let mut subscriber = Subscriber::connect(&host, "").await;
    host.wait_for_subscribers(1).await;
    let faults = [Fault::GarbageFrame, Fault::TextFrame, Fault::UnknownType, Fault::Info, Fault::DuplicatedEvent];
    for fault in &faults {
        host.fault_for(&alice, fault.clone(), FaultScope::Next(1));
    }
    host.put_record(&bob, POST, "1", json!({}));
    host.put_record(&alice, POST, "1", json!({}));
    assert_eq!(subscriber.kinds(1).await, ["#commit"]);
    assert!(matches!(subscriber.next().await, Received::Garbage));
    assert!(matches!(subscriber.next().await, Received::Text));
    assert_eq!(subscriber.kinds(4).await, ["#nobodyKnowsThis", "#info", "#commit", "#commit"]);
    assert!(faults.iter().all(|fault| host.fired(fault) == 1));

    host.fault(Fault::DroppedEvent, FaultScope::Next(1));
    host.put_record(&alice, POST, "2", json!({}));
    host.fault(Fault::Legacy, FaultScope::Next(1));
    host.put_record(&alice, POST, "3", json!({}));
    let (_, body) = subscriber.frame().await;
    assert!(!body.contains_key("prevData"));
    assert_eq!(body["seq"], Ipld::Integer(host.latest_seq().into()));

    host.fault(Fault::ErrorFrame, FaultScope::Next(1));
    host.put_record(&alice, POST, "4", json!({}));
    assert_eq!(subscriber.frame().await.1["error"], Ipld::String("ConsumerTooSlow".to_owned()));
    assert!(matches!(subscriber.next().await, Received::Closed(_)));
    host.wait_for_subscribers(0).await;
}

#[tokio::test]
async fn answers_can_be_faulty_and_are_counted_as_requests() {
    let network = Network::start().await;
    let host = network.add_host();
    const METHOD: &str = "com.atproto.sync.listRepos";
    let statuses = [
        (Fault::Status { method: METHOD, code: 500 }, 500),
        (Fault::RateLimited { method: METHOD, retry_after: 1 }, 429),
        (Fault::Redirect { method: METHOD }, 302),
        (Fault::Html { method: METHOD }, 200),
    ];
    for (fault, status) in statuses {
        host.fault(fault.clone(), FaultScope::Next(1));
        assert_eq!(query(&host, "listRepos").await.0, status);
        host.wait_fired(&fault, 1).await;
    }
    let refused = Fault::Status { method: "com.atproto.sync.subscribeRepos", code: 200 };
    host.fault(refused.clone(), FaultScope::Always);
    assert!(Subscriber::try_connect(&host, "").await.is_err());
    host.clear(&refused);
    Subscriber::connect(&host, "").await;
    assert_eq!(host.requests(METHOD), 4);
    assert_eq!(host.requests("redirected"), 0);
}

#[tokio::test]
async fn a_stale_repo_is_the_one_of_when_the_fault_was_set() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    let before = get_repo(&host, &did).await;
    host.fault(Fault::StaleRepo, FaultScope::Next(1));
    host.put_record(&did, POST, "1", Record::Raw(b"\xff not CBOR".as_slice().into()));
    assert_eq!(get_repo(&host, &did).await, before);
    assert_ne!(get_repo(&host, &did).await, before);
}

#[tokio::test]
async fn lies_about_the_chain_are_told_in_one_event_only() {
    let network = Network::start().await;
    let host = network.add_host();
    let did = host.create_account(AccountOptions::default());
    let mut subscriber = Subscriber::connect(&host, "").await;
    host.wait_for_subscribers(1).await;
    for fault in [Fault::WrongSince, Fault::WrongPrevData, Fault::MissingOp, Fault::TooBig] {
        let head = commit_of(&get_repo(&host, &did).await).await.unwrap();
        host.fault(fault.clone(), FaultScope::Next(1));
        host.put_record(&did, POST, "1", json!({ "n": format!("{fault:?}") }));
        let (_, body) = subscriber.frame().await;
        assert_eq!(body["since"] != head["rev"], fault == Fault::WrongSince);
        assert_eq!(body["prevData"] != head["data"], fault == Fault::WrongPrevData);
        let silent = matches!(fault, Fault::MissingOp | Fault::TooBig);
        assert_eq!(body["ops"] == Ipld::List(vec![]), silent);
        assert_eq!(body["tooBig"], Ipld::Bool(fault == Fault::TooBig));
        assert_eq!(host.fired(&fault), 1);
    }
}

#[tokio::test]
async fn a_host_compresses_only_if_it_was_told_to_and_the_client_accepts_it() {
    let network = Network::start().await;
    let options = HostOptions { compress: true, ..HostOptions::default() };
    for (host, expected) in [(network.add_host_with(options).unwrap(), true), (network.add_host(), false)] {
        let did = host.create_account(AccountOptions::default());
        host.load_records(&did, (0..50).map(|n| Write::put(POST, &format!("{n}"), json!({ "n": n }))));
        let target = format!("/xrpc/com.atproto.sync.getRepo?did={did}");
        let head = raw_head(host.name(), &target, "accept-encoding: br, gzip").await;
        assert_eq!(head.contains("content-encoding: br"), expected, "{head}");
        assert!(!raw_head(host.name(), &target, "accept: */*").await.contains("content-encoding"));
    }
}

#[tokio::test]
async fn the_same_seed_makes_the_same_network() {
    let dids = async |seed| Network::with_seed(seed).await.add_host().create_accounts(3);
    assert_eq!(dids(5).await, dids(5).await);
    assert_ne!(dids(5).await, dids(6).await);
}
