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

/// Every metric with its type, its labels and what it means, as the document has it.
fn table() -> String {
    let metrics = Metrics::new();
    metrics.event(EventKind::Commit, "applied");
    metrics.bad_frame("text");
    metrics.firehose_connect("connected");
    metrics.crawl_job(JobKind::Repo, "done");
    metrics.repo_fetched("memory");
    metrics.repo_taken("whole");
    metrics.repo_call("getRepo", 1);
    metrics.repo_rejected("car_varint");
    metrics.records_skipped("too_large", 1);
    metrics.request_crawl("accepted");
    metrics.admin_call("done");
    metrics.request("home", 200, Duration::ZERO);
    metrics.connection_closed("evicted");
    let row = || vec![("x".to_owned(), 1)];
    let sizes = Sizes { queue: row(), hosts: row(), repos: row(), disk_free_bytes: Some(1), ..Sizes::default() };
    let text = metrics.render(&sizes);
    let mut rows = Vec::new();
    let mut help = ("", "");
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# HELP ") {
            help = declared.split_once(' ').expect("a name and its meaning");
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) else { continue };
        assert_eq!(name, help.0, "each metric has its help");
        let sample = text.lines().find(|line| !line.starts_with('#') && line.starts_with(name));
        let sample = sample.unwrap_or_else(|| panic!("{name} is not counted in this test"));
        let labels = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let labels: Vec<String> = labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(label, _)| format!("`{label}`"))
            .filter(|label| label != "`le`" && label != "`version`")
            .collect();
        let suffix = if kind == "counter" {
            "_total"
        } else if kind == "info" {
            "_info"
        } else {
            ""
        };
        rows.push(format!("| `{name}{suffix}` | {kind} | {} | {} |", labels.join(" "), help.1.trim_end_matches('.')));
    }
    rows.sort();
    format!("| metric | type | labels | meaning |\n|---|---|---|---|\n{}\n", rows.join("\n"))
}

#[test]
fn the_document_lists_every_metric_as_it_is() {
    const DOCUMENT: &str = include_str!("../../docs/metrics.md");
    let table = table();
    if std::env::var_os("SIGNPOST_WRITE_DOCUMENTS").is_some() {
        let (head, _) = DOCUMENT.split_once("| metric |").expect("there is a table");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        std::fs::write(path, format!("{head}{table}")).expect("it can be written");
        return;
    }
    assert!(
        DOCUMENT.ends_with(&table),
        "write it anew: SIGNPOST_WRITE_DOCUMENTS=1 cargo test --lib document; it is now\n{table}"
    );
}

/// Metrics that the rules and the dashboard ask for.
#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let known = table();
    for text in [include_str!("../../deploy/prometheus/alerts.yml"), include_str!("../../deploy/grafana/signpost.json")]
    {
        let mut asked = 0;
        for (at, _) in text.match_indices("signpost_") {
            let name: String =
                text[at..].chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
            let name = name.trim_end_matches("_bucket");
            assert!(known.contains(&format!("| `{name}` |")), "{name} is no metric");
            asked += 1;
        }
        assert!(asked > 5);
    }
}
