//! requestCrawl: what is accepted, what is refused, and that acceptance means a row.

use super::*;
use crate::store::CrawlRequest;

pub(super) const PATH: &str = "/xrpc/com.atproto.sync.requestCrawl";

fn post(content_type: Option<&str>, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(PATH);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    request.body(body.into()).unwrap()
}

pub(super) async fn announce(world: &World, hostname: &str) -> Answer {
    world.send(post(Some("application/json"), json!({"hostname": hostname}).to_string())).await
}

async fn is_known(world: &World, name: &str) -> bool {
    let report = world.internal("/hosts").await.ok();
    report["hosts"].as_array().unwrap().iter().any(|host| host["hostname"] == name)
}

#[tokio::test]
async fn a_host_is_accepted_with_an_empty_object_and_has_a_row_then() {
    let world = World::new("io.atcr.*");
    for (hostname, name) in [
        ("hold01.example.com", "hold01.example.com"),
        ("https://hold02.example.com", "hold02.example.com"),
        ("Hold03.Example.Com./", "hold03.example.com"),
    ] {
        assert_eq!(announce(&world, hostname).await.ok(), json!({}));
        assert!(is_known(&world, name).await, "{name}");
    }
}

#[tokio::test]
async fn asking_again_is_accepted_again() {
    let world = World::new("io.atcr.*");
    announce(&world, "hold01.example.com").await.ok();
    announce(&world, "https://HOLD01.example.com/").await.ok();
    let host = Host::parse("hold01.example.com", HostPolicy::PublicOnly).unwrap();
    assert_eq!(world.store.request_crawl(&host, Admission::Free).await.unwrap(), CrawlRequest::Known);
}

#[tokio::test]
async fn a_refused_hostname_says_why_and_leaves_no_row() {
    let world = World::new("io.atcr.*");
    for hostname in [
        "",
        "localhost",
        "localhost:2583",
        "hold01.example.com:2583",
        "http://hold01.example.com",
        "127.0.0.1",
        "0x7f000001",
        "[::1]",
        "hold01.internal",
        "user@hold01.example.com",
        "https://hold01.example.com/path",
        "https://hold01.example.com?query",
        " hold01.example.com",
        "relay.example.com",
        "RELAY.example.com.",
    ] {
        let message = announce(&world, hostname).await.error(400, "InvalidRequest");
        assert!(message.starts_with("hostname: "), "{hostname}: {message}");
    }
    assert_eq!(world.internal("/hosts").await.ok(), json!({"hosts": []}));
}

#[tokio::test]
async fn in_development_a_host_may_be_on_loopback() {
    let world = World::with("io.atcr.*", HostPolicy::AllowPrivate);
    announce(&world, "localhost:2583").await.ok();
    assert!(is_known(&world, "localhost:2583").await);
}

#[tokio::test]
async fn the_body_must_be_declared_as_json() {
    let world = World::new("io.atcr.*");
    let body = json!({"hostname": "hold01.example.com"}).to_string();
    for content_type in
        [None, Some(""), Some("text/plain"), Some("application/jsonp"), Some("application/x-www-form-urlencoded")]
    {
        world.send(post(content_type, body.clone())).await.error(415, "UnsupportedMediaType");
    }
    for content_type in
        ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x=y"]
    {
        world.send(post(Some(content_type), body.clone())).await.ok();
    }
}

#[tokio::test]
async fn a_body_that_is_not_an_object_with_a_hostname_is_refused() {
    let world = World::new("io.atcr.*");
    for body in [
        "",
        "{",
        "hold01.example.com",
        "\"hold01.example.com\"",
        "[\"hold01.example.com\"]",
        "{}",
        "null",
        "{\"hostname\":null}",
        "{\"hostname\":7}",
        "{\"hostname\":[\"hold01.example.com\"]}",
        "{\"hostname\":\"hold01.example.com\"} x",
        "{\"host\":\"hold01.example.com\"}",
    ] {
        world.send(post(Some("application/json"), body)).await.error(400, "InvalidRequest");
    }
    let not_utf_8 = b"{\"hostname\":\"\xff\"}".to_vec();
    world.send(post(Some("application/json"), not_utf_8)).await.error(400, "InvalidRequest");
}

#[tokio::test]
async fn a_body_above_4_kib_is_refused_whether_or_not_its_length_is_declared() {
    let world = World::new("io.atcr.*");
    let padded = |length: usize| {
        let mut body = json!({"hostname": "hold01.example.com", "pad": ""}).to_string();
        let pad = " ".repeat(length - body.len());
        body.push_str(&pad);
        body
    };
    world.send(post(Some("application/json"), padded(4096))).await.ok();
    world.send(post(Some("application/json"), padded(4097))).await.error(413, "PayloadTooLarge");
    let chunks =
        padded(5000).into_bytes().chunks(100).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
    let chunked = Body::from_stream(futures_util::stream::iter(chunks));
    world.send(post(Some("application/json"), chunked)).await.error(413, "PayloadTooLarge");
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1000]));
    world.send(post(Some("application/json"), Body::from_stream(endless))).await.error(413, "PayloadTooLarge");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up_after_10_s() {
    let world = World::new("io.atcr.*");
    let stalled = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    world.send(post(Some("application/json"), stalled)).await.error(408, "RequestTimeout");
}
