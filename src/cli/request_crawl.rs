//! `signpost request-crawl HOST --relay URL...`: announces a host to relays, and tells what each of them said.
// Some of its comments are clap's help texts, not rustdoc.
#![allow(rustdoc::bare_urls)]

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::json;
use url::Url;

use super::Failure;
use super::columns::table;
use crate::host::{Announcer, HostError};

/// What is announced, and to whom.
#[derive(Debug, Args)]
pub struct RequestCrawlFlags {
    /// The host's public name, such as hold01.example.com
    #[arg(value_name = "HOST")]
    pub host: String,

    /// A relay, such as https://relay.example.com; give it once for each
    #[arg(long = "relay", value_name = "URL", required = true, num_args = 1.., value_parser = relay)]
    pub relays: Vec<Url>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A relay's origin; a bare name means https.
fn relay(text: &str) -> Result<Url, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&with_scheme).map_err(|error| format!("{error}: give https://NAME"))?;
    let is_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !is_origin {
        return Err("give https://NAME, without a path".to_owned());
    }
    Ok(url)
}

/// Asks every relay, whatever the others said; fails when one of them did not accept.
pub fn run(flags: RequestCrawlFlags) -> Result<(), Failure> {
    let RequestCrawlFlags { host, relays, json } = flags;
    let announcer = Announcer::new(concat!("signpost/", env!("CARGO_PKG_VERSION"))).context("no HTTP client")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
    let outcomes = runtime.block_on(async {
        let asked = relays.iter().map(|relay| announcer.request_crawl(relay, &host));
        futures_util::future::join_all(asked).await
    });
    print!("{}", if json { as_json(&relays, &outcomes) } else { as_text(&relays, &outcomes) });
    let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    match refused {
        0 => Ok(()),
        _ => Err(anyhow!("{refused} of {} relays did not accept {host}", relays.len()).into()),
    }
}

fn as_text(relays: &[Url], outcomes: &[Result<(), HostError>]) -> String {
    let row = |(relay, outcome): (&Url, &Result<(), HostError>)| {
        let said = outcome.as_ref().map_or_else(HostError::to_string, |()| "accepted".to_owned());
        vec![origin(relay), said]
    };
    table(&["RELAY", "OUTCOME"], relays.iter().zip(outcomes).map(row))
}

fn as_json(relays: &[Url], outcomes: &[Result<(), HostError>]) -> String {
    let row = |(relay, outcome): (&Url, &Result<(), HostError>)| {
        json!({
            "relay": origin(relay),
            "accepted": outcome.is_ok(),
            "error": outcome.as_ref().err().map(HostError::to_string),
        })
    };
    let rows: serde_json::Value = relays.iter().zip(outcomes).map(row).collect();
    format!("{rows}\n")
}

fn origin(relay: &Url) -> String {
    relay.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_an_origin() {
        for (text, url) in [
            ("https://relay.example.com", "https://relay.example.com"),
            ("relay.example.com", "https://relay.example.com"),
            ("http://127.0.0.1:2470/", "http://127.0.0.1:2470"),
        ] {
            assert_eq!(origin(&relay(text).expect(text)), url);
        }
        for text in ["", "ftp://a.com", "https://a.com/xrpc", "https://a.com?x", "https://me@a.com", "https://"] {
            assert!(relay(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_relay_has_a_line() {
        let relays = [relay("a.com").expect("a name"), relay("b.com").expect("a name")];
        let outcomes = [Ok(()), Err(HostError::Status(502))];
        let lines: Vec<String> = as_text(&relays, &outcomes).lines().map(str::to_owned).collect();
        assert_eq!(lines, ["RELAY          OUTCOME", "https://a.com  accepted", "https://b.com  answered HTTP 502"]);
        let json: serde_json::Value = serde_json::from_str(&as_json(&relays, &outcomes)).expect("JSON");
        assert_eq!(json[1], json!({ "relay": "https://b.com", "accepted": false, "error": "answered HTTP 502" }));
    }
}
