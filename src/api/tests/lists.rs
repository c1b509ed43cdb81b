//! listReposByCollection, and the cursors of all lists.

use super::*;
use crate::store::RepoId;

const LIST: &str = "listReposByCollection";

/// Every DID of a walk over the pages, in order.
async fn walk(world: &World, query: &str) -> Vec<String> {
    let mut dids = Vec::new();
    let mut cursor = None;
    loop {
        let page = match &cursor {
            None => world.query(&format!("{LIST}?{query}")).await,
            Some(cursor) => world.query(&format!("{LIST}?{query}&cursor={cursor}")).await,
        };
        dids.extend(page.dids());
        cursor = page.cursor();
        if cursor.is_none() {
            return dids;
        }
    }
}

#[tokio::test]
async fn a_collection_a_pattern_and_a_union_list_each_did_once() {
    let world = World::new("io.atcr.*");
    world.repos(3, &[CAPTAIN, CREW]).await;
    world.fill(|tx| add_repo(tx, &did(4), true, None, &[CREW])).await;
    for (query, expected) in [
        (format!("collection={CAPTAIN}"), 3),
        (format!("collection={CREW}"), 4),
        ("collection=io.atcr.*".to_owned(), 4),
        ("collection=io.atcr.hold.*&collection=io.atcr.hold.crew".to_owned(), 4),
        (format!("collection={CAPTAIN}&collection={CAPTAIN}"), 3),
        (format!("collection={CAPTAIN}&collection=io.atcr.manifest"), 3),
    ] {
        let answer = world.query(&format!("{LIST}?{query}")).await;
        assert_eq!(answer.dids(), (1..=expected).map(did).collect::<Vec<_>>(), "{query}");
        assert_eq!(answer.cursor(), None, "{query}");
    }
}

#[tokio::test]
async fn an_unknown_collection_is_an_empty_list() {
    let world = World::new("io.atcr.*");
    let answer = world.query(&format!("{LIST}?collection=io.atcr.manifest")).await;
    assert_eq!(answer.ok(), json!({"repos": []}));
}

#[tokio::test]
async fn only_active_repos_are_listed() {
    let world = World::new("io.atcr.*");
    world.repos(1, &[CAPTAIN]).await;
    world.fill(|tx| add_repo(tx, &did(2), false, Some(Status::Takendown), &[CAPTAIN])).await;
    assert_eq!(world.query(&format!("{LIST}?collection={CAPTAIN}")).await.dids(), [did(1)]);
}

#[tokio::test]
async fn what_the_filter_does_not_cover_is_an_error_that_names_the_filter() {
    let world = World::new("io.atcr.*,app.bsky.feed.post");
    for collection in ["io.*", "*", "app.bsky.feed.like", "io.atcrx.hold", "app.bsky.feed.*"] {
        for query in [format!("collection={collection}"), format!("collection={CAPTAIN}&collection={collection}")] {
            let message = world.query(&format!("{LIST}?{query}")).await.error(400, "InvalidRequest");
            assert!(message.contains("app.bsky.feed.post,io.atcr.*"), "{message}");
            assert!(message.contains(collection), "{message}");
        }
    }
    let everything = World::new("*");
    everything.query(&format!("{LIST}?collection=*")).await.ok();
}

#[tokio::test]
async fn while_a_wider_filter_is_not_indexed_yet_its_lists_are_not_given_out() {
    let narrow = World::new("io.atcr.*");
    narrow.repos(1, &[CAPTAIN]).await;
    narrow.store.close().await;
    let directory = narrow.directory;
    drop((narrow.store, narrow.public, narrow.internal));
    let world = World::open("io.atcr.*,app.bsky.feed.post", HostPolicy::PublicOnly, directory);
    let answer = world.query(&format!("{LIST}?collection=app.bsky.feed.post")).await;
    let message = answer.error(503, "IndexIncomplete");
    assert!(message.contains("not be whole"), "{message}");
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(world.query(&format!("{LIST}?collection={CAPTAIN}")).await.dids(), [did(1)]);

    world.readiness.set(Phase::Running);
    let ready = world.internal("/ready").await;
    assert_eq!(
        ready.ok(),
        json!({"ready": true, "reasons": [], "index_complete": false, "clock_is_behind": false, "repos_to_reindex": 1})
    );
}

#[tokio::test]
async fn a_walk_lists_every_did_once_and_ends_without_a_cursor() {
    let world = World::new("io.atcr.*");
    world.repos(7, &[CAPTAIN, CREW]).await;
    let all: Vec<String> = (1..=7).map(did).collect();
    for limit in [1, 2, 3, 6, 7, 8, 2000] {
        for collection in [CAPTAIN, "io.atcr.*"] {
            assert_eq!(walk(&world, &format!("limit={limit}&collection={collection}")).await, all, "{limit}");
        }
    }
}

#[tokio::test]
async fn a_last_page_that_is_full_has_no_cursor() {
    let world = World::new("io.atcr.*");
    world.repos(4, &[CAPTAIN]).await;
    let first = world.query(&format!("{LIST}?collection={CAPTAIN}&limit=2")).await;
    let cursor = first.cursor().unwrap();
    let second = world.query(&format!("{LIST}?collection={CAPTAIN}&limit=2&cursor={cursor}")).await;
    assert_eq!((second.dids().len(), second.cursor()), (2, None));
}

#[tokio::test]
async fn a_cursor_holds_for_its_set_of_collections_in_any_order_and_with_any_limit() {
    let world = World::new("io.atcr.*");
    world.repos(5, &[CAPTAIN, CREW]).await;
    let both = format!("collection={CAPTAIN}&collection={CREW}");
    let cursor = world.query(&format!("{LIST}?{both}&limit=2")).await.cursor().unwrap();
    let turned = format!("collection={CREW}&collection={CAPTAIN}&collection={CREW}&limit=9");
    assert_eq!(world.query(&format!("{LIST}?{turned}&cursor={cursor}")).await.dids(), [did(3), did(4), did(5)]);
    for other in [format!("collection={CAPTAIN}"), "collection=io.atcr.*".to_owned()] {
        world.query(&format!("{LIST}?{other}&cursor={cursor}")).await.error(400, "InvalidRequest");
    }
    world.query(&format!("listRepos?cursor={cursor}")).await.error(400, "InvalidRequest");
    world.query(&format!("listHosts?cursor={cursor}")).await.error(400, "InvalidRequest");
    let stranger = World::new("io.atcr.*");
    stranger.query(&format!("{LIST}?{both}&cursor={cursor}")).await.error(400, "InvalidRequest");
}

#[tokio::test]
async fn a_did_that_stays_is_listed_once_while_rows_come_and_go() {
    let world = World::new("io.atcr.*");
    world.repos(6, &[CAPTAIN]).await;
    let first = world.query(&format!("{LIST}?collection={CAPTAIN}&limit=3")).await;
    let cursor = first.cursor().unwrap();
    world
        .fill(|tx| {
            // Among the gone ones is the very repo that the cursor points at.
            for number in [1, 3, 4] {
                let repo = tx.repo(&Did::parse(&did(number)).unwrap()).unwrap().unwrap().id;
                tx.delete_records_of(repo).unwrap();
            }
            add_repo(tx, &did(7), true, None, &[CAPTAIN]);
        })
        .await;
    let second = world.query(&format!("{LIST}?collection={CAPTAIN}&limit=3&cursor={cursor}")).await;
    assert_eq!(second.dids(), [did(5), did(6), did(7)]);
    assert_eq!(second.cursor(), None);
}

#[tokio::test]
async fn parameters_out_of_bounds_are_refused() {
    let world = World::new("io.atcr.*");
    let fine = format!("collection={CAPTAIN}");
    world.query(&format!("{LIST}?{fine}&limit=1")).await.ok();
    world.query(&format!("{LIST}?{fine}&limit=2000&cursor=&&garbage&x=%ff")).await.ok();
    world.query(&format!("{LIST}?{}", vec![fine.as_str(); 50].join("&"))).await.ok();
    let too_many = vec![fine.as_str(); 51].join("&");
    for query in [
        "",
        "limit=5",
        "collection=",
        "collection=io.atcr",
        "collection=io.atcr.",
        "collection=io.atcr.**",
        "collection=io.at*",
        "collection=%ff",
        "collection=io.atcr.hold.captain%00",
        &format!("{fine}&limit=0"),
        &format!("{fine}&limit=2001"),
        &format!("{fine}&limit=ten"),
        &format!("{fine}&limit=1&limit=1"),
        &format!("{fine}&cursor=1"),
        &format!("{fine}&cursor=AAAAAAAAAAAAAAAAAAAAAAA"),
        &too_many,
    ] {
        let message = world.query(&format!("{LIST}?{query}")).await.error(400, "InvalidRequest");
        assert!(!message.is_empty());
    }
}

#[tokio::test]
async fn a_cursor_behind_every_repo_there_can_be_ends_the_walk() {
    let world = World::new("io.atcr.*");
    world.repos(3, &[CAPTAIN, CREW]).await;
    for collections in [&[CAPTAIN][..], &["io.atcr.*"], &[CAPTAIN, CREW]] {
        let method = format!("com.atproto.sync.{LIST}");
        let list = std::iter::once(method.as_str()).chain(collections.iter().copied());
        let scope = crate::api::cursor::CursorScope::new(world.store.instance_id(), list);
        for last in [3, (1 << 34) - 1, 1 << 34, i64::MAX] {
            let call = format!("{LIST}?collection={}&cursor={}", collections.join("&collection="), scope.write(last));
            assert_eq!(world.query(&call).await.ok(), json!({"repos": []}), "{last}");
        }
    }
}

#[tokio::test]
async fn what_was_written_is_listed_from_then_on_though_pages_are_kept() {
    let world = World::new("io.atcr.*");
    world.repos(3, &[CAPTAIN]).await;
    let calls = [
        format!("{LIST}?collection={CAPTAIN}"),
        format!("{LIST}?collection=io.atcr.*"),
        format!("{LIST}?collection={CAPTAIN}&collection={CREW}"),
    ];
    let expect = async |numbers: &[usize]| {
        for call in calls.iter().chain(&calls) {
            assert_eq!(world.query(call).await.dids(), numbers.iter().map(|n| did(*n)).collect::<Vec<_>>(), "{call}");
        }
    };
    expect(&[1, 2, 3]).await;
    world.fill(|tx| add_repo(tx, &did(4), true, None, &[CAPTAIN])).await;
    expect(&[1, 2, 3, 4]).await;
    world.fill(|tx| tx.take_down(&Did::parse(&did(2)).unwrap()).unwrap()).await;
    expect(&[1, 3, 4]).await;
    world.fill(|tx| tx.set_repo_status(RepoId(3), false, Some(Status::Deactivated)).unwrap()).await;
    expect(&[1, 4]).await;
    world.fill(|tx| assert_eq!(tx.delete_records_of(RepoId(1)).unwrap(), 1)).await;
    expect(&[4]).await;
    world.fill(|tx| assert!(tx.restore(&Did::parse(&did(2)).unwrap()).unwrap())).await;
    world.fill(|tx| tx.set_repo_status(RepoId(3), true, None).unwrap()).await;
    expect(&[2, 3, 4]).await;
}

#[tokio::test]
async fn who_has_the_answer_is_told_so_until_it_is_another_one() {
    let world = World::new("io.atcr.*");
    world.repos(3, &[CAPTAIN]).await;
    let ask = async |known: &str| {
        let path = format!("/xrpc/com.atproto.sync.{LIST}?collection={CAPTAIN}");
        world.send(Request::get(path).header("if-none-match", known).body(Body::empty()).unwrap()).await
    };
    let first = ask("\"0\"").await;
    let etag = first.header("etag").unwrap().to_owned();
    assert_eq!((first.dids().len(), first.header("cache-control")), (3, Some("no-cache")));
    let again = ask(&etag).await;
    assert_eq!((again.status.as_u16(), again.body.len(), again.header("etag")), (304, 0, Some(etag.as_str())));
    // Another list has changed, this one has not.
    world.fill(|tx| add_repo(tx, &did(4), true, None, &[CREW])).await;
    assert_eq!(ask(&etag).await.status.as_u16(), 304);
    world.fill(|tx| add_repo(tx, &did(5), true, None, &[CAPTAIN])).await;
    let changed = ask(&etag).await;
    assert_eq!(changed.dids().len(), 4);
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
}
