//! The one TLS configuration of all that goes out.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// The machine's roots, or Mozilla's where the machine has none.
pub(super) fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Verifies hosts against these roots.
pub(super) fn client_config(roots: RootCertStore) -> Arc<ClientConfig> {
    // Passed explicitly: a process-wide default would be a second owner of the choice.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Not HTTP/2: a slow body would take the shared window of its connection from the others.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
