//! Five hundred clients who hold connections and give nothing for them, and a bystander who asks meanwhile.

use std::time::{Duration, Instant};

use fake_network::Network;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::CAPTAIN;
use crate::await_condition::await_condition;
use crate::process::{Options, Process};

const LIST: &str = "/xrpc/com.atproto.sync.listReposByCollection?collection=io.atcr.*&limit=500";
const SLOW: usize = 500;
/// A byte comes so often: within every time limit between two bytes.
const DRIP: Duration = Duration::from_millis(500);

/// What a slow client begins with, and goes on with.
fn way(number: usize) -> (String, &'static [u8]) {
    match number % 3 {
        0 => ("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(), b"x"),
        1 => {
            let head = "POST /xrpc/com.atproto.sync.requestCrawl HTTP/1.1\r\nHost: x\r\nContent-Type: application/json";
            (format!("{head}\r\nContent-Length: 4000\r\n\r\n{{"), b" ")
        }
        // Asks for list after list, and reads none.
        _ => (format!("GET {LIST} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(60), b""),
    }
}

/// Holds a connection for as long as it is let, and then opens the next.
async fn hold(address: String, number: usize) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let Ok(mut stream) = socket.connect(address.parse().unwrap()).await else { continue };
        let (begin, drip) = way(number);
        if stream.write_all(begin.as_bytes()).await.is_err() {
            continue;
        }
        let mut pace = tokio::time::interval(DRIP);
        loop {
            pace.tick().await;
            // A client that reads nothing still learns that it was cut.
            if drip.is_empty() && stream.peek(&mut [0]).await.is_ok_and(|bytes| bytes == 0) {
                break;
            }
            if stream.write_all(drip).await.is_err() {
                break;
            }
        }
    }
}

/// The 99th percentile of the time from a bystander's connect to the end of its answer.
async fn p99(signpost: &Process, requests: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..requests {
        let started = Instant::now();
        let mut stream = TcpStream::connect(signpost.address()).await.unwrap();
        let request = format!("GET {LIST} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert_eq!(answer.matches("\"did\"").count(), 300);
        times.push(started.elapsed());
    }
    times.sort();
    times[requests * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_slow_clients_do_not_keep_a_bystander_waiting() {
    let network = Network::start().await;
    let host = network.add_host();
    let dids = host.create_accounts(300);
    dids.iter().for_each(|did| drop(host.put_record(did, CAPTAIN, "self", json!({}))));
    // Fewer places than there are slow clients: each place goes round among them, and to whoever asks.
    for flags in [&["--max-connections", "600"] as &[&str], &["--max-connections", "100"]] {
        let signpost = Process::start_in(TempDir::new().unwrap(), &network, Options { flags, ..Options::default() });
        signpost.request_crawl(&host).await;
        signpost.await_truth(&network).await;
        let requests = std::env::var("SIGNPOST_LOADS").map_or(200, |loads| loads.parse().expect("a number"));
        let quiet = p99(&signpost, requests).await;
        let mut slow = JoinSet::new();
        for number in 0..SLOW {
            slow.spawn(hold(signpost.address().to_owned(), number));
        }
        let places = flags[1].parse::<usize>().unwrap().min(SLOW);
        await_condition("the slow clients hold what they can", async || {
            let metrics = signpost.metrics().await;
            let held = metrics.lines().find_map(|line| line.strip_prefix("signpost_http_connections ")).unwrap();
            if held.parse::<usize>().unwrap() + 20 >= places { Ok(()) } else { Err(held.to_owned()) }
        })
        .await;
        if places == SLOW {
            // Their first requests are work like any other; what is to be seen is what the held connections cost.
            let mut asked = (0, 0);
            await_condition("those who read nothing are not answered any more", async || {
                let metrics = signpost.metrics().await;
                let counts = metrics.lines().filter(|line| line.starts_with("signpost_http_requests_total{"));
                let all: u64 = counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
                asked = if all == asked.0 { (all, asked.1 + 1) } else { (all, 0) };
                if asked.1 >= 20 { Ok(()) } else { Err(format!("{all} requests")) }
            })
            .await;
        }
        let loaded = p99(&signpost, requests).await;
        println!("| {SLOW} slow clients, {} {} | p99 quiet {quiet:?} | p99 loaded {loaded:?} |", flags[0], flags[1]);
        // The bounds are for a slow machine in a debug build: what was measured is in the README.
        let bound = if places == SLOW { 1 } else { 5 };
        assert!(loaded < Duration::from_secs(bound), "{loaded:?}");
        // A write of a host is listed meanwhile.
        host.put_record(&dids[0], crate::CREW, &places.to_string(), json!({}));
        signpost.await_truth(&network).await;
        slow.shutdown().await;
    }
}
