//! Slow requests in the log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::cli::logging;

use super::*;

/// The log of this thread, as JSON.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap().clone();
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

#[tokio::test]
async fn a_slow_request_says_what_was_asked_and_where_the_time_went() {
    use tracing_subscriber::util::SubscriberInitExt;

    let log = Log::default();
    let writer = log.clone();
    let _ends = logging::json(logging::default_levels(), move || writer.clone()).set_default();
    let world = World::new("io.atcr.*");
    world.repos(2, &[CAPTAIN]).await;
    let asked = "listRepos?limit=1";
    assert_eq!(world.query(asked).await.dids().len(), 1);
    assert_eq!(log.lines(), Vec::<Value>::new(), "it was quick");

    // All readers are busy for a while.
    let (started, busy) = (Arc::new(tokio::sync::Barrier::new(2)), Duration::from_millis(700));
    let reading = world.store.clone();
    let begun = started.clone();
    let others = tokio::spawn(async move {
        let reads = (0..4).map(|_| reading.read(move |_| Ok(std::thread::sleep(busy))));
        let mut reads = Box::pin(futures_util::future::join_all(reads));
        // Polled once, they have their turns.
        assert!(futures_util::poll!(&mut reads).is_pending());
        begun.wait().await;
        reads.await
    });
    started.wait().await;
    assert_eq!(world.query(asked).await.dids().len(), 1);
    others.await.unwrap();
    let lines = log.lines();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&line["level"], &line["message"]), (&json!("WARN"), &json!("a request took long")), "{line}");
    assert_eq!(line["asked"], format!("/xrpc/com.atproto.sync.{asked}"), "{line}");
    assert!(line["reason"].as_str().unwrap().starts_with("waiting for a reader"), "{line}");
    assert!(
        line["waiting_ms"].as_u64() >= Some(400) && line["took_ms"].as_u64() >= line["waiting_ms"].as_u64(),
        "{line}"
    );
    assert_eq!((&line["status"], &line["reads"], &line["left_out"]), (&json!(200), &json!(1), &json!(0)), "{line}");
}
