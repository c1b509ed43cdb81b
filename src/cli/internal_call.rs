//! One request to the internal listener of a running signpost.
//!
//! Speaks just enough HTTP/1.1 over a blocking socket: a health check runs every few seconds and should cost
//! nothing.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked.
pub(super) struct Call<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
    /// JSON.
    pub(super) body: Option<String>,
    /// For each part of the answer.
    pub(super) timeout: Duration,
    pub(super) largest_answer_bytes: u64,
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// None: not HTTP.
    pub(super) status: Option<u16>,
    pub(super) body: String,
}

impl Call<'_> {
    pub(super) fn send(&self, address: SocketAddr) -> std::io::Result<Reply> {
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        // One write: the peer may answer, and close, as soon as it has the first segment.
        stream.write_all(self.request(address).as_bytes())?;
        let mut answer = Vec::new();
        stream.take(self.largest_answer_bytes + 1).read_to_end(&mut answer)?;
        if answer.len() as u64 > self.largest_answer_bytes {
            return Err(Error::new(ErrorKind::FileTooLarge, "the answer is too large"));
        }
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Reply { status, body: body.to_owned() })
    }

    fn request(&self, address: SocketAddr) -> String {
        let Call { method, path, .. } = self;
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        if let Some(token) = self.token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        match &self.body {
            Some(body) => request
                .push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
            None if *method == "POST" => request.push_str("Content-Length: 0\r\n\r\n"),
            None => request.push_str("\r\n"),
        }
        request
    }
}

/// A listener on every interface is asked on loopback.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
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

    #[test]
    fn a_listener_on_every_interface_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:8081".parse().unwrap()), "127.0.0.1:8081".parse().unwrap());
        assert_eq!(reachable("[::]:8081".parse().unwrap()), "[::1]:8081".parse().unwrap());
        assert_eq!(reachable("10.0.0.7:8081".parse().unwrap()), "10.0.0.7:8081".parse().unwrap());
    }
}
