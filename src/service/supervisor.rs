//! What a supervisor that speaks sd_notify is told: that signpost runs, that it stops, and that it is alive.
//! Alive is the writer thread: when it hangs, everything else may look well and nothing is taken in any more.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::UnixDatagram;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::store::{Durability, Store, StoreError};

/// Whoever started the process and wants to hear of it; perhaps nobody.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// A supervisor that has not heard that signpost is alive for this long ends it.
    patience: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`): see sd_notify(3). One that cannot be
    /// reached is logged and left alone.
    pub(super) fn of(variable: impl Fn(&str) -> Option<OsString>) -> Supervisor {
        let Some(address) = variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Supervisor::default();
        };
        let socket = connect(&address).with_context(|| format!("NOTIFY_SOCKET {}", address.display()));
        match socket {
            Ok(socket) => Supervisor { socket: Some(socket), patience: patience(variable) },
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the supervisor that NOTIFY_SOCKET names cannot be reached"
                );
                Supervisor::default()
            }
        }
    }

    /// The service works.
    pub(super) async fn ready(&self) {
        self.tell("READY=1").await;
    }

    /// The service drains.
    pub(super) async fn stopping(&self) {
        self.tell("STOPPING=1").await;
    }

    /// Until `stop`, says that the process is alive each time that the writer has answered.
    pub(super) async fn watch(&self, store: &Store, stop: &CancellationToken) {
        if let Some(patience) = self.patience {
            stop.run_until_cancelled(self.watch_writer(store, patience)).await;
        }
        stop.cancelled().await;
    }

    /// Ends when the writer has.
    async fn watch_writer(&self, store: &Store, patience: Duration) {
        let mut turns = tokio::time::interval(patience / 4);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let mut answer = std::pin::pin!(store.write(Durability::Replayable, |_| Ok(())));
            let answered = match tokio::time::timeout(patience / 2, &mut answer).await {
                Ok(answered) => answered,
                Err(_) => {
                    tracing::error!(
                        "the database writer hangs: when it does so for {patience:?}, the supervisor is to end this process"
                    );
                    answer.await
                }
            };
            match answered {
                Err(StoreError::Closed) => return,
                // It cannot write, perhaps, but it answers.
                Ok(()) | Err(_) => self.tell("WATCHDOG=1").await,
            }
        }
    }

    async fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes()).await
        {
            tracing::warn!(%error, state, "the supervisor was not told");
        }
    }
}

fn connect(address: &OsStr) -> std::io::Result<UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.connect_addr(&socket_addr(address)?)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// A path, or behind an @ a name outside the file system.
fn socket_addr(address: &OsStr) -> std::io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_bytes().strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    SocketAddr::from_pathname(address)
}

fn patience(variable: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
    let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|micros| is_for_us && *micros > 0)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tempfile::TempDir;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(400);
    const DEADLINE: Duration = Duration::from_secs(30);

    async fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let len = tokio::time::timeout(DEADLINE, socket.recv(&mut bytes)).await.expect("in time").expect("received");
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    fn environment<'a>(values: &'a [(&str, String)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |wanted| values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.into())
    }

    #[tokio::test]
    async fn a_hanging_writer_is_not_called_alive_until_it_answers_again() {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("binds");
        let values = [
            ("NOTIFY_SOCKET", path.to_str().expect("UTF-8").to_owned()),
            ("WATCHDOG_USEC", PATIENCE.as_micros().to_string()),
            ("WATCHDOG_PID", std::process::id().to_string()),
        ];
        let supervisor = Supervisor::of(environment(&values));
        let config = crate::config::StoreConfig {
            path: directory.path().join("signpost.db"),
            filter: "io.atcr.*".parse().expect("valid"),
            limits: crate::config::Limits::default(),
        };
        let store = Store::open(&config, CancellationToken::new()).expect("opens");
        let stop = CancellationToken::new();
        let watch = tokio::spawn({
            let (store, stop) = (store.clone(), stop.clone());
            async move { supervisor.watch(&store, &stop).await }
        });
        assert_eq!(heard(&socket).await, "WATCHDOG=1");
        assert_eq!(heard(&socket).await, "WATCHDOG=1");

        let (release, released) = mpsc::channel::<()>();
        let (hangs, is_hanging) = tokio::sync::oneshot::channel();
        let hanging = tokio::spawn({
            let store = store.clone();
            async move {
                store
                    .write(Durability::Replayable, move |_| {
                        let _ = hangs.send(());
                        let _ = released.recv();
                        Ok(())
                    })
                    .await
            }
        });
        is_hanging.await.expect("the job has begun");
        // What was answered just before may still be told.
        while socket.try_recv(&mut [0; 64]).is_ok() {}
        let _ = tokio::time::timeout(PATIENCE, socket.recv(&mut [0; 64])).await;
        let silence = tokio::time::timeout(2 * PATIENCE, socket.recv(&mut [0; 64])).await;
        assert!(silence.is_err(), "called alive while it hung");

        drop(release);
        hanging.await.expect("no panic").expect("committed");
        assert_eq!(heard(&socket).await, "WATCHDOG=1");
        stop.cancel();
        watch.await.expect("ends when it is told to");
    }

    #[tokio::test]
    async fn nobody_is_told_without_a_socket_and_another_process_is_not_watched() {
        assert!(Supervisor::of(|_| None).socket.is_none());
        let missing = [("NOTIFY_SOCKET", "/nowhere/notify".to_owned())];
        assert!(Supervisor::of(environment(&missing)).socket.is_none());

        for (pid, micros, expected) in [
            (std::process::id(), "3000000", Some(Duration::from_secs(3))),
            (std::process::id() + 1, "3000000", None),
            (std::process::id(), "0", None),
            (std::process::id(), "soon", None),
        ] {
            let values = [("WATCHDOG_PID", pid.to_string()), ("WATCHDOG_USEC", micros.to_owned())];
            assert_eq!(patience(environment(&values)), expected, "{pid} {micros}");
        }
    }
}
