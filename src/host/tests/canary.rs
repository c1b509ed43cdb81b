//! A listener that stands for our own network: whatever a host, its redirects or its DNS say, nobody may ever connect to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::host::guard::{Guard, scripted::Dns};
use crate::host::test_server::{read_header, until};
use crate::host::{Client, HostError, Outbound, tls};
use crate::syntax::{Did, Host, HostPolicy};

const PUBLIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

/// A host at a public address, and the canary on the same port of an address of ours.
struct Scene {
    port: u16,
    asked: Arc<AtomicUsize>,
    canary: Arc<AtomicUsize>,
}

impl Scene {
    /// The host gives the same answer to whatever it is asked.
    async fn new(answer: impl Fn(SocketAddr) -> String) -> Scene {
        let (host, canary) = loop {
            let host = TcpListener::bind((PUBLIC, 0)).await.expect("a free port");
            let port = host.local_addr().expect("an address").port();
            if let Ok(canary) = TcpListener::bind((OURS, port)).await {
                break (host, canary);
            }
        };
        let at = canary.local_addr().expect("an address");
        let answer = answer(at);
        let scene = Scene { port: at.port(), asked: Arc::default(), canary: Arc::default() };
        let (asked, touched) = (scene.asked.clone(), scene.canary.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = host.accept().await {
                read_header(&mut stream).await.expect("a request");
                asked.fetch_add(1, SeqCst);
                stream.write_all(answer.as_bytes()).await.expect("the answer is taken");
            }
        });
        tokio::spawn(async move {
            while canary.accept().await.is_ok() {
                touched.fetch_add(1, SeqCst);
            }
        });
        scene
    }

    fn host(&self) -> Host {
        Host::parse(&format!("http://pds.test:{}", self.port), HostPolicy::AllowPrivate).expect("a host")
    }

    /// Not touched so far, and it would tell.
    async fn assert_untouched(&self) {
        assert_eq!(self.canary.load(SeqCst), 0);
        TcpStream::connect((OURS, self.port)).await.expect("the canary is there");
        until(|| self.canary.load(SeqCst) == 1).await;
    }
}

fn client(answers: &[&[IpAddr]]) -> (Client, Arc<Dns>) {
    let dns = Arc::new(Dns::new(answers.iter().map(|answer| answer.to_vec()), OURS));
    let outbound = Outbound::new(HostPolicy::AllowPrivate, "signpost/test", std::env::temp_dir());
    let mut guard = Guard::new(outbound.policy, Duration::from_secs(3));
    guard.scripted = Some(dns.clone());
    (Client::with_guard(outbound, tls::roots(), guard).expect("a client"), dns)
}

/// Every kind of request that a host can be sent.
async fn ask_all(client: &Client, host: &Host) -> Vec<HostError> {
    let did = Did::parse("did:web:pds.test").expect("a DID");
    vec![
        client.describe_server(host).await.expect_err("describeServer"),
        client.list_repos(host, None, 10).await.expect_err("listRepos"),
        client.get_repo(host, &did).await.expect_err("getRepo"),
        client.get_repo_status(host, &did).await.expect_err("getRepoStatus"),
        client.get_json::<Value>(host, "/.well-known/did.json").await.expect_err("did:web"),
        client.dial(host, None).await.map(drop).expect_err("subscribeRepos"),
    ]
}

#[tokio::test]
async fn redirects_lead_nowhere() {
    for status in [301, 302, 303, 307, 308] {
        let redirect = |canary| {
            format!(
                "HTTP/1.1 {status} Moved\r\nlocation: http://{canary}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        };
        let scene = Scene::new(redirect).await;
        let (client, _) = client(&[&[PUBLIC]]);
        let errors = ask_all(&client, &scene.host()).await;
        for error in &errors {
            assert_eq!(*error, HostError::Redirect(status));
            assert!(error.to_string().contains("a redirect, which is not followed"), "{error}");
        }
        assert_eq!(scene.asked.load(SeqCst), errors.len());
        scene.assert_untouched().await;
    }
}

#[tokio::test]
async fn a_name_that_is_bound_anew_leads_nowhere() {
    let answer = |_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}".to_owned();
    let scene = Scene::new(answer).await;
    let (client, dns) = client(&[&[PUBLIC], &[OURS]]);
    client.describe_server(&scene.host()).await.expect("it was public at first");
    assert_eq!(dns.answers_left(), 1, "each connection asks again");
    for error in ask_all(&client, &scene.host()).await {
        assert_eq!(error.to_string(), "not crawled: pds.test is at 127.0.0.2, which is not a public address");
    }
    assert_eq!(scene.asked.load(SeqCst), 1);
    scene.assert_untouched().await;
}

#[tokio::test]
async fn an_address_of_ours_among_public_ones_is_not_tried_when_they_fail() {
    let scene = Scene::new(|_| String::new()).await;
    for answer in [[PUBLIC, OURS], [OURS, PUBLIC]] {
        let (client, _) = client(&[&answer]);
        for error in ask_all(&client, &scene.host()).await {
            assert_eq!(error.reason(), "forbidden", "{error}");
        }
    }
    assert_eq!(scene.asked.load(SeqCst), 0);
    scene.assert_untouched().await;
}
