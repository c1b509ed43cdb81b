//! What a scrape sees.

use super::*;

#[test]
fn every_name_begins_with_signpost_and_every_counter_ends_in_total() {
    let text = Metrics::new().render(&Sizes::default());
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.len() >= 8, "{text}");
    assert!(families.iter().all(|family| family.starts_with("signpost_")), "{text}");
    assert!(text.contains("signpost_records_written_total 0\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn counts_show_under_their_labels() {
    let metrics = Metrics::new();
    metrics.event(EventKind::Commit, "applied");
    metrics.clone().event(EventKind::Commit, "applied");
    metrics.crawl_job(JobKind::Repo, "timeout");
    metrics.records_skipped("too_large", 3);
    metrics.request("com.atproto.sync.listRepos", 200, Duration::from_millis(2));
    let text = metrics.render(&Sizes::default());
    for line in [
        "signpost_events_total{kind=\"commit\",outcome=\"applied\"} 2",
        "signpost_crawl_jobs_total{kind=\"repo\",outcome=\"timeout\"} 1",
        "signpost_records_skipped_total{reason=\"too_large\"} 3",
        "signpost_http_requests_total{method=\"com.atproto.sync.listRepos\",status=\"200\"} 1",
        "signpost_http_request_duration_seconds_count{method=\"com.atproto.sync.listRepos\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn sizes_are_those_of_the_scrape_and_leave_nothing_behind() {
    let metrics = Metrics::new();
    let sizes = Sizes { queue: vec![("pending".to_owned(), 7)], records: 9, ..Sizes::default() };
    let text = metrics.render(&sizes);
    assert!(text.contains("signpost_queue_jobs{status=\"pending\"} 7\n"), "{text}");
    assert!(text.contains("signpost_records 9\n"), "{text}");
    assert!(!metrics.render(&Sizes::default()).contains("pending"));
}
