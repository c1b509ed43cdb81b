//! Slow requests in the log.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::poll;

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

    // All readers are busy, until nobody holds the gate.
    let (gate, busy) = mpsc::channel::<()>();
    let busy = Arc::new(Mutex::new(busy));
    let reads = (0..4).map(|_| {
        let busy = busy.clone();
        world.store.read(move |_| {
            let _ = busy.lock().unwrap().recv();
            Ok(())
        })
    });
    let mut reads = Box::pin(join_all(reads));
    assert!(poll!(&mut reads).is_pending(), "polled once, they have their turns");
    let mut query = Box::pin(world.query(asked));
    tokio::time::timeout(Duration::from_millis(600), &mut query).await.expect_err("no reader is free");
    drop(gate);
    let (answer, others) = tokio::join!(query, reads);
    assert_eq!(answer.dids().len(), 1);
    assert!(others.iter().all(Result::is_ok));
    let lines = log.lines();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&line["level"], &line["message"]), (&json!("WARN"), &json!("a request took long")), "{line}");
    assert_eq!(line["asked"], format!("/xrpc/com.atproto.sync.{asked}"), "{line}");
    assert!(line["reason"].as_str().unwrap().starts_with("waiting for a reader"), "{line}");
    assert!(
        line["waiting_ms"].as_u64() >= Some(500) && line["took_ms"].as_u64() >= line["waiting_ms"].as_u64(),
        "{line}"
    );
    assert_eq!((&line["status"], &line["reads"], &line["left_out"]), (&json!(200), &json!(1), &json!(0)), "{line}");
}
