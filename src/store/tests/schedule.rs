//! Clocks that are set while signpost runs, or between two runs.

use super::*;
use crate::store::direct::Direct;

const HOUR: i64 = 3_600_000;
const YEAR: i64 = 365 * 24 * HOUR;
/// Some day.
const NOON: i64 = 1_800_000_000_000;

/// A host that is subscribed until in 12 hours, a repo of it that failed and waits for an hour, and one that is being fetched.
fn world(directory: &Path) -> Direct {
    let mut db = Direct::open(&config(directory)).unwrap();
    db.write(NOON, |tx| {
        let host = tx.accept_host(&Host::parse("hold01.example.com", HostPolicy::PublicOnly).unwrap())?;
        tx.host_reached(host)?;
        let job = tx.claim_host_jobs(1)?.remove(0);
        tx.finish_host_job(job.job_id, Duration::from_secs(12 * 3600))?;
        for number in 1..=2 {
            let did = Did::parse(&format!("did:web:repo{number}.example.com")).unwrap();
            let repo = tx.insert_repo(&did, host, true, None)?;
            tx.queue_repo(host, repo, JobKind::Repo, Urgency::InTurn)?;
        }
        let failing = tx.claim_repo_jobs(host, 1)?.remove(0);
        tx.fail_job(failing.job_id, "no", Duration::from_secs(3600))?;
        tx.claim_repo_jobs(host, 1)?;
        Ok(())
    });
    db
}

/// When the next repo's job and the next host's are due.
fn due(db: &mut Direct, now: i64) -> (Option<i64>, Option<i64>) {
    db.read(now, |tx| Ok((tx.due_repo_jobs()?.next_at, tx.next_host_job_at()?)))
}

#[test]
fn a_clock_that_went_back_between_two_runs_takes_the_plan_along() {
    for step in [HOUR, 10 * 24 * HOUR, YEAR] {
        let directory = TempDir::new().unwrap();
        let mut db = world(directory.path());
        assert_eq!(due(&mut db, NOON), (Some(NOON + HOUR), Some(NOON + 12 * HOUR)));
        let now = NOON - step;
        assert_eq!(db.follow_clock_back(now), Some(step));
        assert_eq!(due(&mut db, now), (Some(now + HOUR), Some(now + 12 * HOUR)), "as if it had not been set");
        assert_eq!(db.follow_clock_back(now), None, "once");
        // A host that asks again is woken: the last time does not lie ahead.
        db.write(now + 2 * HOUR, |tx| {
            tx.accept_host(&Host::parse("hold01.example.com", HostPolicy::PublicOnly).unwrap())
        });
        let woken = db.read(now + 2 * HOUR, |tx| tx.due_repo_jobs());
        assert_eq!(woken.hosts.len(), 1);
    }
}

#[test]
fn a_clock_that_went_on_or_forward_leaves_the_plan() {
    let directory = TempDir::new().unwrap();
    let mut db = world(directory.path());
    for now in [NOON, NOON + HOUR, NOON + YEAR] {
        assert_eq!(db.follow_clock_back(now), None);
    }
    // Everything is due after a year, and the claim of a worker that is gone is given back.
    db.write(NOON + YEAR, |tx| tx.renew_leases(&[]));
    let due = db.write(NOON + YEAR, |tx| tx.claim_repo_jobs(HostId(1), 9));
    assert_eq!(due.len(), 2);
}

#[tokio::test]
async fn a_start_sets_the_plan_right() {
    let directory = TempDir::new().unwrap();
    let far = crate::clock::now_millis() + YEAR;
    let world = World::open(directory);
    fill(&world.store).await;
    let ahead = world.store.write(Durability::Full, move |tx| {
        tx.db.execute("UPDATE crawl_queue SET created_at = ?1, next_attempt_at = ?1 + 60000", [far])
    });
    assert_eq!(ahead.await.unwrap(), 1);
    world.store.close().await;
    let World { directory, store, .. } = world;
    drop(store);
    let world = World::open(directory);
    let next_at = world.store.read(|tx| Ok(tx.next_host_job_at()?.unwrap() - tx.now())).await.unwrap();
    assert!((50_000..=60_000).contains(&next_at), "in {next_at} ms");
}
