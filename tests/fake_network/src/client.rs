//! The least HTTP client that can talk to signpost on loopback: plain HTTP/1.1, one connection a request.

use std::io::{Error, Result};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// GET of an `http://` URL; fails within 10 s.
pub async fn get(url: &str) -> Result<Answer> {
    send(url, Request::get(path(url)?), Body::empty()).await
}

/// POST of JSON to an `http://` URL; fails within 10 s.
pub async fn post_json(url: &str, body: &Value) -> Result<Answer> {
    post_json_with(url, &[], body).await
}

/// The same with more headers.
pub async fn post_json_with(url: &str, headers: &[(&str, &str)], body: &Value) -> Result<Answer> {
    let request = Request::post(path(url)?).header(header::CONTENT_TYPE, "application/json");
    send(url, with_headers(request, headers), Body::from(body.to_string())).await
}

/// Any method of an `http://` URL, with headers and without a body; fails within 10 s.
pub async fn call(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let request = Request::builder().method(method).uri(path(url)?);
    send(url, with_headers(request, headers), Body::empty()).await
}

fn with_headers(request: axum::http::request::Builder, headers: &[(&str, &str)]) -> axum::http::request::Builder {
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

async fn send(url: &str, request: axum::http::request::Builder, body: Body) -> Result<Answer> {
    let uri: Uri = url.parse().map_err(Error::other)?;
    if uri.scheme_str() != Some("http") {
        return Err(Error::other("only http:// is spoken here"));
    }
    let host = uri.authority().ok_or_else(|| Error::other("the URL names no host"))?;
    let request = request.header(header::HOST, host.as_str()).body(body).map_err(Error::other)?;
    let address = (host.host().trim_matches(['[', ']']), host.port_u16().unwrap_or(80));
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Error::other)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(Error::other)?;
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(Body::new(response.into_body()), MAX_ANSWER_BYTES).await;
            Ok(Answer { status, body: body.map_err(Error::other)?.into() })
        };
        let connection = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = exchange => answer,
            never = connection => never,
        }
    };
    tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| Error::from(std::io::ErrorKind::TimedOut))?
}

fn path(url: &str) -> Result<String> {
    let uri: Uri = url.parse().map_err(Error::other)?;
    Ok(uri.path_and_query().map_or("/", |path| path.as_str()).to_owned())
}
