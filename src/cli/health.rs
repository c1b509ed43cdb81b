//! `signpost health`: one GET of /ready on the internal listener, and its answer as an exit code.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::Failure;
use super::internal_call::{Call, reachable};
use crate::config::{self, InternalAddrFlag};

const READY: Call = Call {
    method: "GET",
    path: "/ready",
    token: None,
    body: None,
    timeout: Duration::from_secs(5),
    // Far more than /ready ever answers.
    largest_answer_bytes: 64 * 1024,
};

/// Succeeds if the signpost that listens on the internal address says that it is ready.
pub fn run(flag: InternalAddrFlag) -> Result<(), Failure> {
    let address = config::internal_addr(flag, |name| std::env::var_os(name))?
        .ok_or_else(|| anyhow!("the internal listener is off, so there is nobody to ask"))?;
    Ok(check(reachable(address))?)
}

fn check(address: SocketAddr) -> anyhow::Result<()> {
    let reply = READY.send(address).with_context(|| format!("no answer from http://{address}/ready"))?;
    match reply.status {
        Some(200) => Ok(()),
        Some(_) => Err(anyhow!("not ready: {}", reply.body.trim())),
        None => Err(anyhow!("http://{address}/ready did not answer in HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn a_200_is_healthy() {
        check(answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")).unwrap();
    }

    #[test]
    fn a_503_is_not_healthy_and_its_reasons_are_shown() {
        let address = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"reasons\":[\"starting\"]}");
        assert_eq!(check(address).unwrap_err().to_string(), "not ready: {\"reasons\":[\"starting\"]}");
    }

    #[test]
    fn nobody_listening_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(check(address).unwrap_err().to_string().starts_with("no answer from http://127.0.0.1:"));
    }
}
