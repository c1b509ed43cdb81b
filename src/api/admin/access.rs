//! Who may make admin calls: who shows the token, as `Authorization: Bearer` or as the password of `admin`.
//!
//! There are no cookies, no CORS, and no challenge that a browser would ask its user a password for: a page in the operator's browser
//! has no way to show the token, whatever name it reaches us by.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;

use crate::api::Api;
use crate::api::client_address::Client;
use crate::api::error::ApiError;
use crate::config::AdminToken;

const USER: &[u8] = b"admin:";

pub(super) async fn require_token(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Some(token) = &api.admin_token else {
        api.metrics.admin_call("off");
        let message = "admin calls are off: start signpost with --admin-token, or SIGNPOST_ADMIN_TOKEN";
        return ApiError::new(StatusCode::FORBIDDEN, "AdminDisabled", message).into_response();
    };
    if is_another_sites(request.headers()) {
        api.metrics.admin_call("denied");
        let message = "admin calls are not for pages of other sites";
        return ApiError::new(StatusCode::FORBIDDEN, "CrossSite", message).into_response();
    }
    if !shows(request.headers(), token) {
        api.metrics.admin_call("denied");
        // Nobody in between is believed: a guess under another address would cost nothing.
        let client = Client::of(request.extensions(), &HeaderMap::new(), &[]);
        tokio::time::sleep(api.wrong_token_buckets.overdraw(client)).await;
        return denied();
    }
    let response = next.run(request).await;
    api.metrics.admin_call(if response.status().is_success() { "done" } else { "refused" });
    response
}

fn denied() -> Response {
    let message = "the admin token is missing or wrong: send Authorization: Bearer TOKEN, or Basic with the user admin";
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, "AuthenticationRequired", message).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"signpost\""));
    response
}

/// A browser says so where a page of another site made it send the request, with a password that it may remember.
fn is_another_sites(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| matches!(site.as_bytes(), b"cross-site" | b"same-site"))
}

fn shows(headers: &HeaderMap, token: &AdminToken) -> bool {
    let Some(value) = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes) else { return false };
    let Some(space) = value.iter().position(|byte| *byte == b' ') else { return false };
    let (scheme, credentials) = (&value[..space], value[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return token.is(credentials);
    }
    scheme.eq_ignore_ascii_case(b"basic")
        && BASE64
            .decode(credentials)
            .is_ok_and(|decoded| decoded.strip_prefix(USER).is_some_and(|password| token.is(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn shown(authorization: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        shows(&headers, &AdminToken::of(TOKEN))
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64.encode(text.as_bytes()))
    }

    #[test]
    fn the_token_is_a_bearer_token_or_the_password_of_admin() {
        assert!(shown(&format!("Bearer {TOKEN}")));
        assert!(shown(&format!("bearer  {TOKEN}")));
        assert!(shown(&basic(&format!("admin:{TOKEN}"))));
    }

    #[test]
    fn anything_else_is_not_the_token() {
        assert!(!shows(&HeaderMap::new(), &AdminToken::of(TOKEN)));
        for authorization in [
            "",
            "Bearer",
            "Bearer ",
            TOKEN,
            "Basic ====",
            &format!("Token {TOKEN}"),
            &format!("Bearer {TOKEN}x"),
            &format!("Basic {TOKEN}"),
            &basic(TOKEN),
            &basic(&format!("root:{TOKEN}")),
            &basic("admin:"),
            &basic(&format!("admin:{TOKEN} ")),
        ] {
            assert!(!shown(authorization), "{authorization}");
        }
    }
}
