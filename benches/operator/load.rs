//! A load generator: keep-alive HTTP/1.1 connections that each ask, read the answer, and ask again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What the requests of one run took.
pub struct Load {
    /// From the first request to the last answer.
    pub took: Duration,
    /// Of each request, ascending.
    latencies: Vec<Duration>,
}

impl Load {
    /// How many requests were answered.
    pub fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// The latency that so much of the requests stayed within.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len() - 1;
        self.latencies[last * percent / 100]
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    address: String,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to an `http://address:port`.
    pub async fn connect(url: &str) -> Client {
        let address = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&address).await.expect("signpost listens");
        stream.set_nodelay(true).expect("the socket is open");
        Client { stream, address, buffer: Vec::new() }
    }

    /// The body of a 200; anything else ends the bench.
    pub async fn get(&mut self, path: &str) -> &str {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.write_all(request.as_bytes()).await.expect("signpost reads");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("signpost answers");
            assert!(read > 0, "signpost closed the connection");
            let Some((head_bytes, body_bytes)) = lengths(&self.buffer) else {
                continue;
            };
            if self.buffer.len() == head_bytes + body_bytes {
                return std::str::from_utf8(&self.buffer[head_bytes..]).expect("JSON is UTF-8");
            }
        }
    }
}

/// The length of an answer's head, when it is there, and of its body.
fn lengths(answer: &[u8]) -> Option<(usize, usize)> {
    const END: &[u8] = b"\r\n\r\n";
    let head_bytes = answer.windows(END.len()).position(|window| window == END)? + END.len();
    let head = std::str::from_utf8(&answer[..head_bytes]).expect("a head is ASCII").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{}", String::from_utf8_lossy(answer));
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some((head_bytes, length.expect("the answer has a length").parse().expect("a number")))
}

/// Asks for the paths in turn, from so many connections at once, until so many requests are answered.
pub async fn run(url: &str, paths: Arc<[String]>, connections: usize, requests: usize) -> Load {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        clients.push(Client::connect(url).await);
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (first, mut client) in clients.into_iter().enumerate() {
        let paths = paths.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(requests / connections + 1);
            for number in (first..requests).step_by(connections) {
                let asked = Instant::now();
                client.get(&paths[number % paths.len()]).await;
                latencies.push(asked.elapsed());
            }
            latencies
        });
    }
    let mut latencies = tasks.join_all().await.concat();
    let took = started.elapsed();
    latencies.sort_unstable();
    Load { took, latencies }
}
