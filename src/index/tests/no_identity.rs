//! Repos that have nothing to index, whose identity nobody has asked for.

use super::*;
use crate::store::RepoJob;

/// The commit that continues [`known`], of a repo without an identity.
fn unsigned(changes: Vec<RecordChange>) -> Fact {
    unsigned_at(4, changes)
}

fn unsigned_at(at: u32, changes: Vec<RecordChange>) -> Fact {
    let Fact::Commit(CommitFact { proof: Ok(proven), rev, since, prev_data }) = commit(at, changes) else {
        unreachable!("a commit")
    };
    Fact::Commit(CommitFact { proof: Ok(ProvenCommit { author: Author::NotAsked, ..proven }), rev, since, prev_data })
}

fn unsigned_sync(data: u8) -> Fact {
    let synced = SyncedCommit { head: cid(90), data: cid(data), author: Author::NotAsked };
    Fact::Sync { rev: Some(rev(4)), commit: Ok(synced) }
}

fn bad_signature() -> Fact {
    Fact::Commit(CommitFact { proof: Err(Flaw::BadSignature), ..next() })
}

fn a_match() -> Vec<RecordChange> {
    vec![put("io.atcr.a", "x")]
}

#[test]
fn its_chain_is_followed_until_something_is_to_be_indexed() {
    let keyed = || RepoState { has_key: true, ..known() };
    let busy = || RepoState { busy: true, ..known() };
    let unfetched = || RepoState { verified: None, ..known() };
    let old_host = |proof, changes| match legacy(Some(proof)) {
        Fact::Commit(CommitFact { proof: Ok(proven), rev, since, prev_data }) => {
            let proven = ProvenCommit { author: Author::NotAsked, changes, ..proven };
            Fact::Commit(CommitFact { proof: Ok(proven), rev, since, prev_data })
        }
        _ => unreachable!("a commit"),
    };
    let table = [
        (unsigned(vec![]), known(), Verdict::Apply),
        (unsigned(a_match()), known(), Verdict::Identify),
        (unsigned(vec![remove("io.atcr.a", "x")]), known(), Verdict::Identify),
        // Read before the identity was known.
        (unsigned(vec![]), keyed(), Verdict::Hold),
        (unsigned(a_match()), keyed(), Verdict::Hold),
        (unsigned(a_match()), busy(), Verdict::Hold),
        (unsigned(a_match()), unfetched(), Verdict::Desync(Desync::NeverFetched)),
        (old_host(LegacyProof::Whole, vec![]), known(), Verdict::Apply),
        (old_host(LegacyProof::OpsOnly, vec![]), known(), Verdict::ApplyUnproven),
        (old_host(LegacyProof::None, vec![]), known(), Verdict::Desync(Desync::LegacyOps)),
        (old_host(LegacyProof::Whole, a_match()), known(), Verdict::Identify),
        (unsigned_sync(3), known(), Verdict::Apply),
        (unsigned_sync(4), known(), Verdict::Desync(Desync::SyncData)),
        (unsigned_sync(3), keyed(), Verdict::Hold),
        (Fact::Identity, known(), Verdict::Ignore(Ignored::NoIdentity)),
        (Fact::Identity, keyed(), Verdict::Apply),
        // The job may have read the document before it changed.
        (Fact::Identity, busy(), Verdict::Apply),
        (Fact::Identity, unfetched(), Verdict::Apply),
        (SWITCHED_OFF, known(), Verdict::Apply),
    ];
    for (fact, repo, expected) in table {
        assert_eq!(verdict(&fact, Some(&repo), HERE, NOW), expected, "{fact:?} on {repo:?}");
    }
    for at in [2, 5] {
        let verdict = verdict(&unsigned_at(at, a_match()), Some(&known()), HERE, NOW);
        assert_ne!(verdict, Verdict::Identify, "only what continues the chain is worth a look-up");
    }
    for fact in [unsigned(vec![]), unsigned(a_match()), unsigned_sync(3)] {
        assert_eq!(
            verdict(&fact, Some(&known()), ELSEWHERE, NOW),
            Verdict::Claim,
            "a second host is asked after at once"
        );
    }
}

impl Index {
    async fn claim(&self, host: HostId) -> Option<RepoJob> {
        self.write(move |tx| tx.claim_repo_jobs(host, 9)).await.pop()
    }

    /// The held events, as they are once they were verified with an identity.
    async fn take_in_held(&self, facts: Vec<Fact>) -> Vec<Verdict> {
        let events: Vec<Event> =
            (1..).zip(facts).map(|(seq, fact)| Event { did: did(), seq, fact, frame: Bytes::new() }).collect();
        let last = events.last().map(|event| event.seq);
        self.write(move |tx| ingest_held(tx, HERE, RepoId(1), events, last)).await.verdicts
    }

    async fn key(&self) -> Option<String> {
        self.write(|tx| tx.signing_key(RepoId(1))).await
    }
}

#[tokio::test]
async fn its_first_matching_op_is_indexed_when_the_identity_is_known_and_not_before() {
    let index = Index::new().await;
    assert_eq!(index.take_in(HERE, vec![unsigned(vec![])]).await, [Verdict::Apply]);
    let verdicts = index.take_in(HERE, vec![unsigned_at(5, a_match()), unsigned_at(6, vec![])]).await;
    assert_eq!(verdicts, [Verdict::Identify, Verdict::Hold]);
    assert_eq!((index.paths().await.len(), index.repo().await.verified), (0, Some((rev(4), cid(4)))));
    let job = index.claim(HERE).await.expect("a job");
    assert_eq!(job.kind, JobKind::Identity, "not a fetch");
    assert!(index.claim(HERE).await.is_none());
    index.write(move |tx| identity_resolved(tx, &job, "did:key:a")).await;
    assert_eq!(index.write(|tx| tx.repos_with_ready_events()).await, [(RepoId(1), HERE)]);
    assert_eq!(index.take_in_held(vec![commit(5, a_match()), commit(6, vec![])]).await, [Verdict::Apply; 2]);
    assert_eq!((index.paths().await.len(), index.repo().await.verified), (1, Some((rev(6), cid(6)))));
    let repo = index.repo().await;
    assert!(repo.has_key && !repo.busy);
}

#[tokio::test]
async fn held_events_that_were_read_without_an_identity_wait_for_it() {
    let index = Index::new().await;
    index.write(|tx| tx.hold_event(RepoId(1), HERE, 2, b"frame")).await;
    let verdicts = index.take_in_held(vec![unsigned(vec![]), unsigned_at(5, a_match()), unsigned_at(6, vec![])]).await;
    assert_eq!(verdicts, [Verdict::Apply, Verdict::Identify]);
    assert_eq!(index.write(|tx| tx.held_events(RepoId(1), HERE)).await.len(), 1, "the one that waits is kept");
    assert_eq!(index.claim(HERE).await.expect("a job").kind, JobKind::Identity);
}

#[tokio::test]
async fn a_matching_op_that_the_account_did_not_sign_leaves_the_repo_without_an_identity() {
    let index = Index::new().await;
    index.take_in(HERE, vec![unsigned(a_match())]).await;
    let job = index.claim(HERE).await.expect("a job");
    index.write(move |tx| identity_resolved(tx, &job, "did:key:a")).await;
    let verdicts = index.take_in_held(vec![bad_signature()]).await;
    assert_eq!(verdicts, [Verdict::Desync(Desync::Flaw(Flaw::BadSignature))]);
    assert_eq!((index.key().await, index.paths().await.len()), (None, 0), "what was known of it was nobody's word");
    assert_eq!(index.claim(HERE).await.expect("a job").kind, JobKind::Repo);
}

#[tokio::test]
async fn a_repo_with_records_keeps_its_identity_when_a_held_commit_is_forged() {
    let index = Index::new().await;
    index.write(|tx| tx.set_signing_key(RepoId(1), "did:key:a")).await;
    index.take_in(HERE, vec![commit(4, a_match())]).await;
    let forged = Fact::Commit(CommitFact {
        rev: Some(rev(5)),
        since: Some(rev(4)),
        prev_data: Some(cid(4)),
        proof: Err(Flaw::BadSignature),
    });
    index.take_in_held(vec![forged]).await;
    assert_eq!((index.key().await.is_some(), index.paths().await.len()), (true, 1));
}

#[tokio::test]
async fn a_host_that_announces_a_match_for_an_account_of_another_gets_nothing_indexed() {
    for (named, is_active) in [("elsewhere.example.com", true), ("unknown.example.com", false)] {
        let index = Index::new().await;
        index.take_in(HERE, vec![unsigned(a_match())]).await;
        let job = index.claim(HERE).await.expect("a job");
        let named = Host::parse(named, HostPolicy::PublicOnly).expect("a host");
        index.write(move |tx| not_at_this_host(tx, &job, Some(&named))).await;
        assert_eq!(index.write(|tx| tx.held_events(RepoId(1), HERE)).await.len(), 0);
        assert_eq!((index.key().await, index.paths().await.len()), (None, 0));
        assert_eq!(index.repo().await.active, is_active, "hidden where nobody can be asked");
        assert_eq!(index.claim(ELSEWHERE).await.is_some(), is_active, "the host that is named is asked");
    }
}

#[tokio::test]
async fn an_identity_that_nothing_waits_for_is_not_kept() {
    let index = Index::new().await;
    index.take_in(HERE, vec![Fact::Identity]).await;
    assert!(index.claim(HERE).await.is_none(), "it asks for nothing");
    index.write(|tx| tx.queue_repo(HERE, RepoId(1), JobKind::Identity, Urgency::First)).await;
    let job = index.claim(HERE).await.expect("a job");
    index.write(move |tx| identity_resolved(tx, &job, "did:key:a")).await;
    assert_eq!(index.key().await, None, "no commit was verified with it");
}

#[tokio::test]
async fn a_lost_chain_without_an_identity_is_an_ordinary_fetch() {
    for lost in [unsigned_at(6, vec![]), unsigned_sync(9), flawed(Flaw::BadOps)] {
        let index = Index::new().await;
        index.take_in(HERE, vec![lost]).await;
        assert_eq!(index.claim(HERE).await.expect("a job").kind, JobKind::Repo);
    }
}

#[tokio::test]
async fn more_than_can_wait_for_an_identity_is_fetched_instead() {
    let index = Index::new().await;
    index.take_in(HERE, vec![unsigned(a_match())]).await;
    let job = index.claim(HERE).await.expect("a job");
    index.take_in(HERE, (5..70).map(|at| unsigned_at(at, vec![])).collect()).await;
    assert_eq!(index.write(|tx| tx.held_events(RepoId(1), HERE)).await.len(), 0);
    index.write(move |tx| identity_resolved(tx, &job, "did:key:a")).await;
    assert_eq!(index.claim(HERE).await.expect("a job").kind, JobKind::Repo);
    assert_eq!(index.key().await, None);
}

#[tokio::test]
async fn without_an_identity_a_status_of_its_host_counts_as_before() {
    let index = Index::new().await;
    index.take_in(HERE, vec![unsigned(vec![]), SWITCHED_OFF]).await;
    assert!(!index.repo().await.active);
    let deleted = Fact::Account { active: false, status: Some(Status::Deleted) };
    index.take_in(HERE, vec![deleted]).await;
    let repo = index.repo().await;
    assert_eq!((repo.verified, repo.status), (None, Some(Status::Deleted)));
}
