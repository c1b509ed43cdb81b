//! `com.atproto.sync.listRepos`: the repos that a host says it has.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Client, HostError};
use crate::repo::DagCid;
use crate::syntax::{Did, Host, Rev, printable};

/// A cursor that is longer does not fit into a URL, nor into our patience.
const MAX_CURSOR_LENGTH: usize = 2048;

/// One page; its rows are in the host's order, perhaps with repetitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListReposPage {
    /// The rows that make sense.
    pub repos: Vec<ListedRepo>,
    /// How many rows do not.
    pub skipped: usize,
    /// Where the next page starts; none at the end.
    pub cursor: Option<String>,
}

/// One row, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRepo {
    /// The account.
    pub did: Did,
    /// The newest commit.
    pub head: Option<DagCid>,
    /// The newest commit's rev.
    pub rev: Option<Rev>,
    /// Whether the repo is to be served; true when the host does not say.
    pub active: bool,
    /// Why it is not, `deactivated` for example.
    pub status: Option<String>,
}

impl Client {
    /// Fetches one page of at most `limit` (1 to 1000) repos.
    pub async fn list_repos(&self, host: &Host, cursor: Option<&str>, limit: u16) -> Result<ListReposPage, HostError> {
        let limit = limit.to_string();
        let mut parameters = vec![("limit", limit.as_str())];
        parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
        let method = "com.atproto.sync.listRepos";
        let output: Output = self.query(host, method, &parameters, self.limits.list_repos_bytes).await?;
        output.into_page()
    }
}

#[derive(Deserialize)]
struct Output {
    repos: Vec<Row>,
    cursor: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    Repo { did: Did, head: Option<String>, rev: Option<String>, active: Option<bool>, status: Option<String> },
    Nonsense(#[allow(dead_code, reason = "read only to be skipped")] IgnoredAny),
}

impl Output {
    fn into_page(self) -> Result<ListReposPage, HostError> {
        let rows = self.repos.len();
        let repos: Vec<ListedRepo> = self.repos.into_iter().filter_map(Row::into_repo).collect();
        let cursor = match self.cursor {
            Some(Value::String(cursor)) if !cursor.is_empty() => Some(cursor),
            Some(Value::Number(cursor)) => Some(cursor.to_string()),
            None | Some(Value::Null | Value::String(_)) => None,
            Some(_) => return Err(HostError::Malformed("the cursor is not a string".into())),
        };
        if cursor.as_ref().is_some_and(|cursor| cursor.len() > MAX_CURSOR_LENGTH) {
            return Err(HostError::Malformed("the cursor is too long".into()));
        }
        Ok(ListReposPage { skipped: rows - repos.len(), repos, cursor })
    }
}

impl Row {
    fn into_repo(self) -> Option<ListedRepo> {
        let Row::Repo { did, head, rev, active, status } = self else {
            return None;
        };
        Some(ListedRepo {
            did,
            head: head.and_then(|head| DagCid::parse(&head).ok()),
            rev: rev.and_then(|rev| Rev::parse(&rev).ok()),
            active: active.unwrap_or(true),
            status: status.map(|status| printable(&status, 64)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HEAD: &str = "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq";

    fn page(value: Value) -> Result<ListReposPage, String> {
        let output: Output = serde_json::from_value(value).map_err(|error| error.to_string())?;
        output.into_page().map_err(|error| error.to_string())
    }

    #[test]
    fn rows_that_make_no_sense_are_skipped_and_counted() {
        let good = json!({"did": "did:web:a.com", "head": HEAD, "rev": "3jzfcijpj2z2a", "active": true});
        let nonsense = [
            json!(null),
            json!(7),
            json!("did:web:a.com"),
            json!([]),
            json!({}),
            json!({"did": 7}),
            json!({"did": "a.com"}),
            json!({"did": "did:web:a.com", "head": 7}),
            json!({"did": "did:web:a.com", "active": "yes"}),
            json!({"did": "did:web:a.com", "rev": {}}),
            json!({"did": "did:web:a.com", "status": 1}),
        ];
        let rows: Vec<Value> = nonsense.iter().cloned().chain([good]).collect();
        let page = page(json!({"repos": rows})).expect("a page");
        assert_eq!((page.repos.len(), page.skipped), (1, nonsense.len()));
        assert_eq!(page.repos[0].head.expect("a head").to_string(), HEAD);
        assert_eq!(page.repos[0].rev.expect("a rev").as_str(), "3jzfcijpj2z2a");
    }

    #[test]
    fn absent_fields_have_their_meaning() {
        let rows = json!([
            {"did": "did:web:a.com"},
            {"did": "did:web:a.com", "head": null, "rev": null, "active": null, "status": null},
            {"did": "did:web:a.com", "head": "bafkqaaa", "rev": "1", "new": {"a": [1]}},
            {"did": "did:web:a.com", "active": false, "status": "takendown"},
        ]);
        let page = page(json!({"repos": rows, "more": 1})).expect("a page");
        assert_eq!((page.repos.len(), page.skipped), (4, 0));
        for repo in &page.repos[..3] {
            assert_eq!((repo.head, repo.rev, repo.active, &repo.status), (None, None, true, &None));
        }
        assert_eq!((page.repos[3].active, page.repos[3].status.as_deref()), (false, Some("takendown")));
    }

    #[test]
    fn cursor_ends_the_list_when_it_is_absent_null_or_empty() {
        let cursor = |value| page(value).expect("a page").cursor;
        assert_eq!(cursor(json!({"repos": []})), None);
        assert_eq!(cursor(json!({"repos": [], "cursor": null})), None);
        assert_eq!(cursor(json!({"repos": [], "cursor": ""})), None);
        assert_eq!(cursor(json!({"repos": [], "cursor": "a::b"})).as_deref(), Some("a::b"));
        assert_eq!(cursor(json!({"repos": [], "cursor": 17})).as_deref(), Some("17"));
    }

    #[test]
    fn what_is_no_page_is_an_error() {
        for value in [json!([]), json!(null), json!("x"), json!({}), json!({"repos": {}}), json!({"repos": null})] {
            assert!(page(value.clone()).is_err(), "{value}");
        }
        assert!(page(json!({"repos": [], "cursor": {"a": 1}})).is_err());
        assert!(page(json!({"repos": [], "cursor": "x".repeat(MAX_CURSOR_LENGTH + 1)})).is_err());
    }
}
