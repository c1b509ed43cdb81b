//! Faults that can be switched on, each counted when it fires, so that a test can tell "survived" from "never happened".

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::watch;

use crate::damage::Damage;
use crate::wait::until;

/// Something that a host does wrong (or that is legal and rare).
///
/// `method` is a lexicon id such as `com.atproto.sync.getRepo`, `did.json` for a did:web document, or `plc` for the
/// PLC directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Answers with this HTTP status; on subscribeRepos it refuses the WebSocket.
    Status {
        /// The method.
        method: &'static str,
        /// The HTTP status, 200 included.
        code: u16,
    },
    /// Answers with an XRPC error.
    Refusal {
        /// The method.
        method: &'static str,
        /// The HTTP status.
        status: u16,
        /// The error's name.
        error: &'static str,
    },
    /// Answers 429 with Retry-After in seconds.
    RateLimited {
        /// The method.
        method: &'static str,
        /// The Retry-After header, in seconds.
        retry_after: u64,
    },
    /// Takes the request and never answers.
    Hang {
        /// The method.
        method: &'static str,
    },
    /// Makes the right answer at once, and gives it when the fault is cleared.
    Stall {
        /// The method.
        method: &'static str,
    },
    /// Redirects to `/redirected` on the same host, where requests are counted as `redirected`.
    Redirect {
        /// The method.
        method: &'static str,
    },
    /// Gives the right answer at five bytes a second.
    Drip {
        /// The method.
        method: &'static str,
    },
    /// Gives half of the right answer and then breaks the connection.
    CutOff {
        /// The method.
        method: &'static str,
    },
    /// Answers 200 with zeros without end.
    Endless {
        /// The method.
        method: &'static str,
    },
    /// Answers 200 with an HTML page.
    Html {
        /// The method.
        method: &'static str,
    },
    /// Answers 200 with these bytes.
    Body {
        /// The method.
        method: &'static str,
        /// What the answer holds.
        body: Bytes,
        /// What Content-Encoding says of it, if there is one.
        encoding: Option<&'static str>,
    },
    /// Gives the right answer, and these bytes behind it.
    Tail {
        /// The method.
        method: &'static str,
        /// What follows the right answer.
        tail: Bytes,
    },
    /// getRepo: the CAR is damaged.
    Repo(Damage),
    /// getRecord: the CAR is damaged.
    Proof(Damage),
    /// getBlocks: the CAR is damaged.
    Blocks(Damage),
    /// getRepo: answers with the repo as it was when the fault was set.
    StaleRepo,
    /// listRepos: puts a row without a valid DID into the page.
    NonsenseRow,
    /// listRepos: gives back the cursor that was asked for (or the first one again).
    RepeatingCursor,
    /// listRepos: the last page has an empty string as its cursor.
    EmptyCursor,
    /// listRepos: the last page has no cursor.
    NoCursor,
    /// subscribeRepos: accepts the WebSocket and drops the connection.
    AcceptThenClose,
    /// subscribeRepos: accepts the WebSocket and sends nothing, pongs included.
    SilentSocket,
    /// subscribeRepos: a cursor beyond the last event is taken as it is: nothing comes until the numbering is there.
    NoFutureCursor,
    /// subscribeRepos: a cursor beyond the last event is answered with what comes next.
    LiveFromFutureCursor,
    /// subscribeRepos: any cursor is answered with everything that the host has, from its first event on.
    ReplaysAll,
    /// subscribeRepos: events that are sent at once come in the wrong order.
    ReversedEvents,
    /// The event is numbered and never sent, not in a replay either.
    DroppedEvent,
    /// The event is sent twice.
    DuplicatedEvent,
    /// The commit event's CAR is damaged, in replays too.
    Event(Damage),
    /// The event is as old hosts make it: no prevData, no ops[].prev; a #sync is not made at all.
    Legacy,
    /// The commit event names a rev that is no TID.
    BadRev,
    /// The event says that it was written an hour earlier than it was.
    HourOld,
    /// The commit event has exactly so many bytes, by a field that nobody knows.
    FrameOf(usize),
    /// The commit event says tooBig and carries nothing but the commit.
    TooBig,
    /// The commit event names another since.
    WrongSince,
    /// The commit event names another prevData.
    WrongPrevData,
    /// The commit event does not tell its first op, so that its tree does not invert to prevData.
    MissingOp,
    /// Before the event comes a frame that is not CBOR.
    GarbageFrame,
    /// Before the event comes a text frame.
    TextFrame,
    /// Before the event comes one of a type that nobody knows.
    UnknownType,
    /// Before the event comes an #info.
    Info,
    /// Instead of the event comes an error frame (`ConsumerTooSlow`), and the connection closes.
    ErrorFrame,
    /// Before the event comes a frame of 6,000,000 bytes.
    OversizedFrame,
    /// Instead of the event the connection breaks.
    Disconnect,
}

/// How often a fault fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultScope {
    /// The next n times.
    Next(usize),
    /// Until it is cleared.
    Always,
}

struct Rule {
    fault: Fault,
    did: Option<String>,
    left: Option<usize>,
}

/// The faults that are on, and how often each has fired.
pub(crate) struct Faults {
    rules: Mutex<Vec<Rule>>,
    fired: watch::Sender<HashMap<Fault, usize>>,
    cleared: watch::Sender<()>,
}

impl Faults {
    pub(crate) fn new() -> Faults {
        Faults { rules: Mutex::default(), fired: watch::Sender::default(), cleared: watch::Sender::default() }
    }

    pub(crate) fn set(&self, fault: Fault, did: Option<&str>, scope: FaultScope) {
        let left = match scope {
            FaultScope::Next(n) => Some(n),
            FaultScope::Always => None,
        };
        self.rules.lock().expect(UNPOISONED).push(Rule { fault, did: did.map(str::to_owned), left });
    }

    pub(crate) fn clear(&self, fault: &Fault) {
        self.rules.lock().expect(UNPOISONED).retain(|rule| rule.fault != *fault);
        self.cleared.send_replace(());
    }

    /// Waits, without a deadline, until the fault is cleared.
    pub(crate) async fn cleared(&self, fault: &Fault) {
        let mut cleared = self.cleared.subscribe();
        while self.rules.lock().expect(UNPOISONED).iter().any(|rule| rule.fault == *fault) {
            if cleared.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the fault is on for this account (a host-wide one is on for all); counts it if so.
    pub(crate) fn fires(&self, fault: &Fault, did: Option<&str>) -> bool {
        self.first(did, |set| (set == fault).then_some(())).is_some()
    }

    /// What `pick` makes of the first fault that is on and that it picks; counts that fault.
    pub(crate) fn first<T>(&self, did: Option<&str>, mut pick: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        let mut rules = self.rules.lock().expect(UNPOISONED);
        let (rule, picked) = rules
            .iter_mut()
            .filter(|rule| rule.left != Some(0) && (rule.did.is_none() || rule.did.as_deref() == did))
            .find_map(|rule| pick(&rule.fault).map(|picked| (rule, picked)))?;
        rule.left = rule.left.map(|left| left - 1);
        let fault = rule.fault.clone();
        self.fired.send_modify(|fired| *fired.entry(fault).or_default() += 1);
        Some(picked)
    }

    pub(crate) fn fired(&self, fault: &Fault) -> usize {
        self.fired.borrow().get(fault).copied().unwrap_or(0)
    }

    pub(crate) async fn wait_fired(&self, fault: &Fault, times: usize) {
        let count = |fired: &HashMap<Fault, usize>| fired.get(fault).copied().unwrap_or(0);
        until(&self.fired, |fired| count(fired) >= times, || format!("{fault:?} fires {times} times")).await;
    }
}

pub(crate) const UNPOISONED: &str = "no thread panics while it holds this lock";
