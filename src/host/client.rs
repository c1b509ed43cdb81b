//! The HTTP side: one guarded request at a time, its limits, and what its failure means.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::body::{self, Deadline};
use super::budget::{Budget, Budgets};
use super::error::cause_in_words;
use super::guard::Guard;
use super::repo_memory::RepoMemory;
use super::spool::Spools;
use super::{HostError, Limits, Outbound, tls};
use crate::syntax::{Host, HostPolicy, printable};

/// How long a connection without a request is kept.
const POOL_IDLE: Duration = Duration::from_secs(1);
/// As many as its repos are fetched at once: each keeps its connection from one to the next.
const IDLE_OF_HOST: usize = 4;

/// Speaks to hosts; shared by all who do.
pub struct Client {
    pub(super) policy: HostPolicy,
    pub(super) user_agent: String,
    pub(super) limits: Limits,
    pub(super) guard: Guard,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) repo_memory: RepoMemory,
    pub(super) spools: Spools,
    budgets: Budgets,
    guarded: reqwest::Client,
    unguarded: reqwest::Client,
}

/// Who is asked.
enum Asked<'a> {
    /// A host that a stranger named: the peer is judged.
    Host(&'a Host),
    /// A server that the operator chose, wherever it is.
    Chosen,
}

/// An answer with status 200, and what must be held while it is read.
pub(super) struct Answer {
    pub response: Response,
    pub deadline: Deadline,
    pub _slot: OwnedSemaphorePermit,
}

impl Client {
    /// A client; fails when the User-Agent cannot stand in a header.
    pub fn new(outbound: Outbound) -> Result<Client, reqwest::Error> {
        Client::with_roots(outbound, tls::roots())
    }

    pub(super) fn with_roots(outbound: Outbound, roots: RootCertStore) -> Result<Client, reqwest::Error> {
        let guard = Guard::new(outbound.policy, outbound.limits.resolve_timeout);
        Client::with_guard(outbound, roots, guard)
    }

    pub(super) fn with_guard(outbound: Outbound, roots: RootCertStore, guard: Guard) -> Result<Client, reqwest::Error> {
        let Outbound { policy, user_agent, limits, spool_directory } = outbound;
        let tls = tls::client_config(roots);
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.as_ref().clone())
                .user_agent(&user_agent)
                .redirect(Policy::none())
                .referer(false)
                // A proxy would resolve names for us, beyond the guard's sight.
                .no_proxy()
                .http1_only()
                .connect_timeout(limits.connect_timeout)
                .pool_idle_timeout(POOL_IDLE)
        };
        Ok(Client {
            guarded: builder().pool_max_idle_per_host(IDLE_OF_HOST).dns_resolver(guard.clone()).build()?,
            unguarded: builder().pool_max_idle_per_host(limits.directory_in_flight).build()?,
            policy,
            budgets: Budgets::new(limits.longest_wait),
            repo_memory: RepoMemory::new(limits.repo_memory_bytes),
            spools: Spools::new(spool_directory, limits.spool_bytes),
            user_agent,
            limits,
            guard,
            tls,
        })
    }

    /// Which hosts the client speaks to.
    pub fn policy(&self) -> HostPolicy {
        self.policy
    }

    /// Gets a DID document from a host by its path, under the guard.
    pub async fn get_json<T: DeserializeOwned>(&self, host: &Host, path: &str) -> Result<T, HostError> {
        let url = self.url(host, path)?;
        let answer = self.get(host, url, Some(self.limits.did_document_timeout)).await?;
        self.json(answer, self.limits.did_document_bytes).await
    }

    /// Gets a DID document from a server that the operator chose, wherever it is: the guard is not asked.
    pub async fn get_json_unguarded<T: DeserializeOwned>(&self, url: Url) -> Result<T, HostError> {
        let answer = self.get_chosen(url, self.limits.did_document_timeout).await?;
        self.json(answer, self.limits.did_document_bytes).await
    }

    /// The same for the log of a DID, which may be longer than any document.
    pub async fn get_log_unguarded<T: DeserializeOwned>(&self, url: Url) -> Result<T, HostError> {
        let answer = self.get_chosen(url, self.limits.json_timeout).await?;
        self.json(answer, self.limits.json_bytes).await
    }

    /// Calls an XRPC query for its JSON.
    pub(super) async fn query<T: DeserializeOwned>(
        &self,
        host: &Host,
        method: &str,
        parameters: &[(&str, &str)],
        limit_bytes: usize,
    ) -> Result<T, HostError> {
        let answer = self.get(host, self.xrpc(host, method, parameters)?, Some(self.limits.json_timeout)).await?;
        self.json(answer, limit_bytes).await
    }

    /// The URL of an XRPC query.
    pub(super) fn xrpc(&self, host: &Host, method: &str, parameters: &[(&str, &str)]) -> Result<Url, HostError> {
        let mut url = self.url(host, &format!("/xrpc/{method}"))?;
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        Ok(url)
    }

    /// Sends a guarded GET, and reads everything but a 200 as the error that it is. Without a timeout the answer may take as long
    /// as it moves.
    pub(super) async fn get(&self, host: &Host, url: Url, timeout: Option<Duration>) -> Result<Answer, HostError> {
        self.permit(host)?;
        self.send(Asked::Host(host), &self.budget(host), url, timeout).await
    }

    async fn get_chosen(&self, url: Url, timeout: Duration) -> Result<Answer, HostError> {
        let budget = self.budgets.of(&url.origin().ascii_serialization(), self.limits.directory_in_flight);
        self.send(Asked::Chosen, &budget, url, Some(timeout)).await
    }

    /// Whether the host may be spoken to under our policy, whatever policy it was first read under.
    pub(super) fn permit(&self, host: &Host) -> Result<(), HostError> {
        host.check(self.policy)?;
        // An HTTP client resolves nothing then, so that the guard in it is not asked.
        host.ip().map_or(Ok(()), |ip| self.guard.check(host.name(), ip))
    }

    /// The host's budget.
    pub(super) fn budget(&self, host: &Host) -> Arc<Budget> {
        self.budgets.of(host.as_str(), self.limits.requests_in_flight)
    }

    fn url(&self, host: &Host, path: &str) -> Result<Url, HostError> {
        let url = Url::parse(&format!("{}{path}", host.origin()));
        url.map_err(|error| HostError::Forbidden(format!("{host} cannot stand in a URL: {error}")))
    }

    async fn send(
        &self,
        asked: Asked<'_>,
        budget: &Budget,
        url: Url,
        timeout: Option<Duration>,
    ) -> Result<Answer, HostError> {
        let slot = budget.slot().await?;
        let deadline = Deadline::new(self.limits.idle_timeout, timeout);
        let client = match asked {
            Asked::Host(_) => &self.guarded,
            Asked::Chosen => &self.unguarded,
        };
        let sent = deadline.step(client.get(url).send()).await?;
        let response = sent.map_err(|error| self.unsent(&error))?;
        if let Asked::Host(host) = asked {
            let peer = response.remote_addr().ok_or_else(|| HostError::Broken("its address is not known".into()))?;
            self.guard.check(host.name(), peer.ip())?;
        }
        let pause = budget.note(response.status().as_u16(), response.headers());
        match response.status() {
            StatusCode::OK => Ok(Answer { response, deadline, _slot: slot }),
            status if status.is_redirection() => Err(HostError::Redirect(status.as_u16())),
            StatusCode::TOO_MANY_REQUESTS => Err(HostError::RateLimited { retry_after: pause }),
            StatusCode::SERVICE_UNAVAILABLE if pause.is_some() => Err(HostError::RateLimited { retry_after: pause }),
            status => {
                let body = body::read(response, self.limits.error_bytes, &deadline).await;
                Err(error_answer(status.as_u16(), &body.unwrap_or_default()))
            }
        }
    }

    async fn json<T: DeserializeOwned>(&self, answer: Answer, limit_bytes: usize) -> Result<T, HostError> {
        let body = body::read(answer.response, limit_bytes, &answer.deadline).await?;
        serde_json::from_slice(&body).map_err(|error| HostError::Malformed(printable(&error.to_string(), 200)))
    }

    /// What kept a request from being answered at all.
    pub(super) fn unsent(&self, error: &reqwest::Error) -> HostError {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(ours) = cause.downcast_ref::<HostError>() {
                return ours.clone();
            }
            source = cause.source();
        }
        match error {
            _ if error.is_timeout() => {
                HostError::Timeout { missed: "no connection", after: self.limits.connect_timeout }
            }
            _ if error.is_connect() => HostError::Connect(root_cause(error)),
            _ => broken(error),
        }
    }
}

/// Reads `{error, message}` of an XRPC error; anything else is told by its status alone.
pub(super) fn error_answer(status: u16, body: &[u8]) -> HostError {
    #[derive(Deserialize)]
    struct XrpcError {
        error: String,
        message: Option<String>,
    }
    match serde_json::from_slice::<XrpcError>(body) {
        Ok(XrpcError { error, message }) if !error.is_empty() => HostError::Xrpc {
            status,
            error: printable(&error, 64),
            message: printable(&message.unwrap_or_default(), 200),
        },
        _ => HostError::Status(status),
    }
}

/// An answer that did not come to its end.
pub(super) fn broken(error: &reqwest::Error) -> HostError {
    HostError::Broken(root_cause(error))
}

/// The innermost cause: the outer ones repeat the URL and say "error sending request".
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause_in_words(cause)
}
