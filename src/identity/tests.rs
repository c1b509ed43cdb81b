//! DID documents as they are found, and servers that do not give them.

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::any;
use multibase::Base;
use serde_json::json;

use super::*;
use crate::host::Outbound;
use crate::host::test_server::{client, endless_body, serve};
use crate::syntax::HostPolicy::{self, AllowPrivate, PublicOnly};

const PLC: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
const K256: &str = "zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N";
const P256: &str = "zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv";

fn did(text: &str) -> Did {
    Did::parse(text).expect(text)
}

fn document() -> Value {
    json!({
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": PLC,
        "alsoKnownAs": ["https://a.com", "at://Alice.Example.com"],
        "verificationMethod": [
            {"id": "#other", "type": 7, "publicKeyMultibase": []},
            {"id": format!("{PLC}#atproto"), "type": "Multikey", "controller": PLC, "publicKeyMultibase": K256},
        ],
        "service": [
            {"id": "#atproto_labeler", "type": "AtprotoLabeler", "serviceEndpoint": "https://mod.example.com"},
            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.example.com"},
        ],
    })
}

fn read(document: &Value) -> Identity {
    document::read(document, &did(PLC), PublicOnly).expect("it is the DID's own")
}

/// The same key as a bare point, as the older verification methods have it.
fn bare(multikey: &str) -> String {
    let (_, bytes) = multibase::decode(multikey).expect("multibase");
    multibase::encode(Base::Base58Btc, &bytes[2..])
}

#[test]
fn document_gives_key_pds_and_handle() {
    let identity = read(&document());
    assert_eq!(identity.did, did(PLC));
    assert_eq!(identity.pds.expect("a PDS").origin(), "https://pds.example.com");
    assert_eq!(identity.signing_key.expect("a key").to_did_key(), format!("did:key:{K256}"));
    assert_eq!(identity.handle.expect("a handle").as_str(), "alice.example.com");
}

#[test]
fn key_is_read_in_every_form_in_use() {
    let (k256, p256) = ("EcdsaSecp256k1VerificationKey2019", "EcdsaSecp256r1VerificationKey2019");
    let cases = [
        ("#atproto", "Multikey", K256.to_owned(), Some(K256)),
        ("#atproto", "Multikey", P256.to_owned(), Some(P256)),
        ("#atproto", k256, bare(K256), Some(K256)),
        ("#atproto", p256, bare(P256), Some(P256)),
        ("#atproto", "Multikey", bare(K256), None),
        ("#atproto", "Multikey", "zQ3sh".into(), None),
        ("#atproto", "Multikey", "".into(), None),
        ("#atproto", "Ed25519VerificationKey2020", K256.into(), None),
        ("#atproto_label", "Multikey", K256.into(), None),
        ("atproto", "Multikey", K256.into(), None),
        ("did:web:a.com#atproto", "Multikey", K256.into(), None),
    ];
    for (id, kind, multibase, expected) in cases {
        let mut document = document();
        document["verificationMethod"] = json!([{"id": id, "type": kind, "publicKeyMultibase": multibase}]);
        let key = read(&document).signing_key.map(|key| key.to_did_key());
        assert_eq!(key, expected.map(|key| format!("did:key:{key}")), "{id} {kind} {multibase}");
    }
}

#[test]
fn pds_is_an_origin_that_may_be_crawled() {
    let cases = [
        ("https://pds.example.com", PublicOnly, Some("https://pds.example.com")),
        ("https://PDS.example.com/", PublicOnly, Some("https://pds.example.com")),
        ("http://pds.example.com", PublicOnly, None),
        ("https://pds.example.com/xrpc", PublicOnly, None),
        ("pds.example.com", PublicOnly, None),
        ("https://localhost", PublicOnly, None),
        ("http://localhost:2583", AllowPrivate, Some("http://localhost:2583")),
        ("localhost:2583", AllowPrivate, None),
        ("ftp://localhost", AllowPrivate, None),
        ("https://8.8.8.8", AllowPrivate, None),
    ];
    for (endpoint, policy, expected) in cases {
        for id in ["#atproto_pds".to_owned(), format!("{PLC}#atproto_pds")] {
            let mut document = document();
            document["service"] = json!([{"id": id, "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}]);
            let identity = document::read(&document, &did(PLC), policy).expect("valid");
            assert_eq!(identity.pds.map(|host| host.origin()).as_deref(), expected, "{endpoint}");
        }
    }
    let mut other_type = document();
    other_type["service"][1]["type"] = json!("AtprotoLabeler");
    assert_eq!(read(&other_type).pds, None);
}

#[test]
fn first_valid_handle_counts() {
    let cases = [
        (json!(["at://a.com", "at://b.com"]), Some("a.com")),
        (json!(["at://no_handle", "at://B.com"]), Some("b.com")),
        (json!(["a.com", 7, "at://a.com/path"]), None),
        (json!([]), None),
        (json!("at://a.com"), None),
    ];
    for (names, expected) in cases {
        let mut document = document();
        document["alsoKnownAs"] = names.clone();
        assert_eq!(read(&document).handle.as_ref().map(Handle::as_str), expected, "{names}");
    }
}

#[test]
fn what_makes_no_sense_is_left_out_and_the_rest_stands() {
    for nonsense in [json!(null), json!(7), json!("x"), json!({}), json!([null, 7, [], {"id": {}}])] {
        for field in ["alsoKnownAs", "verificationMethod", "service"] {
            let mut document = document();
            document[field] = nonsense.clone();
            let identity = read(&document);
            let there = [identity.handle.is_some(), identity.signing_key.is_some(), identity.pds.is_some()];
            assert_eq!(there.iter().filter(|there| **there).count(), 2, "{field} {nonsense}");
        }
    }
    let bare = read(&json!({"id": PLC}));
    assert_eq!((bare.handle, bare.signing_key, bare.pds), (None, None, None));
}

#[test]
fn document_of_another_did_is_refused() {
    for id in [json!("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"), json!(null), json!(PLC.to_uppercase()), json!([PLC])] {
        let result = document::read(&json!({"id": id}), &did(PLC), PublicOnly);
        assert!(matches!(result, Err(IdentityError::Invalid(_))), "{id}");
    }
    assert!(document::read(&json!([]), &did(PLC), PublicOnly).is_err());
}

async fn resolver(answer: impl IntoResponse + Clone + Send + Sync + 'static, base_path: &str) -> Resolver {
    let path = format!("{}/{PLC}", base_path.trim_end_matches('/'));
    let host = serve(Router::new().route(&path, any(async || answer))).await;
    let url = Url::parse(&format!("{}{base_path}", host.origin())).expect("a URL");
    Resolver::new(client(|_| ()), url)
}

#[tokio::test]
async fn plc_is_asked_by_the_did_below_its_url() {
    for base_path in ["", "/", "/plc", "/plc/"] {
        let resolver = resolver(document().to_string(), base_path).await;
        assert!(resolver.resolve(&did(PLC)).await.expect(base_path).signing_key.is_some());
    }
}

#[tokio::test]
async fn plc_may_be_anywhere_under_either_policy() {
    let at_loopback = resolver(document().to_string(), "").await.plc_url;
    let client = Client::new(Outbound::new(PublicOnly, "signpost/test", std::env::temp_dir())).expect("a client");
    let resolver = Resolver::new(Arc::new(client), at_loopback);
    assert!(resolver.resolve(&did(PLC)).await.is_ok());
    let web = resolver.resolve(&did("did:web:localhost")).await;
    assert!(matches!(web, Err(IdentityError::Invalid(_))), "{web:?}");
}

#[tokio::test]
async fn unknown_and_tombstoned_plc_dids_are_not_found() {
    let tombstone = json!({"message": "DID not available"}).to_string();
    for status in [StatusCode::NOT_FOUND, StatusCode::GONE] {
        let resolver = resolver((status, tombstone.clone()), "").await;
        assert_eq!(resolver.resolve(&did(PLC)).await, Err(IdentityError::NotFound));
    }
}

#[tokio::test]
async fn failures_of_the_directory_are_not_the_end_of_a_did() {
    let reason = async |resolver: Resolver| match resolver.resolve(&did(PLC)).await {
        Err(IdentityError::Fetch(error)) => error.reason(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(resolver(StatusCode::BAD_GATEWAY, "").await).await, "http_status");
    assert_eq!(reason(resolver(StatusCode::TOO_MANY_REQUESTS, "").await).await, "rate_limited");
    assert_eq!(reason(resolver((StatusCode::FOUND, [("location", "/")]), "").await).await, "redirect");
    assert_eq!(reason(resolver("<html>", "").await).await, "malformed");
    let endless = serve(Router::new().fallback(any(async || endless_body()))).await;
    let endless = Resolver::new(client(|_| ()), Url::parse(&endless.origin()).expect("a URL"));
    assert_eq!(reason(endless).await, "too_large");
}

#[tokio::test]
async fn dids_that_cannot_be_resolved_are_not_asked_for() {
    let nowhere = || Url::parse("http://127.0.0.1:1").expect("a URL");
    let resolve = async |text: &str, policy: HostPolicy| {
        let client = Client::new(Outbound::new(policy, "signpost/test", std::env::temp_dir())).expect("a client");
        Resolver::new(Arc::new(client), nowhere()).resolve(&did(text)).await.expect_err(text)
    };
    for text in ["did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N", "did:example:a"] {
        assert_eq!(resolve(text, AllowPrivate).await, IdentityError::UnsupportedMethod);
    }
    let invalid = [
        ("did:plc:short", AllowPrivate),
        ("did:plc:7IZA6DE2DWAP2SBKPAV7C6C6", AllowPrivate),
        ("did:plc:..", AllowPrivate),
        ("did:web:a.com:u:me", AllowPrivate),
        ("did:web:a.com%2Fpath", AllowPrivate),
        ("did:web:me%40a.com", AllowPrivate),
        ("did:web:8.8.8.8", AllowPrivate),
        ("did:web:localhost%3A2583", PublicOnly),
        ("did:web:a.com%3A443", PublicOnly),
        ("did:web:pds.internal", PublicOnly),
        ("did:web:127.0.0.1", PublicOnly),
    ];
    for (text, policy) in invalid {
        assert!(matches!(resolve(text, policy).await, IdentityError::Invalid(_)), "{text}");
    }
}

#[tokio::test]
async fn web_did_is_asked_at_its_host_and_is_never_found_to_be_gone() {
    let (listener, host) = crate::host::test_server::listen().await;
    let web = did(&format!("did:web:localhost%3A{}", host.port()));
    let mut document = document();
    document["id"] = json!(web.as_str());
    let text = document.to_string();
    let route = "/.well-known/did.json";
    let server =
        tokio::spawn(async move { axum::serve(listener, Router::new().route(route, any(async || text))).await });
    let resolver = Resolver::new(client(|_| ()), Url::parse("http://127.0.0.1:1").expect("a URL"));
    assert_eq!(resolver.resolve(&web).await.expect("an identity").did, web);
    server.abort();

    let gone = serve(Router::new()).await;
    let web = did(&format!("did:web:localhost%3a{}", gone.port()));
    let result = resolver.resolve(&web).await;
    assert_eq!(result, Err(IdentityError::Fetch(HostError::Status(404))));
}
