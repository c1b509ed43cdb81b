//! https and wss with a certificate of our own (`tls/`, made once with openssl, valid for a hundred years).

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;

use crate::host::test_server::listen;
use crate::host::{Client, Outbound};
use crate::syntax::{Host, HostPolicy, Scheme};

const AUTHORITY: &[u8] = include_bytes!("tls/authority.der");
const CERTIFICATE: &[u8] = include_bytes!("tls/localhost.der");
const KEY: &[u8] = include_bytes!("tls/localhost.key.der");

/// Whether the host answers plain requests, or opens a firehose.
#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    Http,
    WebSocket,
}

/// A host at https://localhost; gives its port.
async fn serve(speaks: Speaks) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(KEY).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key)
        .expect("a certificate and its key");
    let (listener, host) = listen().await;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            if speaks == Speaks::WebSocket {
                accept_async(stream).await.expect("a WebSocket");
                continue;
            }
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.expect("a request") > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.expect("answered");
            stream.shutdown().await.expect("closed");
        }
    });
    host.port()
}

fn host(name: &str, port: u16) -> Host {
    Host::from_key(&format!("{name}:{port}"), Scheme::Https).expect("a loopback host")
}

fn client() -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(AUTHORITY)).expect("a root");
    Client::with_roots(Outbound::new(HostPolicy::AllowPrivate, "signpost/test", std::env::temp_dir()), roots)
        .expect("a client")
}

#[tokio::test]
async fn trusted_host_is_called_and_dialled() {
    let client = client();
    client.describe_server(&host("localhost", serve(Speaks::Http).await)).await.expect("an answer");
    client.dial(&host("localhost", serve(Speaks::WebSocket).await), None).await.expect("a firehose");
}

#[tokio::test]
async fn host_that_does_not_prove_its_name_is_not_spoken_to() {
    let stranger =
        Client::new(Outbound::new(HostPolicy::AllowPrivate, "signpost/test", std::env::temp_dir())).expect("a client");
    for (client, name) in [(stranger, "localhost"), (client(), "127.0.0.1")] {
        let call = client.describe_server(&host(name, serve(Speaks::Http).await)).await.expect_err(name);
        let dial = client.dial(&host(name, serve(Speaks::WebSocket).await), None).await.expect_err(name);
        for error in [call, dial] {
            assert_eq!(error.reason(), "connect", "{error}");
            assert!(error.to_string().contains("certificate"), "{error}");
        }
    }
}
