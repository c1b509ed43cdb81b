//! What an op says of before is believed only as far as the rows bear it out.

use super::*;

fn update(collection: &str, rkey: &str) -> RecordChange {
    let (collection, rkey, json) = (collection.to_owned(), rkey.to_owned(), "{}".to_owned());
    RecordChange::Put { collection, rkey, cid: cid(9), json, is_update: true }
}

#[tokio::test]
async fn a_create_of_what_is_there_replaces_it_and_an_update_of_what_is_not_inserts_it() {
    let index = Index::new().await;
    index.take_in(HERE, vec![commit(4, vec![put("io.atcr.a", "a")])]).await;
    index.take_in(HERE, vec![commit(5, vec![put("io.atcr.a", "a"), update("io.atcr.a", "b")])]).await;
    index.take_in(HERE, vec![commit(6, vec![update("io.atcr.a", "a"), update("io.atcr.b", "c")])]).await;
    assert_eq!(index.paths().await, ["io.atcr.a/a", "io.atcr.a/b", "io.atcr.b/c"]);
    assert_eq!(index.report().await.records, 3);
    index.assert_counters_hold().await;
}
