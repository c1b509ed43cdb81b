//! What a repo and a host may take: rows, bytes, collections, accounts.

use super::*;
use crate::repo::model::{self, SigningKey, encode, map};
use crate::store::HostReport;

fn other_did(n: usize) -> Did {
    Did::parse(&format!("did:web:account{n}.example.com")).expect("a DID")
}

impl Index {
    pub(super) async fn report(&self) -> HostReport {
        let reports = self.store.host_report().await.expect("read");
        reports.into_iter().find(|report| report.hostname == "here.example.com").expect("known")
    }

    pub(super) async fn assert_counters_hold(&self) {
        assert_eq!(self.write(|tx| tx.wrong_counts()).await, 0);
    }

    /// Events of accounts that nobody knows.
    async fn take_in_unknown(&self, from: HostId, numbers: std::ops::Range<usize>) -> Vec<Verdict> {
        let event = |n| Event { did: other_did(n), seq: n as i64, fact: SWITCHED_ON, frame: Bytes::new() };
        let events = numbers.map(event).collect();
        self.write(move |tx| ingest(tx, from, events, None)).await.verdicts
    }

    /// Fetches the model's repo with records at these paths, from a host.
    async fn replace(&self, from: HostId, paths: &[&str]) -> Replaced {
        let key = SigningKey::k256(1);
        let record = |path: &str| encode(map([("path", path.into())]));
        let repo = model::Repo::new(paths.iter().map(|path| ((*path).to_owned(), record(path))), &key);
        let (did_key, trust) = (key.public().to_did_key(), crate::repo::Trust::from(key.public()));
        let filter = CollectionFilter::parse("io.atcr.*").expect("a filter");
        let (car, keep) = (repo.car().into(), crate::repo::KeepLimits::of_records(10_000));
        let snapshot =
            crate::repo::open_repo(car, &model::did(), &trust, model::NOW_MICROS, &filter, &keep).expect("a repo");
        self.write(move |tx| {
            let repo = match tx.repo(&model::did())? {
                Some(repo) => repo.id,
                None => tx.insert_repo(&model::did(), from, true, None)?,
            };
            tx.queue_repo(from, repo, JobKind::Repo, Urgency::First)?;
            let job = tx.claim_repo_jobs(from, 1)?.remove(0);
            replace_repo(tx, &job, &snapshot, &did_key)
        })
        .await
    }
}

#[tokio::test]
async fn records_past_a_repos_limit_are_left_out_and_it_stays_listed() {
    let index = Index::with(Limits { records_per_repo: 2, ..Limits::default() }).await;
    let changes = ["a", "b", "c"].map(|rkey| put("io.atcr.a", rkey)).to_vec();
    assert_eq!(index.take_in(HERE, vec![commit(4, changes)]).await, [Verdict::Apply]);
    assert_eq!(index.paths().await, ["io.atcr.a/a", "io.atcr.a/b"]);
    assert_eq!((index.listed("io.atcr.a").await, index.listed("io.atcr.*").await), (1, 1));
    assert_eq!(index.report().await.truncated_repos, 1);
    let changes = vec![put("io.atcr.a", "a"), remove("io.atcr.a", "b"), put("io.atcr.a", "d")];
    index.take_in(HERE, vec![commit(5, changes)]).await;
    assert_eq!(index.paths().await, ["io.atcr.a/a", "io.atcr.a/d"], "what goes makes room");
    index.assert_counters_hold().await;
}

#[tokio::test]
async fn a_record_that_outgrows_the_room_loses_its_row() {
    let index = Index::with(Limits { bytes_per_repo: 20, ..Limits::default() }).await;
    let sized = |rkey: &str, size: usize| RecordChange::Put {
        collection: "io.atcr.a".to_owned(),
        rkey: rkey.to_owned(),
        cid: cid(9),
        json: "x".repeat(size),
        is_update: false,
    };
    index.take_in(HERE, vec![commit(4, vec![sized("a", 12), sized("b", 8), sized("c", 1)])]).await;
    assert_eq!(index.paths().await, ["io.atcr.a/a", "io.atcr.a/b"]);
    index.take_in(HERE, vec![commit(5, vec![sized("a", 13), sized("b", 20)])]).await;
    assert_eq!(index.paths().await, ["io.atcr.a/b"]);
    assert_eq!((index.report().await.records, index.report().await.record_bytes), (1, 20));
    index.assert_counters_hold().await;
}

#[tokio::test]
async fn rows_past_a_limit_that_was_lowered_stay_and_make_no_room_until_enough_are_gone() {
    let index = Index::with(Limits { records_per_repo: 2, bytes_per_repo: 3, ..Limits::default() }).await;
    let rows = [("a", 1), ("b", 2), ("c", 3), ("d", 4)].map(|(rkey, n)| (rkey, cid(n)));
    index
        .write(move |tx| {
            let collection = tx.new_collection("io.atcr.a", HERE)?;
            rows.iter()
                .try_for_each(|(rkey, cid)| tx.insert_record(collection.id, RepoId(1), rkey, *cid, "{}").map(drop))?;
            tx.adjust_count(collection, RepoId(1), 4)?;
            tx.change_usage(RepoId(1), &crate::store::UsageChange { records: 4, bytes: 8, collections: 1 })
        })
        .await;
    let changes = vec![put("io.atcr.a", "a"), remove("io.atcr.a", "b"), put("io.atcr.a", "e")];
    index.take_in(HERE, vec![commit(4, changes)]).await;
    assert_eq!(index.paths().await, ["io.atcr.a/a", "io.atcr.a/c", "io.atcr.a/d"]);
    index.assert_counters_hold().await;
}

#[tokio::test]
async fn a_repo_that_fits_again_is_whole() {
    let index = Index::with(Limits { records_per_repo: 2, ..Limits::default() }).await;
    let Replaced::Done(changed) = index.replace(HERE, &["io.atcr.a/1", "io.atcr.a/2", "io.atcr.b/1"]).await else {
        panic!("it was not replaced")
    };
    assert_eq!((changed.written, changed.over_limit), (2, 1));
    assert_eq!(index.report().await.truncated_repos, 1);
    let Replaced::Done(changed) = index.replace(HERE, &["io.atcr.a/0", "io.atcr.b/1"]).await else {
        panic!("it was not replaced")
    };
    assert_eq!((changed.written, changed.deleted, changed.over_limit), (2, 2, 0), "the old rows went first");
    assert_eq!(index.report().await.truncated_repos, 0);
    index.assert_counters_hold().await;
}

#[tokio::test]
async fn the_share_of_a_host_bounds_all_of_its_repos_and_nobody_elses() {
    let index = Index::with(Limits { records_per_host: 3, ..Limits::default() }).await;
    index.take_in(HERE, vec![commit(4, vec![put("io.atcr.a", "a"), put("io.atcr.a", "b")])]).await;
    let Replaced::Done(changed) = index.replace(HERE, &["io.atcr.a/1", "io.atcr.a/2"]).await else {
        panic!("it was not replaced")
    };
    assert_eq!((changed.written, changed.over_limit), (1, 1));
    let Replaced::Done(changed) = index.replace(ELSEWHERE, &["io.atcr.a/1", "io.atcr.a/2"]).await else {
        panic!("it did not move")
    };
    assert_eq!((changed.written, changed.over_limit), (1, 0), "where it moved to there is room");
    assert_eq!((index.report().await.records, index.report().await.truncated_repos), (2, 0));
    index.assert_counters_hold().await;
}

#[tokio::test]
async fn invented_collections_are_bounded_per_repo_and_go_with_their_last_record() {
    let index = Index::new().await;
    let names =
        |change: fn(&str, &str) -> RecordChange| (0..10_001).map(move |n| change(&format!("io.atcr.x{n}"), "a"));
    index.take_in(HERE, vec![commit(4, names(put).collect())]).await;
    assert_eq!(index.paths().await.len(), 10_000);
    assert_eq!(index.store.stats().await.expect("read").collections, 10_000);
    assert_eq!(index.report().await.truncated_repos, 1);
    assert_eq!((index.listed("io.atcr.x7").await, index.listed("io.atcr.*").await), (1, 1));
    index.assert_counters_hold().await;
    index.take_in(HERE, vec![commit(5, names(remove).collect())]).await;
    assert_eq!(index.store.stats().await.expect("read").collections, 0);
    assert_eq!(index.listed("io.atcr.*").await, 0);
    index.take_in(HERE, vec![commit(6, vec![put("io.atcr.x", "a"), remove("io.atcr.x", "a")])]).await;
    index.assert_counters_hold().await;
}

#[tokio::test]
async fn a_deleted_account_gives_its_share_back() {
    let index = Index::new().await;
    index.take_in(HERE, vec![commit(4, vec![put("io.atcr.a", "a"), put("io.atcr.b", "b")])]).await;
    assert_eq!((index.report().await.records, index.report().await.record_bytes), (2, 4));
    index.take_in(HERE, vec![Fact::Account { active: false, status: Some(Status::Deleted) }]).await;
    assert_eq!((index.report().await.records, index.report().await.record_bytes), (0, 0));
    index.assert_counters_hold().await;
}

#[tokio::test]
async fn accounts_past_the_limit_wait_until_it_is_raised() {
    let index = Index::with(Limits { accounts_per_host: 3, ..Limits::default() }).await;
    let verdicts = index.take_in_unknown(HERE, 0..1500).await;
    assert_eq!(verdicts[..2], [Verdict::NewRepo; 2]);
    assert_eq!(verdicts[2..], [Verdict::Reject(Rejected::AccountLimit); 1498]);
    let report = index.report().await;
    assert_eq!((report.repos, report.account_limit, report.waiting), (3, 3, 1000));
    assert_eq!(report.waiting_accounts.len(), 100);
    assert_eq!(index.take_in_unknown(ELSEWHERE, 9000..9001).await, [Verdict::NewRepo], "another host has its own");
    index.assert_counters_hold().await;
    // Its list is gone through again when the limit is raised.
    let job = index.write(|tx| tx.claim_host_jobs(1)).await.remove(0).job_id;
    index.write(move |tx| tx.finish_host_job(job, std::time::Duration::from_secs(3600))).await;
    index.write(|tx| tx.account_limit_raised(HERE)).await;
    assert_eq!(index.report().await.waiting, 0);
    let again = index.write(|tx| tx.claim_host_jobs(9)).await;
    assert!(again.iter().any(|job| job.host_id == HERE), "{again:?}");
    index.assert_counters_hold().await;
}

#[tokio::test]
async fn a_list_names_accounts_past_the_limit_and_inactive_ones_do_not_wait() {
    let index = Index::with(Limits { accounts_per_host: 2, ..Limits::default() }).await;
    let host_job = index.write(|tx| tx.claim_host_jobs(1)).await.remove(0).job_id;
    let row = |n| ListedRepo { did: other_did(n), head: None, rev: None, active: n != 3, status: None };
    let rows: Vec<ListedRepo> = (1..5).map(row).collect();
    let listed = index.write(move |tx| list_page(tx, HERE, host_job, &rows, None)).await;
    assert_eq!((listed.new, listed.waiting), (1, 3));
    assert_eq!(index.report().await.waiting_accounts, [other_did(2).as_str(), other_did(4).as_str()]);
}

#[tokio::test]
async fn an_account_that_moves_to_a_full_host_waits_there() {
    let index = Index::with(Limits { accounts_per_host: 1, ..Limits::default() }).await;
    index.take_in_unknown(ELSEWHERE, 0..1).await;
    index.write(|tx| tx.claim_repo_jobs(ELSEWHERE, 1)).await;
    let Replaced::Done(_) = index.replace(HERE, &["io.atcr.a/1"]).await else { panic!("it was not replaced") };
    assert_eq!(index.replace(ELSEWHERE, &["io.atcr.a/1"]).await, Replaced::NoRoom);
    assert_eq!(index.listed("io.atcr.a").await, 0, "it lives here no more");
    let waiting = index.write(|tx| tx.waiting_accounts(ELSEWHERE, 9)).await;
    assert_eq!(waiting, [model::did().as_str()]);
    index.assert_counters_hold().await;
}

#[tokio::test]
async fn a_host_that_names_the_accounts_of_others_is_heard_up_to_a_bound() {
    let index = Index::new().await;
    let rows = |from: usize| -> Vec<ListedRepo> {
        let row = |n| ListedRepo { did: other_did(n), head: None, rev: None, active: true, status: None };
        (from..from + 1000).map(row).collect()
    };
    for page in 0..11 {
        index.take_in_unknown(HERE, page * 1000..page * 1000 + 1000).await;
    }
    let host_job = index.write(|tx| tx.claim_host_jobs(9)).await.into_iter().find(|job| job.host_id == ELSEWHERE);
    let host_job = host_job.expect("queued").job_id;
    for page in 0..11 {
        let rows = rows(page * 1000);
        let listed = index.write(move |tx| list_page(tx, ELSEWHERE, host_job, &rows, None)).await;
        assert!(listed.own.is_empty());
    }
    assert_eq!(index.write(|tx| tx.claims_left(ELSEWHERE)).await, 0);
    assert_eq!(index.write(|tx| tx.claims_left(HERE)).await, 10_000, "its own accounts are no claims");
    assert_eq!(index.take_in_unknown(ELSEWHERE, 10_999..11_000).await, [Verdict::Reject(Rejected::OtherHost)]);
    assert_eq!(index.take_in_unknown(ELSEWHERE, 0..1).await, [Verdict::Claim], "this one is being asked about");
    let job = index.write(|tx| tx.claim_repo_jobs(ELSEWHERE, 1)).await.remove(0).job_id;
    index.write(move |tx| tx.finish_repo_job(job)).await;
    assert_eq!(index.take_in_unknown(ELSEWHERE, 10_999..11_000).await, [Verdict::Claim], "one is settled");
}

#[tokio::test]
async fn a_host_that_a_document_names_is_asked_on_nobodys_account_and_within_a_bound() {
    let index = Index::new().await;
    index.take_in_unknown(HERE, 0..1001).await;
    let elsewhere = Host::parse("elsewhere.example.com", HostPolicy::PublicOnly).expect("a host");
    let referred = index
        .write(move |tx| {
            for job in tx.claim_repo_jobs(HERE, 2000)? {
                assert!(!job.is_referred);
                not_at_this_host(tx, &job, Some(&elsewhere))?;
            }
            tx.claim_repo_jobs(ELSEWHERE, 2000)
        })
        .await;
    assert_eq!((referred.len(), referred.iter().all(|job| job.is_referred)), (1000, true));
    assert_eq!(index.write(|tx| tx.claims_left(ELSEWHERE)).await, 10_000, "it can still name accounts itself");
    assert_eq!(index.take_in_unknown(ELSEWHERE, 1000..1001).await, [Verdict::Claim]);
    let own = index.write(|tx| tx.claim_repo_jobs(ELSEWHERE, 1)).await;
    assert_eq!(own.iter().map(|job| job.is_referred).collect::<Vec<_>>(), [false]);
}
