//! What belongs to no method: paths, verbs, CORS, the home page, and the internal listener.

use super::*;

async fn call(world: &World, verb: &str, path: &str) -> Answer {
    world.send(Request::builder().method(verb).uri(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn an_unknown_method_is_501() {
    let world = World::new("io.atcr.*");
    for path in [
        "/xrpc/com.atproto.sync.getRepo",
        "/xrpc/com.atproto.sync.listRepos/",
        "/xrpc/nonsense",
        "/xrpc/",
        "/xrpc/com.atproto.sync.getRepo/with/more?and=query",
    ] {
        for verb in ["GET", "POST", "DELETE"] {
            call(&world, verb, path).await.error(501, "MethodNotImplemented");
        }
    }
}

#[tokio::test]
async fn a_wrong_verb_is_405_and_names_the_right_one() {
    let world = World::new("io.atcr.*");
    for (verb, method, allow) in [
        ("POST", "com.atproto.sync.listRepos", "GET,HEAD"),
        ("PUT", "com.atproto.sync.listReposByCollection", "GET,HEAD"),
        ("DELETE", "_health", "GET,HEAD"),
        ("GET", "com.atproto.sync.requestCrawl", "POST"),
        ("HEAD", "com.atproto.sync.requestCrawl", "POST"),
    ] {
        let answer = call(&world, verb, &format!("/xrpc/{method}")).await;
        assert_eq!(answer.header("allow"), Some(allow), "{verb} {method}");
        if verb == "HEAD" {
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        } else {
            answer.error(405, "MethodNotAllowed");
        }
    }
}

#[tokio::test]
async fn the_operators_pages_are_not_public() {
    let world = World::new("io.atcr.*");
    for path in ["/metrics", "/ready", "/hosts", "/xrpc", "/favicon.ico", "//", "/admin"] {
        call(&world, "GET", path).await.error(404, "NotFound");
    }
}

#[tokio::test]
async fn a_preflight_is_answered_on_every_path() {
    let world = World::new("io.atcr.*");
    for path in ["/xrpc/com.atproto.sync.requestCrawl", "/xrpc/com.atproto.sync.listRepos", "/xrpc/unknown"] {
        let answer = call(&world, "OPTIONS", path).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
        assert!(answer.header("access-control-allow-headers").unwrap().contains('*'));
    }
}

#[tokio::test]
async fn health_gives_the_version() {
    let world = World::new("io.atcr.*");
    assert_eq!(world.get("/xrpc/_health").await.ok(), json!({"version": env!("CARGO_PKG_VERSION")}));
}

#[tokio::test]
async fn the_home_page_is_one_screen_that_names_the_filter_and_the_methods() {
    let many: Vec<String> = (0..30).map(|number| format!("com.example.n{number:02}.*")).collect();
    for (filter, shown) in [("io.atcr.*", "io.atcr.*"), ("*", "*"), (many.join(",").as_str(), "and 22 more")] {
        let answer = World::new(filter).get("/").await;
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        let text = answer.text();
        assert!(text.contains(&format!("    {shown}\n")), "{text}");
        assert!(text.contains("https://relay.example.com/xrpc/com.atproto.sync.listReposByCollection?"), "{text}");
        assert!(text.lines().count() <= 45 && text.lines().all(|line| line.len() <= 120), "{text}");
    }
}

#[tokio::test]
async fn the_home_page_tells_how_much_there_is_and_counts_it_seldom() {
    let world = World::new("io.atcr.*");
    world.repos(1, &[CAPTAIN, CREW]).await;
    let line = "It follows 1 host with 1 repo, and knows 2 records of these collections.\n";
    let text = world.get("/").await.text().to_owned();
    assert!(text.contains(line), "{text}");
    world.fill(|tx| add_repo(tx, &did(2), true, None, &[CREW])).await;
    assert!(world.get("/").await.text().contains(line), "ten seconds have not passed");
}

#[tokio::test]
async fn the_home_page_has_lines_to_copy_for_who_calls_it_by_another_name() {
    let world = World::without_admin();
    let copied = async |host: &str| {
        let text = world.send(Request::get("/").header("host", host).body(Body::empty()).unwrap()).await;
        let line = text.text().lines().find(|line| line.contains("listReposByCollection?")).unwrap().to_owned();
        line.split("/xrpc/").next().unwrap().trim().to_owned()
    };
    assert_eq!(copied("localhost:8080").await, "curl 'http://localhost:8080");
    assert_eq!(copied("hold-relay.example.com").await, "curl 'https://hold-relay.example.com");
    assert_eq!(copied("'; rm -rf /").await, "curl 'https://THIS-HOST");
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let world = World::new("io.atcr.*");
    let answer = call(&world, "HEAD", "/xrpc/_health").await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn ready_follows_the_phases() {
    let world = World::new("io.atcr.*");
    let phase = async |phase: Phase| {
        world.readiness.set(phase);
        let answer = world.internal("/ready").await;
        (answer.status.as_u16(), answer.json())
    };
    let body = |ready: bool, reasons: &[&str]| json!({"ready": ready, "reasons": reasons, "index_complete": true, "clock_is_behind": false, "repos_to_reindex": 0});
    assert_eq!(phase(Phase::Starting).await, (503, body(false, &["starting"])));
    assert_eq!(phase(Phase::Running).await, (200, body(true, &[])));
    assert_eq!(phase(Phase::Stopping).await, (503, body(false, &["stopping"])));
}

#[tokio::test]
async fn metrics_show_sizes_and_requests() {
    let world = World::new("io.atcr.*");
    world.repos(2, &[CAPTAIN]).await;
    world.query("listRepos").await.ok();
    world.get("/xrpc/some.random.method").await;
    let answer = world.internal("/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "signpost_records 2",
        "signpost_repos{status=\"active\"} 2",
        "signpost_queue_jobs{status=\"pending\"} 1",
        "signpost_http_requests_total{method=\"com.atproto.sync.listRepos\",status=\"200\"} 1",
        "signpost_http_requests_total{method=\"other\",status=\"501\"} 1",
    ] {
        assert!(answer.text().lines().any(|found| found == line), "{line} is not in\n{}", answer.text());
    }
}

#[tokio::test]
async fn the_internal_listener_names_hosts_with_their_state_and_has_no_cors() {
    let world = World::new("io.atcr.*");
    world.reached_hosts(&["hold01.example.com"]).await;
    let answer = world.internal("/hosts").await;
    let host = answer.ok()["hosts"][0].clone();
    assert_eq!(host["hostname"], "hold01.example.com");
    for key in ["state", "cursor", "queue", "last_error"] {
        assert!(host.get(key).is_some(), "{key} is not in {host}");
    }
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let public = world.internal("/xrpc/_health").await;
    assert_eq!((public.status, public.header("access-control-allow-origin")), (StatusCode::OK, None));
}
