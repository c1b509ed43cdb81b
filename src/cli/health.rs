//! `signpost health`: one GET of /ready on the internal listener, and its answer as an exit code.
//!
//! Speaks just enough HTTP/1.1 over a blocking socket: a health check runs every few seconds and should cost
//! nothing.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::Failure;
use crate::config::{self, InternalAddrFlag};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Far more than /ready ever answers.
const LARGEST_ANSWER_BYTES: u64 = 64 * 1024;

/// Succeeds if the signpost that listens on the internal address says that it is ready.
pub fn run(flag: InternalAddrFlag) -> Result<(), Failure> {
    let address = config::internal_addr(flag, |name| std::env::var_os(name))?
        .ok_or_else(|| anyhow!("the internal listener is off, so there is nobody to ask"))?;
    Ok(check(reachable(address))?)
}

fn check(address: SocketAddr) -> anyhow::Result<()> {
    let answer = get_ready(address).with_context(|| format!("no answer from http://{address}/ready"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(_) => Err(anyhow!("not ready: {}", body.trim())),
        None => Err(anyhow!("http://{address}/ready did not answer in HTTP")),
    }
}

fn get_ready(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // One write: the peer may answer, and close, as soon as it has the first segment.
    let request = format!("GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A listener on every interface is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

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

    #[test]
    fn a_listener_on_every_interface_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:8081".parse().unwrap()), "127.0.0.1:8081".parse().unwrap());
        assert_eq!(reachable("[::]:8081".parse().unwrap()), "[::1]:8081".parse().unwrap());
        assert_eq!(reachable("10.0.0.7:8081".parse().unwrap()), "10.0.0.7:8081".parse().unwrap());
    }
}
