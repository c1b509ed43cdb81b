//! What users wait for, measured on the real PDS: from announcement to list, and from write to list.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::pds::Pds;
use crate::signpost::Signpost;

const CAPTAIN: &str = "io.atcr.hold.captain";

#[test]
fn announced_pds_is_listed_within_two_seconds() {
    let pds = Pds::start();
    let accounts = [pds.account("one"), pds.account("two"), pds.did_web_hold("hold")];
    for account in &accounts {
        account.put(CAPTAIN, "self", json!({ "owner": account.did }));
    }
    let mut samples: Vec<Duration> = (0..5)
        .map(|_| {
            let signpost = Signpost::start();
            let announced = Instant::now();
            signpost.request_crawl(&pds);
            signpost.await_listed(CAPTAIN, &accounts.each_ref());
            announced.elapsed()
        })
        .collect();
    let median = report("requestCrawl to listed, a PDS with three accounts", &mut samples);
    assert!(median < Duration::from_secs(2));
}

#[test]
fn write_is_listed_within_a_second() {
    let pds = Pds::start();
    let hold = pds.did_web_hold("hold");
    hold.put(CAPTAIN, "self", json!({ "owner": hold.did }));
    let signpost = Signpost::start();
    signpost.request_crawl(&pds);
    signpost.await_listed(CAPTAIN, &[&hold]);

    // Created, then deleted, over and over: each write changes what is listed.
    let crew = "io.atcr.hold.crew";
    let mut samples: Vec<Duration> = (0..20)
        .map(|round| {
            let written = Instant::now();
            if round % 2 == 0 {
                hold.put(crew, "member", json!({ "member": hold.did }));
                signpost.await_listed(crew, &[&hold]);
            } else {
                hold.delete(crew, "member");
                signpost.await_listed(crew, &[]);
            }
            written.elapsed()
        })
        .collect();
    let median = report("write to listed, the PDS's own time included", &mut samples);
    assert!(median < Duration::from_secs(1));
}

/// Says it on stderr, past the test harness that shows the output of failed tests only.
fn report(what: &str, samples: &mut [Duration]) -> Duration {
    samples.sort();
    let (count, median, worst) = (samples.len(), samples[samples.len() / 2], samples[samples.len() - 1]);
    let _ = writeln!(std::io::stderr(), "time: {what}: median {median:.0?}, worst of {count} {worst:.0?}");
    median
}
