//! What lies before every handler: the count of requests, and the faults that any method can have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;

use crate::fault::{Fault, Faults, UNPOISONED};

/// The request counts and faults of one server.
pub(crate) struct Wire {
    pub(crate) faults: Faults,
    requests: watch::Sender<HashMap<String, usize>>,
    answered_bytes: Mutex<HashMap<&'static str, usize>>,
}

impl Wire {
    pub(crate) fn new() -> Wire {
        Wire { faults: Faults::new(), requests: watch::Sender::default(), answered_bytes: Mutex::default() }
    }

    pub(crate) fn requests(&self, method: &str) -> usize {
        self.requests.borrow().get(method).copied().unwrap_or(0)
    }

    pub(crate) fn note_answer(&self, method: &'static str, bytes: usize) {
        *self.answered_bytes.lock().expect(UNPOISONED).entry(method).or_default() += bytes;
    }

    pub(crate) fn answered_bytes(&self, method: &str) -> usize {
        self.answered_bytes.lock().expect(UNPOISONED).get(method).copied().unwrap_or(0)
    }

    pub(crate) async fn wait_requests(&self, method: &str, times: usize) {
        let count = |all: &HashMap<String, usize>| all.get(method).copied().unwrap_or(0);
        let what = || format!("{method} is asked {times} times");
        crate::wait::until(&self.requests, |all| count(all) >= times, what).await;
    }
}

/// Counts the request, and answers it with the fault that is on for its method, if one is.
pub(crate) async fn intercept(
    State(wire): State<Arc<Wire>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
    next: Next,
) -> Response {
    let (asked, did) = method_and_did(request.uri().path(), query);
    wire.requests.send_modify(|all| *all.entry(asked.clone()).or_default() += 1);
    let fault = wire.faults.first(did.as_deref(), |fault| match fault {
        Fault::Status { method, .. }
        | Fault::Refusal { method, .. }
        | Fault::RateLimited { method, .. }
        | Fault::Hang { method }
        | Fault::Redirect { method }
        | Fault::Drip { method }
        | Fault::CutOff { method }
        | Fault::Endless { method }
        | Fault::Html { method }
        | Fault::Body { method, .. }
        | Fault::Tail { method, .. }
            if asked == *method =>
        {
            Some(fault.clone())
        }
        _ => None,
    });
    match fault {
        None => {
            let answer = next.run(request).await;
            stall(&wire, &asked, did.as_deref(), answer).await
        }
        Some(Fault::Status { code, .. }) => {
            StatusCode::from_u16(code).expect("the test names an HTTP status").into_response()
        }
        Some(Fault::Refusal { status, error, .. }) => {
            let status = StatusCode::from_u16(status).expect("the test names an HTTP status");
            (status, axum::Json(serde_json::json!({ "error": error, "message": "not here" }))).into_response()
        }
        Some(Fault::RateLimited { retry_after, .. }) => {
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, retry_after.to_string())]).into_response()
        }
        Some(Fault::Redirect { .. }) => (StatusCode::FOUND, [(header::LOCATION, "/redirected")]).into_response(),
        Some(Fault::Html { .. }) => axum::response::Html("<p>Welcome to nginx!</p>").into_response(),
        Some(Fault::Body { body, encoding: None, .. }) => body.into_response(),
        Some(Fault::Body { body, encoding: Some(encoding), .. }) => {
            ([(header::CONTENT_ENCODING, encoding)], body).into_response()
        }
        Some(Fault::Tail { tail, .. }) => {
            let parts = [whole(next.run(request).await).await, tail].map(Chunk::Ok);
            Body::from_stream(stream::iter(parts)).into_response()
        }
        Some(Fault::Endless { .. }) => Body::from_stream(endless()).into_response(),
        Some(Fault::Drip { .. }) => Body::from_stream(drip(whole(next.run(request).await).await)).into_response(),
        Some(Fault::CutOff { .. }) => Body::from_stream(cut_off(whole(next.run(request).await).await)).into_response(),
        Some(_) => std::future::pending().await,
    }
}

/// Holds a ready answer back until the fault is cleared; it counts as fired once the answer is made.
async fn stall(wire: &Wire, asked: &str, did: Option<&str>, answer: Response) -> Response {
    let fault = wire.faults.first(did, |fault| match fault {
        Fault::Stall { method } if asked == *method => Some(fault.clone()),
        _ => None,
    });
    if let Some(fault) = fault {
        wire.faults.cleared(&fault).await;
    }
    answer
}

fn method_and_did(path: &str, mut query: HashMap<String, String>) -> (String, Option<String>) {
    let path = path.trim_start_matches('/');
    if path.starts_with("did:") {
        return match path.split_once('/') {
            None => ("plc".to_owned(), Some(path.to_owned())),
            Some((did, rest)) => (format!("plc/{rest}"), Some(did.to_owned())),
        };
    }
    let method = path.strip_prefix("xrpc/").or(path.strip_prefix(".well-known/")).unwrap_or(path);
    (method.to_owned(), query.remove("did"))
}

async fn whole(response: Response) -> Bytes {
    axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("our own bodies are in memory")
}

type Chunk = Result<Bytes, std::io::Error>;

fn endless() -> impl futures_util::Stream<Item = Chunk> + Send {
    stream::repeat_with(|| Ok(Bytes::from_static(&[0; 65_536])))
}

fn drip(body: Bytes) -> impl futures_util::Stream<Item = Chunk> + Send {
    stream::unfold(body, async |mut left| {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        Some((Ok(left.split_to(1)), left))
    })
}

fn cut_off(mut body: Bytes) -> impl futures_util::Stream<Item = Chunk> + Send {
    body.truncate(body.len() / 2);
    stream::iter([Ok(body), Err(std::io::Error::other("the connection broke"))])
}
