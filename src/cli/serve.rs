//! `signpost serve`: resolves the configuration, starts the log and runs the service until a signal stops it.

use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, allocator, logging};
use crate::config::{Config, Flags};
use crate::service;

/// How long memory that is free again may stay with us.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// Runs the service; returns when it has drained after SIGTERM or SIGINT, or with what stopped it.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let config = Config::resolve(flags, |name| std::env::var_os(name))?;
    logging::start(config.log_format)?;
    allocator::give_memory_back();
    raise_file_limit();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the async runtime does not start")?;
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        stop_on_signals(shutdown.clone())?;
        tokio::spawn(trim_now_and_then());
        service::run(config, shutdown).await
    });
    // A look-up that the system still blocks on must not hold up the exit: the service has drained by now.
    runtime.shutdown_background();
    if outcome.is_ok() {
        tracing::info!("stopped");
    }
    Ok(outcome?)
}

/// Takes a millisecond or few each time.
async fn trim_now_and_then() {
    let mut ticks = tokio::time::interval(TRIM_EVERY);
    loop {
        ticks.tick().await;
        allocator::trim();
    }
}

/// Systems begin with 1024 descriptors for old programs' sake; a firehose and a client cost one each. Where it cannot be raised, what
/// there is must do: connections are refused then, and nothing else happens.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The first signal asks the service to drain; the second ends the process.
fn stop_on_signals(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::info!("{name}: stopping");
        shutdown.cancel();
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!("{name} again: exiting at once");
        std::process::exit(1);
    });
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
