//! Verdicts as a table, and what events and list pages do to the rows of a real database.

mod legacy_commits;
mod limits;
mod no_identity;
mod rows;

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{Limits, StoreConfig};
use crate::host::ListedRepo;
use crate::repo::DagCid;
use crate::store::{
    Admission, Durability, HostId, JobKind, RepoId, RepoState, Status, Store, Tx, TxResult, Urgency, Usage,
};
use crate::syntax::{CollectionFilter, Did, Host, HostPolicy, Rev};

const HERE: HostId = HostId(1);
const ELSEWHERE: HostId = HostId(2);

fn did() -> Did {
    Did::parse("did:plc:z72i7hdynmk6r22z27h6tvur").expect("a DID")
}

fn rev(n: u32) -> Rev {
    // The digits as letters, since a TID has no 0, 1, 8 or 9.
    let digits: String = format!("{n:06}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
    Rev::parse(&format!("3k2yihm{digits}")).expect("a TID")
}

fn cid(n: u8) -> DagCid {
    DagCid::from_digest([n; 32])
}

fn known() -> RepoState {
    RepoState {
        id: RepoId(1),
        host_id: HERE,
        active: true,
        status: None,
        verified: Some((rev(3), cid(3))),
        head: Some(cid(30)),
        has_key: false,
        key_checked_at: None,
        stale_head: None,
        unproven: false,
        refused: false,
        used: Usage::default(),
        busy: false,
    }
}

/// The commit that continues [`known`].
fn next() -> CommitFact {
    let proven =
        ProvenCommit { head: cid(40), data: cid(4), author: Author::Account, changes: Vec::new(), legacy: None };
    CommitFact { rev: Some(rev(4)), since: Some(rev(3)), prev_data: Some(cid(3)), proof: Ok(proven) }
}

fn good() -> Fact {
    Fact::Commit(next())
}

fn flawed(flaw: Flaw) -> Fact {
    Fact::Commit(CommitFact { proof: Err(flaw), ..next() })
}

fn legacy(proof: Option<LegacyProof>) -> Fact {
    let legacy = LegacyCommit { blocks: Bytes::new(), ops: Vec::new(), proof };
    let proven = ProvenCommit {
        head: cid(40),
        data: cid(4),
        author: Author::Account,
        changes: Vec::new(),
        legacy: Some(legacy),
    };
    Fact::Commit(CommitFact { prev_data: None, proof: Ok(proven), ..next() })
}

fn sync(at: u32, data: u8) -> Fact {
    Fact::Sync {
        rev: Some(rev(at)),
        commit: Ok(SyncedCommit { head: cid(90), data: cid(data), author: Author::Account }),
    }
}

const SWITCHED_OFF: Fact = Fact::Account { active: false, status: Some(Status::Takendown) };
const SWITCHED_ON: Fact = Fact::Account { active: true, status: None };
const NOW: i64 = 1_000_000;

#[test]
fn each_event_gets_the_verdict_that_the_repo_calls_for() {
    let busy = || RepoState { busy: true, ..known() };
    let unfetched = || RepoState { verified: None, ..known() };
    let off = || RepoState { active: false, ..unfetched() };
    let resolved = |at| RepoState { key_checked_at: Some(at), ..known() };
    let commit = |change: fn(&mut CommitFact)| {
        let mut fact = next();
        change(&mut fact);
        Fact::Commit(fact)
    };
    let desync = |flaw| Verdict::Desync(Desync::Flaw(flaw));
    let table = [
        (good(), Some(known()), Verdict::Apply),
        (commit(|c| c.rev = Some(rev(3))), Some(known()), Verdict::Ignore(Ignored::OldRev)),
        (commit(|c| c.rev = Some(rev(2))), Some(busy()), Verdict::Ignore(Ignored::OldRev)),
        (commit(|c| c.rev = None), Some(known()), Verdict::Reject(Rejected::BadRev)),
        (commit(|c| c.since = Some(rev(2))), Some(known()), Verdict::Desync(Desync::Since)),
        (commit(|c| c.since = None), Some(known()), Verdict::Desync(Desync::Since)),
        (commit(|c| c.prev_data = Some(cid(2))), Some(known()), Verdict::Desync(Desync::PrevData)),
        (good(), Some(busy()), Verdict::Hold),
        (good(), Some(unfetched()), Verdict::Desync(Desync::NeverFetched)),
        (good(), Some(off()), Verdict::Ignore(Ignored::Inactive)),
        (good(), None, Verdict::NewRepo),
        (legacy(Some(LegacyProof::Whole)), Some(known()), Verdict::Apply),
        (legacy(Some(LegacyProof::OpsOnly)), Some(known()), Verdict::ApplyUnproven),
        (legacy(Some(LegacyProof::None)), Some(known()), Verdict::Desync(Desync::LegacyOps)),
        (legacy(None), Some(busy()), Verdict::Hold),
        (legacy(None), None, Verdict::NewRepo),
        (flawed(Flaw::TooBig), Some(known()), desync(Flaw::TooBig)),
        (flawed(Flaw::OverLimit), Some(known()), desync(Flaw::OverLimit)),
        (flawed(Flaw::BadBlocks), Some(known()), desync(Flaw::BadBlocks)),
        (flawed(Flaw::CommitMismatch), Some(known()), desync(Flaw::CommitMismatch)),
        (flawed(Flaw::BadOps), Some(known()), desync(Flaw::BadOps)),
        (flawed(Flaw::NotVerified), Some(known()), desync(Flaw::NotVerified)),
        (flawed(Flaw::NotVerified), Some(RepoState { has_key: true, ..known() }), Verdict::Hold),
        (flawed(Flaw::BadBlocks), Some(busy()), Verdict::Hold),
        (flawed(Flaw::BadBlocks), None, Verdict::NewRepo),
        (flawed(Flaw::FutureRev), Some(known()), Verdict::Reject(Rejected::FutureRev)),
        (flawed(Flaw::FutureRev), Some(busy()), Verdict::Reject(Rejected::FutureRev)),
        (flawed(Flaw::FutureRev), None, Verdict::Reject(Rejected::FutureRev)),
        (flawed(Flaw::BadSignature), Some(known()), desync(Flaw::BadSignature)),
        (flawed(Flaw::BadSignature), Some(resolved(NOW - 60_000)), desync(Flaw::BadSignature)),
        (flawed(Flaw::BadSignature), Some(resolved(NOW - 59_999)), Verdict::Reject(Rejected::BadSignature)),
        (sync(4, 3), Some(known()), Verdict::Apply),
        (sync(4, 4), Some(known()), Verdict::Desync(Desync::SyncData)),
        (sync(3, 4), Some(known()), Verdict::Ignore(Ignored::OldRev)),
        (sync(4, 4), None, Verdict::NewRepo),
        (SWITCHED_OFF, Some(busy()), Verdict::Apply),
        (SWITCHED_OFF, None, Verdict::Ignore(Ignored::UnknownRepo)),
        (SWITCHED_ON, None, Verdict::NewRepo),
        (Fact::Identity, Some(busy()), Verdict::Apply),
        (Fact::Identity, None, Verdict::Ignore(Ignored::UnknownRepo)),
    ];
    for (fact, repo, expected) in table {
        assert_eq!(verdict(&fact, repo.as_ref(), HERE, NOW), expected, "{fact:?} on {repo:?}");
    }
}

#[test]
fn another_host_changes_nothing_before_the_did_document_is_asked() {
    let repo = known();
    let refused = RepoState { refused: true, ..known() };
    for fact in [good(), sync(4, 4), SWITCHED_ON, Fact::Identity, flawed(Flaw::TooBig)] {
        assert_eq!(verdict(&fact, Some(&repo), ELSEWHERE, NOW), Verdict::Claim);
        assert_eq!(verdict(&fact, Some(&refused), ELSEWHERE, NOW), Verdict::Reject(Rejected::OtherHost));
    }
    assert_eq!(verdict(&SWITCHED_OFF, Some(&repo), ELSEWHERE, NOW), Verdict::Reject(Rejected::OtherHost));
}

#[test]
fn every_verdict_has_a_label_of_its_own_and_a_row_in_the_documentation() {
    let document = include_str!("../../docs/verdicts.md");
    let mut labels = std::collections::BTreeSet::new();
    for verdict in Verdict::ALL {
        assert!(labels.insert(verdict.label()), "{verdict:?} shares its label");
        assert!(document.contains(&format!("| `{}` |", verdict.label())), "{verdict:?} is not documented");
    }
}

/// A database with two hosts and one repo on the first, verified at rev 3.
struct Index {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Index {
    async fn new() -> Index {
        Index::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Index {
        let folder = tempfile::tempdir().expect("a folder");
        let filter = CollectionFilter::parse("io.atcr.*").expect("a filter");
        let config = StoreConfig { path: folder.path().join("test.db"), filter, limits };
        let store = Store::open(&config, CancellationToken::new()).expect("a database");
        for name in ["here.example.com", "elsewhere.example.com"] {
            let host = Host::parse(name, HostPolicy::PublicOnly).expect("a host");
            store.request_crawl(&host, Admission::Free).await.expect("accepted");
        }
        let index = Index { store, _folder: folder };
        index
            .write(|tx| {
                tx.host_reached(HERE)?;
                tx.host_reached(ELSEWHERE)?;
                let repo = tx.insert_repo(&did(), HERE, true, None)?;
                tx.set_repo_commit(repo, &rev(3), cid(30), cid(3))
            })
            .await;
        index
    }

    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Tx) -> TxResult<T> + Send + 'static) -> T {
        self.store.write(Durability::Replayable, work).await.expect("written")
    }

    async fn take_in(&self, from: HostId, facts: Vec<Fact>) -> Vec<Verdict> {
        let events: Vec<Event> = (1..)
            .zip(facts)
            .map(|(seq, fact)| Event { did: did(), seq, fact, frame: Bytes::from_static(b"frame") })
            .collect();
        self.write(move |tx| ingest(tx, from, events, Some(7))).await.verdicts
    }

    async fn repo(&self) -> RepoState {
        self.write(|tx| tx.repo(&did())).await.expect("known")
    }

    async fn paths(&self) -> Vec<String> {
        let records = self.write(|tx| tx.records_of(RepoId(1))).await;
        records.into_iter().map(|record| format!("{}/{}", record.collection, record.rkey)).collect()
    }

    async fn listed(&self, collection: &str) -> usize {
        let pattern = crate::syntax::NsidPattern::parse(collection).expect("a pattern");
        let write = |text: &mut Vec<u8>, _: &[u8]| text.push(b'x');
        let page = self.store.list_repos_by_collection(vec![pattern], RepoId(0), 10, Vec::new(), write);
        page.await.expect("listed").text.len()
    }
}

fn put(collection: &str, rkey: &str) -> RecordChange {
    let (collection, rkey, json) = (collection.to_owned(), rkey.to_owned(), "{}".to_owned());
    RecordChange::Put { collection, rkey, cid: cid(9), json, is_update: false }
}

fn remove(collection: &str, rkey: &str) -> RecordChange {
    RecordChange::Remove { collection: collection.to_owned(), rkey: rkey.to_owned() }
}

fn commit(at: u32, changes: Vec<RecordChange>) -> Fact {
    let (at_byte, before) = (at as u8, at as u8 - 1);
    let proven = ProvenCommit {
        head: cid(at_byte.wrapping_mul(10)),
        data: cid(at_byte),
        author: Author::Account,
        changes,
        legacy: None,
    };
    let (since, prev_data) = (Some(rev(at - 1)), Some(cid(before)));
    Fact::Commit(CommitFact { rev: Some(rev(at)), since, prev_data, proof: Ok(proven) })
}

#[tokio::test]
async fn commits_move_rows_summary_repo_and_cursor_together() {
    let index = Index::new().await;
    let verdicts = index
        .take_in(
            HERE,
            vec![
                commit(4, vec![put("io.atcr.hold.captain", "self"), put("io.atcr.hold.crew", "a")]),
                commit(5, vec![put("io.atcr.hold.crew", "b"), remove("io.atcr.hold.crew", "a")]),
                commit(6, vec![remove("io.atcr.hold.captain", "self"), remove("io.atcr.hold.captain", "never")]),
            ],
        )
        .await;
    assert_eq!(verdicts, [Verdict::Apply; 3]);
    assert_eq!(index.paths().await, ["io.atcr.hold.crew/b"]);
    assert_eq!(index.listed("io.atcr.hold.crew").await, 1);
    assert_eq!(index.listed("io.atcr.hold.captain").await, 0);
    assert_eq!(index.repo().await.verified, Some((rev(6), cid(6))));
    assert_eq!(index.write(|tx| tx.host_cursor(HERE)).await, Some(7));
}

#[tokio::test]
async fn a_lost_chain_queues_one_fetch_and_what_follows_is_held() {
    let index = Index::new().await;
    let verdicts = index.take_in(HERE, vec![commit(5, vec![]), commit(6, vec![]), commit(7, vec![])]).await;
    assert_eq!(verdicts, [Verdict::Desync(Desync::Since), Verdict::Hold, Verdict::Hold]);
    assert_eq!(index.repo().await.verified, Some((rev(3), cid(3))), "what was indexed stays");
    let jobs = index.write(|tx| tx.claim_repo_jobs(HERE, 10)).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(index.write(|tx| tx.held_events(RepoId(1), HERE)).await.len(), 2);
    assert!(index.write(|tx| tx.repos_with_ready_events()).await.is_empty(), "not before the job is done");
    let job_id = jobs[0].job_id;
    index.write(move |tx| tx.finish_repo_job(job_id)).await;
    assert_eq!(index.write(|tx| tx.repos_with_ready_events()).await, [(RepoId(1), HERE)]);
    assert!(index.repo().await.busy, "new events wait behind the held ones");
}

#[tokio::test]
async fn held_events_are_applied_in_order_and_end_where_one_needs_a_fetch() {
    let index = Index::new().await;
    index
        .write(|tx| {
            for seq in 1..=4 {
                tx.hold_event(RepoId(1), HERE, seq, b"frame")?;
            }
            Ok(())
        })
        .await;
    let events: Vec<Event> = (1..)
        .zip([commit(4, vec![put("io.atcr.a", "x")]), commit(5, vec![]), commit(7, vec![]), commit(8, vec![])])
        .map(|(seq, fact)| Event { did: did(), seq, fact, frame: Bytes::new() })
        .collect();
    let ingested = index.write(move |tx| ingest_held(tx, HERE, RepoId(1), events, Some(4))).await;
    assert_eq!(ingested.verdicts, [Verdict::Apply, Verdict::Apply, Verdict::Desync(Desync::Since)]);
    assert_eq!(index.repo().await.verified, Some((rev(5), cid(5))));
    let left = index.write(|tx| tx.held_events(RepoId(1), HERE)).await;
    assert_eq!(left.iter().map(|event| event.seq).collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn too_many_held_events_are_dropped_and_the_repo_is_fetched_once_more() {
    let index = Index::new().await;
    index.write(|tx| tx.queue_repo(HERE, RepoId(1), JobKind::Repo, Urgency::First)).await;
    let job = index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await.remove(0);
    index.take_in(HERE, (4..69).map(|at| commit(at, vec![])).collect()).await;
    assert_eq!(index.write(|tx| tx.held_events(RepoId(1), HERE)).await.len(), 0);
    let job_id = job.job_id;
    index.write(move |tx| tx.finish_repo_job(job_id)).await;
    let again = index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await;
    assert_eq!(again.len(), 1, "events were lost, so the fetch that ran is not enough");
}

#[tokio::test]
async fn a_claim_that_is_given_back_was_no_attempt_and_one_that_is_over_stays_so() {
    let index = Index::new().await;
    index.write(|tx| tx.queue_repo(HERE, RepoId(1), JobKind::Status, Urgency::First)).await;
    let claim = async || index.write(|tx| tx.claim_repo_jobs(HERE, 9)).await.pop();
    let job = claim().await.expect("it is due");
    index.write(|tx| tx.queue_repo(HERE, RepoId(1), JobKind::Repo, Urgency::First)).await;
    index.write(move |tx| tx.give_back(&[job.job_id])).await;
    let again = claim().await.expect("it is due as before");
    assert_eq!((again.attempts, again.kind), (job.attempts, JobKind::Repo), "what was asked for meanwhile is done");
    index.write(move |tx| tx.fail_job(again.job_id, "no", Duration::from_secs(60))).await;
    index.write(move |tx| tx.give_back(&[again.job_id])).await;
    assert!(claim().await.is_none(), "it failed, and waits");
}

#[tokio::test]
async fn a_switched_off_account_keeps_its_rows_hidden_and_a_deleted_one_loses_them() {
    let index = Index::new().await;
    index.take_in(HERE, vec![commit(4, vec![put("io.atcr.a", "x")]), SWITCHED_OFF]).await;
    assert_eq!((index.listed("io.atcr.a").await, index.paths().await.len()), (0, 1));
    index.take_in(ELSEWHERE, vec![SWITCHED_ON]).await;
    assert_eq!(index.listed("io.atcr.a").await, 0, "another host has no say");
    let claim = index.write(|tx| tx.claim_repo_jobs(ELSEWHERE, 1)).await.remove(0);
    index.write(move |tx| tx.fail_job(claim.job_id, "not there", std::time::Duration::from_secs(60))).await;
    index.take_in(HERE, vec![SWITCHED_ON]).await;
    assert_eq!(index.listed("io.atcr.a").await, 0, "not before it was fetched and verified");
    let job = index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await;
    assert_eq!(job.iter().map(|job| job.kind).collect::<Vec<_>>(), [JobKind::Repo]);
    let deleted = Fact::Account { active: false, status: Some(Status::Deleted) };
    index.take_in(HERE, vec![deleted]).await;
    assert_eq!(index.paths().await, Vec::<String>::new());
    let repo = index.repo().await;
    assert_eq!((repo.active, repo.status, repo.verified, repo.busy), (false, Some(Status::Deleted), None, false));
}

#[tokio::test]
async fn a_listed_repo_is_fetched_only_when_it_differs() {
    let index = Index::new().await;
    let row = |head: Option<DagCid>, at: u32, active: bool| ListedRepo {
        did: did(),
        head,
        rev: Some(rev(at)),
        active,
        status: (!active).then(|| "deactivated".to_owned()),
    };
    let host_job = index.write(|tx| tx.claim_host_jobs(1)).await.remove(0).job_id;
    let list = async |row: ListedRepo| {
        let listed = index.write(move |tx| list_page(tx, HERE, host_job, &[row], Some("next"))).await;
        index.write(move |tx| settle_suspects(tx, HERE, &listed.suspects)).await
    };
    assert_eq!(list(row(Some(cid(30)), 9, true)).await, 0, "the same head: rev alone says nothing");
    assert_eq!(list(row(None, 3, true)).await, 0, "no head, the same rev");
    assert_eq!(list(row(Some(cid(31)), 4, true)).await, 1);
    assert_eq!(list(row(Some(cid(31)), 4, true)).await, 0, "it is queued already");
    assert_eq!(list(row(Some(cid(31)), 4, false)).await, 0);
    let repo = index.repo().await;
    assert_eq!((repo.active, repo.status, repo.busy), (false, Some(Status::Deactivated), false));
    assert_eq!(index.write(move |tx| tx.page_cursor(host_job)).await.as_deref(), Some("next"));
}

#[tokio::test]
async fn a_newer_head_that_is_listed_during_the_fetch_has_it_fetched_once_more() {
    for (listed_head, fetches_left) in [(30, 0), (31, 1)] {
        let index = Index::new().await;
        index.write(|tx| tx.queue_repo(HERE, RepoId(1), JobKind::Repo, Urgency::First)).await;
        let job = index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await.remove(0).job_id;
        let host_job = index.write(|tx| tx.claim_host_jobs(1)).await.remove(0).job_id;
        let row =
            ListedRepo { did: did(), head: Some(cid(listed_head)), rev: Some(rev(4)), active: true, status: None };
        index.write(move |tx| list_page(tx, HERE, host_job, &[row], None)).await;
        index.write(move |tx| tx.finish_repo_job(job)).await;
        assert_eq!(index.write(|tx| tx.claim_repo_jobs(HERE, 9)).await.len(), fetches_left, "{listed_head}");
    }
}

#[tokio::test]
async fn work_that_is_asked_for_during_a_job_is_done_once_more_after_it() {
    let index = Index::new().await;
    index.write(|tx| tx.queue_repo(HERE, RepoId(1), JobKind::Identity, Urgency::First)).await;
    let job = index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await.remove(0);
    assert_eq!(job.kind, JobKind::Identity);
    index.write(|tx| tx.queue_repo(HERE, RepoId(1), JobKind::Repo, Urgency::First)).await;
    index.write(|tx| tx.queue_repo(HERE, RepoId(1), JobKind::Identity, Urgency::First)).await;
    assert!(index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await.is_empty());
    let job_id = job.job_id;
    index.write(move |tx| tx.finish_repo_job(job_id)).await;
    let again = index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await;
    assert_eq!(again.iter().map(|job| job.kind).collect::<Vec<_>>(), [JobKind::Repo]);
}

#[tokio::test]
async fn a_repo_whose_event_arrives_within_the_grace_is_not_fetched() {
    let index = Index::new().await;
    let host_job = index.write(|tx| tx.claim_host_jobs(1)).await.remove(0).job_id;
    let row = ListedRepo { did: did(), head: Some(cid(40)), rev: Some(rev(4)), active: true, status: None };
    let listed = index.write(move |tx| list_page(tx, HERE, host_job, &[row], None)).await;
    assert_eq!(listed.suspects.len(), 1);
    index.take_in(HERE, vec![commit(4, vec![])]).await;
    assert_eq!(index.write(move |tx| settle_suspects(tx, HERE, &listed.suspects)).await, 0);
}

#[tokio::test]
async fn active_repos_that_a_host_no_longer_lists_are_asked_after() {
    let index = Index::new().await;
    index.write(|tx| ask_after_missing(tx, HERE, RepoId(0), |listed| listed == RepoId(1))).await;
    assert!(index.write(|tx| tx.claim_repo_jobs(HERE, 9)).await.is_empty());
    index.write(|tx| ask_after_missing(tx, HERE, RepoId(0), |_| false)).await;
    let jobs = index.write(|tx| tx.claim_repo_jobs(HERE, 9)).await;
    assert_eq!(jobs.iter().map(|job| job.kind).collect::<Vec<_>>(), [JobKind::Status]);
}

#[tokio::test]
async fn a_host_that_lists_the_older_head_that_it_served_was_restored_and_is_followed() {
    let index = Index::new().await;
    let host_job = index.write(|tx| tx.claim_host_jobs(1)).await.remove(0).job_id;
    index.write(|tx| tx.set_stale_head(RepoId(1), cid(20))).await;
    // The job that was given the older head waits for its next attempt.
    index.write(|tx| tx.queue_repo(HERE, RepoId(1), JobKind::Repo, Urgency::First)).await;
    let job = index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await.remove(0).job_id;
    index.write(move |tx| tx.fail_job(job, "stale", std::time::Duration::from_secs(3600))).await;
    let list = async |head: DagCid| {
        let row = ListedRepo { did: did(), head: Some(head), rev: None, active: true, status: None };
        index.write(move |tx| list_page(tx, HERE, host_job, &[row], None)).await.queued
    };
    assert_eq!(list(cid(30)).await, 0, "it lists what is indexed: the answer was stale");
    assert_eq!(list(cid(20)).await, 1);
    assert_eq!(index.repo().await.verified, None, "so that the older rev is taken");
    assert_eq!(index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await.len(), 1, "at once");
}

#[tokio::test]
async fn an_unproven_repo_is_fetched_at_the_next_comparison() {
    let index = Index::new().await;
    let host_job = index.write(|tx| tx.claim_host_jobs(1)).await.remove(0).job_id;
    index.write(|tx| tx.mark_unproven(RepoId(1))).await;
    let row = ListedRepo { did: did(), head: Some(cid(30)), rev: None, active: true, status: None };
    let listed = index.write(move |tx| list_page(tx, HERE, host_job, &[row], None)).await;
    assert_eq!(listed.queued, 1);
}

#[tokio::test]
async fn a_repo_that_came_without_a_block_is_indexed_as_far_as_it_goes_and_stays_in_doubt() {
    use crate::repo::model::{self, SigningKey, encode, map};
    let index = Index::new().await;
    let key = SigningKey::k256(1);
    let record = |n: i128| encode(map([("n", n.into())]));
    let paths = ["io.atcr.manifest/a", "io.atcr.manifest/b"];
    let whole = || model::Repo::new(paths.iter().zip(1..).map(|(path, n)| ((*path).to_owned(), record(n))), &key);
    let replace = async |repo: model::Repo| {
        let did_key = key.public().to_did_key();
        let filter = CollectionFilter::parse("io.atcr.*").expect("a filter");
        let trust = crate::repo::Trust::from(key.public());
        let keep = crate::repo::KeepLimits::of_records(10);
        let car = repo.car().into();
        let snapshot =
            crate::repo::open_repo(car, &model::did(), &trust, model::NOW_MICROS, &filter, &keep).expect("a repo");
        index
            .write(move |tx| {
                let repo = match tx.repo(&model::did())? {
                    Some(repo) => repo.id,
                    None => tx.insert_repo(&model::did(), HERE, true, None)?,
                };
                tx.queue_repo(HERE, repo, JobKind::Repo, Urgency::First)?;
                let job = tx.claim_repo_jobs(HERE, 1)?.remove(0);
                replace_repo(tx, &job, &snapshot, &did_key)?;
                let rows = tx.records_of(repo)?.len();
                Ok((rows, tx.repo(&model::did())?.expect("known").unproven))
            })
            .await
    };
    let mut partial = whole();
    partial.blocks.remove(&DagCid::for_block(&record(2)));
    assert_eq!(replace(partial).await, (1, true), "fetched again at the next comparison");
    assert_eq!(replace(whole()).await, (2, false));
}

#[tokio::test]
async fn a_commit_that_is_held_while_the_key_changes_leads_to_a_fetch() {
    let index = Index::new().await;
    let refresh = async |key: &'static str| {
        index
            .write(move |tx| {
                tx.queue_repo(HERE, RepoId(1), JobKind::Identity, Urgency::First)?;
                let job = tx.claim_repo_jobs(HERE, 1)?.remove(0);
                tx.hold_event(RepoId(1), HERE, 1, b"frame")?;
                identity_resolved(tx, &job, key)?;
                let again = tx.claim_repo_jobs(HERE, 1)?;
                again.iter().try_for_each(|job| tx.finish_repo_job(job.job_id))?;
                Ok(again.iter().map(|job| job.kind).collect::<Vec<_>>())
            })
            .await
    };
    assert_eq!(refresh("did:key:a").await, [], "the first key");
    assert_eq!(refresh("did:key:a").await, [], "the same key");
    assert_eq!(refresh("did:key:b").await, [JobKind::Repo]);
}

#[tokio::test]
async fn a_claim_that_is_made_again_while_the_first_one_is_answered_is_not_lost() {
    let index = Index::new().await;
    index.take_in(ELSEWHERE, vec![SWITCHED_ON]).await;
    let job = index.write(|tx| tx.claim_repo_jobs(ELSEWHERE, 1)).await.remove(0);
    index.take_in(ELSEWHERE, vec![SWITCHED_ON]).await;
    index.write(move |tx| fetched_inactive(tx, &job, Status::Deactivated)).await;
    assert!(index.repo().await.active, "it is not the account's own host, as far as is known");
    let again = index.write(|tx| tx.claim_repo_jobs(ELSEWHERE, 1)).await;
    assert_eq!(again.len(), 1, "it was switched on there after the answer");
}

#[tokio::test]
async fn the_old_hosts_last_word_does_not_hide_an_account_that_the_new_one_is_asked_for() {
    let index = Index::new().await;
    index.take_in(HERE, vec![commit(4, vec![put("io.atcr.a", "x")])]).await;
    index.take_in(ELSEWHERE, vec![SWITCHED_ON]).await;
    index.take_in(HERE, vec![SWITCHED_OFF]).await;
    assert_eq!(index.listed("io.atcr.a").await, 1);
    let claim = index.write(|tx| tx.claim_repo_jobs(ELSEWHERE, 1)).await.remove(0);
    index.write(move |tx| tx.fail_job(claim.job_id, "not there", std::time::Duration::from_secs(60))).await;
    index.take_in(HERE, vec![SWITCHED_OFF]).await;
    assert_eq!(index.listed("io.atcr.a").await, 0, "a refused claim does not protect it");
}

#[tokio::test]
async fn an_account_that_is_deactivated_where_it_claims_to_live_is_asked_after_at_its_old_host() {
    let index = Index::new().await;
    index.take_in(ELSEWHERE, vec![SWITCHED_ON]).await;
    let claim = index.write(|tx| tx.claim_repo_jobs(ELSEWHERE, 1)).await.remove(0);
    index.write(move |tx| fetched_inactive(tx, &claim, Status::Deactivated)).await;
    assert!(index.repo().await.active, "it may still be on its way");
    let status = index.write(|tx| tx.claim_repo_jobs(HERE, 1)).await.remove(0);
    assert_eq!(status.kind, JobKind::Status);
    index.write(move |tx| fetched_inactive(tx, &status, Status::Deactivated)).await;
    assert!(!index.repo().await.active);
}
