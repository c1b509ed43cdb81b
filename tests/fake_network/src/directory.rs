//! The DID documents of the network: what the PLC directory serves, and the did:web documents that hosts serve.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use serde_json::{Value, json};

use crate::fault::UNPOISONED;
use crate::keys::SigningKey;
use crate::wire::{Wire, intercept};

/// How a DID document names its signing key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DocumentForm {
    /// Type `Multikey`, id `DID#atproto`.
    #[default]
    Multikey,
    /// Type `EcdsaSecp256k1VerificationKey2019`, id `#atproto`, the uncompressed point without multicodec prefix.
    Legacy,
}

/// What one DID document says.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) handle: String,
    pub(crate) key: SigningKey,
    /// The PDS endpoint, such as `http://localhost:2583`.
    pub(crate) pds: String,
    pub(crate) form: DocumentForm,
    /// The HTTP status with which the directory says that the DID is gone.
    pub(crate) tombstone: Option<u16>,
    /// The did:keys that signed for this DID before, oldest first.
    pub(crate) earlier_keys: Vec<String>,
}

impl Identity {
    fn document(&self, did: &str) -> Value {
        let (id, kind, key) = match self.form {
            DocumentForm::Multikey => (format!("{did}#atproto"), "Multikey", self.key.multikey()),
            DocumentForm::Legacy => {
                let (kind, key) = self.key.legacy_form();
                ("#atproto".to_owned(), kind, key)
            }
        };
        json!({
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            "id": did,
            "alsoKnownAs": [format!("at://{}", self.handle)],
            "verificationMethod": [{ "id": id, "type": kind, "controller": did, "publicKeyMultibase": key }],
            "service": [{
                "id": "#atproto_pds",
                "type": "AtprotoPersonalDataServer",
                "serviceEndpoint": self.pds,
            }],
        })
    }

    fn audit_log(&self, did: &str) -> Value {
        let keys = self.earlier_keys.iter().cloned().chain([self.key.did_key()]);
        let operations = keys.map(|key| {
            json!({
                "did": did,
                "nullified": false,
                "createdAt": "2026-01-01T00:00:00.000Z",
                "operation": {
                    "type": "plc_operation",
                    "alsoKnownAs": [format!("at://{}", self.handle)],
                    "verificationMethods": { "atproto": key },
                    "services": {
                        "atproto_pds": { "type": "AtprotoPersonalDataServer", "endpoint": self.pds }
                    },
                },
            })
        });
        operations.collect()
    }
}

/// Every identity of the network, by DID.
#[derive(Default)]
pub(crate) struct Directory(Mutex<BTreeMap<String, Identity>>);

impl Directory {
    pub(crate) fn insert(&self, did: &str, identity: Identity) {
        self.0.lock().expect(UNPOISONED).insert(did.to_owned(), identity);
    }

    pub(crate) fn get(&self, did: &str) -> Option<Identity> {
        self.0.lock().expect(UNPOISONED).get(did).cloned()
    }

    pub(crate) fn change(&self, did: &str, change: impl FnOnce(&mut Identity)) {
        change(self.0.lock().expect(UNPOISONED).get_mut(did).expect("the test names a DID of this network"));
    }

    /// The DID document as its directory or web server answers.
    pub(crate) fn answer(&self, did: &str) -> Response {
        self.answer_with(did, |identity| identity.document(did))
    }

    fn answer_with(&self, did: &str, body: impl FnOnce(&Identity) -> Value) -> Response {
        let gone = |code: u16| {
            let code = StatusCode::from_u16(code).expect("the test names an HTTP status");
            (code, Json(json!({ "message": format!("DID not available: {did}") }))).into_response()
        };
        match self.get(did) {
            None => gone(404),
            Some(Identity { tombstone: Some(code), .. }) => gone(code),
            Some(identity) => Json(body(&identity)).into_response(),
        }
    }
}

/// The PLC directory's routes.
pub(crate) fn plc_router(directory: Arc<Directory>, wire: Arc<Wire>) -> Router {
    let document = async |State(directory): State<Arc<Directory>>, Path(did): Path<String>| {
        directory.answer(&did) //
    };
    let audit = async |State(directory): State<Arc<Directory>>, Path(did): Path<String>| {
        directory.answer_with(&did, |identity| identity.audit_log(&did))
    };
    Router::new()
        .route("/{did}", get(document))
        .route("/{did}/log/audit", get(audit))
        .with_state(directory)
        .layer(middleware::from_fn_with_state(wire, intercept))
}
