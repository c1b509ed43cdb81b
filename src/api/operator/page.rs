//! The page: three files of ours put into one document, and the policy that lets a browser run these and nothing else.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::IntoResponse;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const DOCUMENT: &str = include_str!("page/page.html");

struct Page {
    text: String,
    policy: HeaderValue,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| Page {
    text: DOCUMENT.replace("/*page.css*/", STYLE).replace("/*page.js*/", SCRIPT),
    policy: HeaderValue::from_str(&format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE),
    ))
    .expect("base64 is ASCII"),
});

/// What a browser computes of an inline element's text.
fn hash(text: &str) -> String {
    BASE64.encode(&Sha256::digest(text.as_bytes()))
}

pub(super) async fn show() -> impl IntoResponse {
    const HEADERS: [(HeaderName, HeaderValue); 2] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        // Another version may be running after the next start.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (HEADERS, [(CONTENT_SECURITY_POLICY, PAGE.policy.clone())], PAGE.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_holds_its_parts_as_they_are_hashed_and_nothing_from_elsewhere() {
        let text = &PAGE.text;
        assert!(text.contains(&format!("<style>{STYLE}</style>")));
        assert!(text.contains(&format!("<script>{SCRIPT}</script>")));
        for reference in ["http://", "https://", "src=", "url(", "@import", "innerHTML", "onclick="] {
            assert!(!text.contains(reference), "{reference}");
        }
    }
}
