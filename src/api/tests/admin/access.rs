//! Who may make the calls.

use std::time::Duration;

use super::*;

async fn without_token(world: &World, authorization: Option<&str>) -> Answer {
    let mut request = Request::get("/admin/pds/list");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    world.internal_send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn nothing_is_answered_without_the_token() {
    let world = World::new("io.atcr.*");
    for authorization in [None, Some("Bearer nonsense"), Some("Basic YWRtaW46eA==")] {
        let answer = without_token(&world, authorization).await;
        let message = answer.error(401, "AuthenticationRequired");
        assert!(!message.contains(ADMIN_TOKEN));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"signpost\""), "no browser asks its user");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let unknown = Request::post("/admin/nothing").body(Body::empty()).unwrap();
    world.internal_send(unknown).await.error(401, "AuthenticationRequired");
    call(&world, "GET", "/nothing", Value::Null).await.error(404, "NotFound");
    call(&world, "GET", "/pds/block", Value::Null).await.error(405, "MethodNotAllowed");
    assert_eq!(get(&world, "/pds/list").await, json!([]));
    assert_eq!(world.get("/admin/pds/list").await.status, StatusCode::NOT_FOUND, "not on the public listener");
}

#[tokio::test]
async fn without_a_token_of_ours_admin_is_off() {
    let world = World::without_admin();
    let message = without_token(&world, Some(&format!("Bearer {ADMIN_TOKEN}"))).await.error(403, "AdminDisabled");
    assert!(message.contains("--admin-token"), "{message}");
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_even_with_the_token() {
    let world = World::new("io.atcr.*");
    let request = Request::get("/admin/pds/list").header("authorization", format!("Bearer {ADMIN_TOKEN}"));
    let request = request.header("sec-fetch-site", "cross-site").body(Body::empty()).unwrap();
    world.internal_send(request).await.error(403, "CrossSite");
}

#[tokio::test(start_paused = true)]
async fn guesses_get_slower_and_the_right_token_does_not() {
    let world = World::new("io.atcr.*");
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        without_token(&world, Some("Bearer guess")).await.error(401, "AuthenticationRequired");
    }
    assert!(began.elapsed() < Duration::from_millis(900), "a typing mistake costs nothing");
    for _ in 0..5 {
        without_token(&world, Some("Bearer guess")).await.error(401, "AuthenticationRequired");
    }
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    let right = tokio::time::Instant::now();
    get(&world, "/pds/list").await;
    assert!(right.elapsed() < Duration::from_millis(900));
}

#[tokio::test]
async fn the_public_methods_are_on_the_internal_listener_too() {
    let world = World::new("io.atcr.*");
    world.repos(1, &[CAPTAIN]).await;
    let answer = world.internal("/xrpc/com.atproto.sync.listReposByCollection?collection=io.atcr.*").await;
    assert_eq!(answer.dids(), [did(1)]);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
