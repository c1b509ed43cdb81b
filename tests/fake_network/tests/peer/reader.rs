//! A reader of what the fake network sends: frames, CARs and signatures, with nothing of the crate's own code.

use std::collections::BTreeMap;
use std::time::Duration;

use cid::Cid;
use fake_network::FakeHost;
use fake_network::client::get;
use futures_util::StreamExt;
use ipld_core::ipld::Ipld;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

pub type Map = BTreeMap<String, Ipld>;

/// What came over the WebSocket.
#[derive(Debug)]
pub enum Received {
    /// A frame with header and body; the first field is the type, or the op if there is none.
    Frame(String, Map),
    Garbage,
    Text,
    Closed(Option<u16>),
}

pub struct Subscriber(WebSocketStream<TcpStream>);

impl Subscriber {
    pub async fn connect(host: &FakeHost, query: &str) -> Subscriber {
        Subscriber::try_connect(host, query).await.expect("the host takes the WebSocket")
    }

    pub async fn try_connect(host: &FakeHost, query: &str) -> Result<Subscriber, String> {
        let stream = TcpStream::connect(host.name()).await.map_err(|error| error.to_string())?;
        let url = format!("ws://{}/xrpc/com.atproto.sync.subscribeRepos{query}", host.name());
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.map_err(|error| error.to_string())?;
        Ok(Subscriber(socket))
    }

    pub async fn next(&mut self) -> Received {
        let message = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await;
        match message.expect("something comes within 10 s") {
            Some(Ok(Message::Binary(bytes))) => decode(&bytes),
            Some(Ok(Message::Text(_))) => Received::Text,
            Some(Ok(Message::Close(frame))) => Received::Closed(frame.map(|frame| frame.code.into())),
            Some(Ok(other)) => panic!("not expected: {other:?}"),
            Some(Err(_)) | None => Received::Closed(None),
        }
    }

    /// The next frame's type and body.
    pub async fn frame(&mut self) -> (String, Map) {
        match self.next().await {
            Received::Frame(kind, body) => (kind, body),
            other => panic!("not a frame: {other:?}"),
        }
    }

    /// The types of the next frames.
    pub async fn kinds(&mut self, count: usize) -> Vec<String> {
        let mut kinds = Vec::new();
        for _ in 0..count {
            kinds.push(self.frame().await.0);
        }
        kinds
    }
}

fn decode(frame: &[u8]) -> Received {
    let mut reader = std::io::Cursor::new(frame);
    let mut next = || serde_ipld_dagcbor::de::from_reader_once::<Map, _>(&mut reader);
    match (next(), next()) {
        (Ok(header), Ok(body)) => {
            let kind = match (&header["op"], header.get("t")) {
                (_, Some(Ipld::String(kind))) => kind.clone(),
                (op, _) => format!("{op:?}"),
            };
            Received::Frame(kind, body)
        }
        _ => Received::Garbage,
    }
}

/// A CAR's root and blocks, each block's hash checked.
pub async fn read_car(bytes: &[u8]) -> Result<(Cid, Vec<(Cid, Vec<u8>)>), String> {
    let mut reader = iroh_car::CarReader::new(bytes).await.map_err(|error| error.to_string())?;
    let root = reader.header().roots()[0];
    let mut blocks = Vec::new();
    while let Some((cid, block)) = reader.next_block().await.map_err(|error| error.to_string())? {
        if fake_network::block::cid_of(&block) != cid {
            return Err("a block is not what its CID says".to_owned());
        }
        blocks.push((cid, block));
    }
    Ok((root, blocks))
}

/// The commit in a CAR.
pub async fn commit_of(car: &[u8]) -> Result<Map, String> {
    let (root, blocks) = read_car(car).await?;
    let (_, block) = blocks.iter().find(|(cid, _)| *cid == root).ok_or("no commit")?;
    serde_ipld_dagcbor::from_slice(block).map_err(|error| error.to_string())
}

/// Whether the commit is signed (low-S) by the K-256 key that the DID document names.
pub fn is_signed_by(commit: &Map, document: &Value) -> bool {
    use k256::ecdsa::signature::Verifier;
    let method = &document["verificationMethod"][0];
    let (_, key) = multibase::decode(method["publicKeyMultibase"].as_str().unwrap()).unwrap();
    let point = if method["type"] == "Multikey" { &key[2..] } else { &key[..] };
    let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
    let mut unsigned = commit.clone();
    let Some(Ipld::Bytes(sig)) = unsigned.remove("sig") else { panic!("no sig") };
    let message = serde_ipld_dagcbor::to_vec(&Ipld::Map(unsigned)).unwrap();
    let sig = k256::ecdsa::Signature::from_slice(&sig).unwrap();
    sig.normalize_s().is_none() && key.verify(&message, &sig).is_ok()
}

/// The answer of a query on the host: its status and JSON.
pub async fn query(host: &FakeHost, path: &str) -> (u16, Value) {
    let answer = get(&format!("{}/xrpc/com.atproto.sync.{path}", host.origin())).await.unwrap();
    (answer.status, answer.json())
}

/// The CAR that getRepo answers.
pub async fn get_repo(host: &FakeHost, did: &str) -> Vec<u8> {
    let url = format!("{}/xrpc/com.atproto.sync.getRepo?did={}", host.origin(), did.replace('%', "%25"));
    get(&url).await.unwrap().body
}

/// The head of the answer to a GET with one more header, in lower case.
pub async fn raw_head(host: &str, target: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{header}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    String::from_utf8_lossy(&answer[..end]).to_lowercase()
}
