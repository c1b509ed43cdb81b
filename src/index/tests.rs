//! Verdicts as a table, and what events and list pages do to the rows of a real database.

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::StoreConfig;
use crate::host::ListedRepo;
use crate::repo::DagCid;
use crate::store::{Durability, HostId, JobKind, RepoId, RepoState, Status, Store, Tx, TxResult, Urgency};
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
        busy: false,
    }
}

/// The commit that continues [`known`].
fn next() -> CommitFact {
    CommitFact {
        rev: rev(4),
        since: Some(rev(3)),
        head: cid(40),
        prev_data: Some(cid(3)),
        data: cid(4),
        changes: Vec::new(),
    }
}

fn sync(at: u32, data: u8) -> Fact {
    Fact::Sync { rev: rev(at), head: cid(90), data: cid(data) }
}

const SWITCHED_OFF: Fact = Fact::Account { active: false, status: Some(Status::Takendown) };
const SWITCHED_ON: Fact = Fact::Account { active: true, status: None };

#[test]
fn each_event_gets_the_verdict_that_the_repo_calls_for() {
    let busy = RepoState { busy: true, ..known() };
    let unfetched = RepoState { verified: None, ..known() };
    let off = RepoState { active: false, ..unfetched.clone() };
    let commit = |change: fn(&mut CommitFact)| {
        let mut fact = next();
        change(&mut fact);
        Fact::Commit(fact)
    };
    let good = || commit(|_| {});
    let unusable = |at| Fact::Unusable(Desync::BadBlocks, at);
    let table = [
        (good(), Some(known()), Verdict::Apply),
        (commit(|c| c.rev = rev(3)), Some(known()), Verdict::Ignore(Ignored::OldRev)),
        (commit(|c| c.rev = rev(2)), Some(busy.clone()), Verdict::Ignore(Ignored::OldRev)),
        (commit(|c| c.since = Some(rev(2))), Some(known()), Verdict::Desync(Desync::SinceMismatch)),
        (commit(|c| c.since = None), Some(known()), Verdict::Desync(Desync::SinceMismatch)),
        (commit(|c| c.prev_data = Some(cid(2))), Some(known()), Verdict::Desync(Desync::PrevDataMismatch)),
        (commit(|c| c.prev_data = None), Some(known()), Verdict::Desync(Desync::NoPrevData)),
        (good(), Some(busy.clone()), Verdict::Hold),
        (good(), Some(unfetched.clone()), Verdict::Desync(Desync::NeverFetched)),
        (good(), Some(off), Verdict::Ignore(Ignored::Inactive)),
        (good(), None, Verdict::NewRepo),
        (unusable(Some(rev(4))), Some(known()), Verdict::Desync(Desync::BadBlocks)),
        (unusable(Some(rev(3))), Some(known()), Verdict::Ignore(Ignored::OldRev)),
        (unusable(None), Some(known()), Verdict::Desync(Desync::BadBlocks)),
        (unusable(None), Some(busy.clone()), Verdict::Hold),
        (unusable(None), None, Verdict::NewRepo),
        (sync(4, 3), Some(known()), Verdict::Apply),
        (sync(4, 4), Some(known()), Verdict::Desync(Desync::SyncData)),
        (sync(3, 4), Some(known()), Verdict::Ignore(Ignored::OldRev)),
        (sync(4, 4), None, Verdict::NewRepo),
        (SWITCHED_OFF, Some(busy.clone()), Verdict::Apply),
        (SWITCHED_OFF, None, Verdict::Ignore(Ignored::UnknownRepo)),
        (SWITCHED_ON, None, Verdict::NewRepo),
        (Fact::Identity, Some(busy), Verdict::Apply),
        (Fact::Identity, None, Verdict::Ignore(Ignored::UnknownRepo)),
    ];
    for (fact, repo, expected) in table {
        assert_eq!(verdict(&fact, repo.as_ref(), HERE), expected, "{fact:?} on {repo:?}");
    }
}

#[test]
fn another_host_changes_nothing_before_the_did_document_is_asked() {
    let repo = known();
    for fact in [Fact::Commit(next()), sync(4, 4), SWITCHED_ON, Fact::Identity, Fact::Unusable(Desync::TooBig, None)] {
        assert_eq!(verdict(&fact, Some(&repo), ELSEWHERE), Verdict::Claim);
    }
    assert_eq!(verdict(&SWITCHED_OFF, Some(&repo), ELSEWHERE), Verdict::Ignore(Ignored::OtherHost));
}

/// A database with two hosts and one repo on the first, verified at rev 3.
struct Index {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Index {
    async fn new() -> Index {
        let folder = tempfile::tempdir().expect("a folder");
        let filter = CollectionFilter::parse("io.atcr.*").expect("a filter");
        let config = StoreConfig { path: folder.path().join("test.db"), filter };
        let store = Store::open(&config, CancellationToken::new()).expect("a database");
        for name in ["here.example.com", "elsewhere.example.com"] {
            store.request_crawl(&Host::parse(name, HostPolicy::PublicOnly).expect("a host")).await.expect("accepted");
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
        self.write(move |tx| ingest(tx, from, &events, Some(7))).await.verdicts
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
        self.store.list_repos_by_collection(vec![pattern], RepoId(0), 10).await.expect("listed").len()
    }
}

fn put(collection: &str, rkey: &str) -> RecordChange {
    RecordChange::Put { collection: collection.to_owned(), rkey: rkey.to_owned(), cid: cid(9), json: "{}".to_owned() }
}

fn remove(collection: &str, rkey: &str) -> RecordChange {
    RecordChange::Remove { collection: collection.to_owned(), rkey: rkey.to_owned() }
}

fn commit(at: u32, changes: Vec<RecordChange>) -> Fact {
    let (at_byte, before) = (at as u8, at as u8 - 1);
    Fact::Commit(CommitFact {
        rev: rev(at),
        since: Some(rev(at - 1)),
        head: cid(at_byte.wrapping_mul(10)),
        prev_data: Some(cid(before)),
        data: cid(at_byte),
        changes,
    })
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
    assert_eq!(verdicts, [Verdict::Desync(Desync::SinceMismatch), Verdict::Hold, Verdict::Hold]);
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
    let ingested = index.write(move |tx| ingest_held(tx, HERE, RepoId(1), &events, Some(4))).await;
    assert_eq!(ingested.verdicts, [Verdict::Apply, Verdict::Apply, Verdict::Desync(Desync::SinceMismatch)]);
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
async fn a_switched_off_account_keeps_its_rows_hidden_and_a_deleted_one_loses_them() {
    let index = Index::new().await;
    index.take_in(HERE, vec![commit(4, vec![put("io.atcr.a", "x")]), SWITCHED_OFF]).await;
    assert_eq!((index.listed("io.atcr.a").await, index.paths().await.len()), (0, 1));
    index.take_in(ELSEWHERE, vec![SWITCHED_ON]).await;
    assert_eq!(index.listed("io.atcr.a").await, 0, "another host has no say");
    index.take_in(HERE, vec![SWITCHED_ON]).await;
    assert_eq!(index.listed("io.atcr.a").await, 1);
    assert!(index.repo().await.busy, "and it is fetched again");
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
        index.write(move |tx| list_page(tx, HERE, host_job, &[row], Some("next"))).await.changed
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
