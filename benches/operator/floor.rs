//! A server that answers every request with the same bytes from memory: what is left of a request when nothing is done for it.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use axum::body::{Body, Bytes};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::signpost::{Usage, pinned, usage_of};

/// The argument that makes this program that server.
pub const ARGUMENT: &str = "--floor";

/// The running server.
pub struct Floor {
    process: Child,
    url: String,
}

impl Floor {
    /// Starts it where signpost would run.
    pub fn start(body_bytes: usize) -> Floor {
        let this = std::env::current_exe().expect("this program has a path");
        let mut process = pinned(&this.to_string_lossy())
            .args([ARGUMENT, &body_bytes.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut url = String::new();
        BufReader::new(process.stdout.take().expect("stdout is piped")).read_line(&mut url).expect("it prints UTF-8");
        Floor { process, url: url.trim().to_owned() }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it has used since its start.
    pub fn usage(&self) -> Usage {
        usage_of(self.process.id())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until it is killed.
pub async fn serve(body_bytes: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
    println!("http://{}", listener.local_addr().expect("it is bound"));
    let body = Bytes::from(vec![b'x'; body_bytes]);
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("the socket is open");
        let body = body.clone();
        tokio::spawn(async move {
            let answer = service_fn(|_| async { Ok::<_, Infallible>(hyper::Response::new(Body::from(body.clone()))) });
            // It ends with its client.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}
