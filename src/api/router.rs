//! The public listener's routes, and what every answer has in common: CORS, compression, a time limit, a count.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tower_service::Service;

use super::error::ApiError;
use super::{
    Api, get_host_status, get_latest_commit, get_repo_status, home, list_hosts, list_repos, list_repos_by_collection,
    request_crawl, slow, surface,
};
use crate::store;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const HEALTH: &str = "_health";
const METHODS: [&str; 8] = [
    list_repos_by_collection::NSID,
    list_repos::NSID,
    get_repo_status::NSID,
    get_latest_commit::NSID,
    list_hosts::NSID,
    get_host_status::NSID,
    request_crawl::NSID,
    HEALTH,
];

/// Everything that the public listener answers; a clone is the same.
#[derive(Clone)]
pub struct PublicService {
    api: Arc<Api>,
    routes: Router,
}

impl PublicService {
    /// With what a store holds.
    pub fn new(api: Api) -> PublicService {
        let api = Arc::new(api);
        let routes = other_routes()
            .route("/", get(home::show))
            .layer(surface::compression())
            // Its answers are compressed once for all who ask.
            .merge(list_route())
            .method_not_allowed_fallback(wrong_verb)
            .fallback(unknown_path)
            .with_state(api.clone());
        PublicService { api, routes }
    }

    /// Surrounds every request, also those that no route takes.
    async fn answer(mut self, request: Request) -> Response {
        let started = Instant::now();
        let method = label(request.uri().path());
        let (verb, asked) = (request.method().clone(), request.uri().path_and_query().cloned());
        let mut response = if request.method() == Method::OPTIONS {
            preflight()
        } else {
            let metrics = self.api.metrics.clone();
            let answer = surface::without_panic(&metrics, self.route(method, request));
            let (answer, spent) = store::measured(tokio::time::timeout(REQUEST_TIMEOUT, answer)).await;
            let response = answer.unwrap_or_else(|_| {
                ApiError::unavailable("RequestTimeout", "the answer took too long", 10).into_response()
            });
            slow::note(&verb, asked.as_ref(), &response, started.elapsed(), spent);
            response
        };
        surface::secure(&mut response);
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        self.api.metrics.request(method, response.status().as_u16(), started.elapsed());
        response
    }

    /// What signpost is asked all the time goes past the router: a page that is kept costs less than its layers do.
    async fn route(&mut self, method: &'static str, request: Request) -> Response {
        if method == list_repos_by_collection::NSID && request.method() == Method::GET {
            return list_repos_by_collection::handle(State(self.api.clone()), request).await.into_response();
        }
        let Ok(response) = self.routes.call(request).await;
        response
    }
}

impl Service<Request> for PublicService {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.clone().answer(request).map(Ok))
    }
}

/// The XRPC methods, which are on both listeners.
pub(super) fn xrpc_routes() -> Router<Arc<Api>> {
    other_routes().merge(list_route())
}

fn list_route() -> Router<Arc<Api>> {
    Router::new().route(&path(list_repos_by_collection::NSID), get(list_repos_by_collection::handle))
}

fn other_routes() -> Router<Arc<Api>> {
    Router::new()
        .route(&path(list_repos::NSID), get(list_repos::handle))
        .route(&path(get_repo_status::NSID), get(get_repo_status::handle))
        .route(&path(get_latest_commit::NSID), get(get_latest_commit::handle))
        .route(&path(list_hosts::NSID), get(list_hosts::handle))
        .route(&path(get_host_status::NSID), get(get_host_status::handle))
        .route(&path(request_crawl::NSID), post(request_crawl::handle))
        .route(&path(HEALTH), get(home::health))
}

fn path(method: &str) -> String {
    format!("/xrpc/{method}")
}

/// Axum adds the `Allow` header.
pub(super) async fn wrong_verb(method: Method) -> ApiError {
    let message = format!("this method is not called by {method}");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}

async fn unknown_path(uri: Uri) -> ApiError {
    if uri.path().starts_with("/xrpc/") {
        let message = "this service does not have that method";
        return ApiError::new(StatusCode::NOT_IMPLEMENTED, "MethodNotImplemented", message);
    }
    ApiError::new(StatusCode::NOT_FOUND, "NotFound", "nothing is here: GET / says what this service answers")
}

/// What a browser asks before it lets a page call us: everything is public, so everybody may.
fn preflight() -> Response {
    let allow = [
        (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, OPTIONS")),
        // The wildcard does not include Authorization, which some clients always send.
        (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, Authorization")),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
    ];
    (StatusCode::NO_CONTENT, allow).into_response()
}

/// A bounded label, whatever the path.
fn label(path: &str) -> &'static str {
    let Some(name) = path.strip_prefix("/xrpc/") else {
        return if path == "/" { "home" } else { "other" };
    };
    METHODS.into_iter().find(|method| *method == name).unwrap_or("other")
}
