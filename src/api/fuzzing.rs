//! Doors to what this part reads from clients, for the fuzz targets alone.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, Uri};

use super::client_address;
use super::cursor::CursorScope;
use super::query::Query;
use crate::syntax::AddressBlock;

/// The list cursors of one list.
pub struct ListCursors(CursorScope);

impl ListCursors {
    /// As the list's method makes them.
    pub fn new(instance_id: [u8; 8], list: &[&str]) -> ListCursors {
        ListCursors(CursorScope::new(instance_id, list.iter().copied()))
    }

    /// The cursor of the page that begins after `last_id`.
    pub fn write(&self, last_id: i64) -> String {
        self.0.write(last_id)
    }

    /// The id after which the page begins; None: the cursor is refused.
    pub fn read(&self, cursor: &str) -> Option<i64> {
        self.0.read(Some(cursor)).ok()
    }
}

/// The client behind a peer that sent these lines of X-Forwarded-For; None: they cannot stand in a header.
pub fn client_address(peer: IpAddr, lines: &[&str], trusted_proxies: &[AddressBlock]) -> Option<IpAddr> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append("x-forwarded-for", HeaderValue::from_str(line).ok()?);
    }
    Some(client_address::client_address(peer, &headers, trusted_proxies))
}

/// Every value of a query's parameter; None: the request is refused.
pub fn query_values(query: &str, name: &str) -> Option<Vec<String>> {
    let uri = uri(query)?;
    let values = Query::of(&uri).all(name).ok()?;
    Some(values.into_iter().map(|value| value.into_owned()).collect())
}

/// The `limit` of a query, from 1 to 1000; None: the request is refused.
pub fn query_limit(query: &str) -> Option<usize> {
    Query::of(&uri(query)?).limit(1..=1000, 500).ok()
}

fn uri(query: &str) -> Option<Uri> {
    format!("/?{query}").parse().ok()
}
