//! What a test does to a host as a whole, and sees of it: faults, requests, subscribers, its history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::account::Account;
use crate::client::{Answer, post_json};
use crate::damage::Damage;
use crate::fault::{Fault, FaultScope};
use crate::firehose::{Event, History};
use crate::host::{FakeHost, State};
use crate::wait::until;

/// What a host held and sent at some time.
#[derive(Clone)]
pub struct Backup {
    accounts: BTreeMap<String, Arc<Account>>,
    history: History,
}

impl FakeHost {
    /// Switches a fault on.
    pub fn fault(&self, fault: Fault, scope: FaultScope) {
        self.keep_if_stale(&fault);
        self.wire().faults.set(fault, None, scope);
    }

    /// Switches a fault on for one account: for requests with its DID, or for its events.
    pub fn fault_for(&self, did: &str, fault: Fault, scope: FaultScope) {
        self.keep_if_stale(&fault);
        self.wire().faults.set(fault, Some(did), scope);
    }

    /// Switches a fault off, for all accounts.
    pub fn clear(&self, fault: &Fault) {
        self.wire().faults.clear(fault);
    }

    /// How often a fault fired.
    pub fn fired(&self, fault: &Fault) -> usize {
        self.wire().faults.fired(fault)
    }

    /// Waits until a fault has fired so often.
    pub async fn wait_fired(&self, fault: &Fault, times: usize) {
        self.wire().faults.wait_fired(fault, times).await;
    }

    /// How many requests for a method came, faulty answers included; `did.json` counts those for the did:web document.
    pub fn requests(&self, method: &str) -> usize {
        self.wire().requests(method)
    }

    /// How many bytes the bodies of the answers of getRecord, getBlocks or getRepo have had.
    pub fn answered_bytes(&self, method: &str) -> usize {
        self.wire().answered_bytes(method)
    }

    /// Waits until so many requests for a method have come.
    pub async fn wait_requests(&self, method: &str, times: usize) {
        self.wire().wait_requests(method, times).await;
    }

    /// The number of WebSockets that are open now.
    pub fn subscribers(&self) -> usize {
        *self.subscriber_count().borrow()
    }

    /// Waits until exactly so many WebSockets are open.
    pub async fn wait_for_subscribers(&self, count: usize) {
        until(self.subscriber_count(), |now| *now == count, || format!("{count} subscribers")).await;
    }

    /// The seq of the last event, 0 if there was none.
    pub fn latest_seq(&self) -> i64 {
        self.lock().history.last_seq
    }

    /// Lets a listRepos page have at most so many rows, whatever is asked for.
    pub fn set_page_limit(&self, rows: usize) {
        self.lock().page_limit = Some(rows);
    }

    /// Forgets the events up to and including this seq: an earlier cursor gets #info OutdatedCursor.
    pub fn forget_events(&self, up_to: i64) {
        self.lock().history.forget(up_to);
    }

    /// Starts the numbering of events from 1 again and forgets all events, as a host restored from nothing does.
    pub fn reset_sequence(&self) {
        self.lock().history = History::default();
        self.latest().send_replace(0);
    }

    /// Keeps what the host holds and sent until now, for [`FakeHost::restore`].
    pub fn backup(&self) -> Backup {
        let state = self.lock();
        Backup { accounts: state.accounts.clone(), history: state.history.clone() }
    }

    /// Goes back to a backup, events and their numbering included; who is connected hears nothing of it.
    pub fn restore(&self, backup: Backup) {
        let mut state = self.lock();
        let last_seq = backup.history.last_seq;
        (state.accounts, state.history) = (backup.accounts, backup.history);
        self.latest().send_replace(last_seq);
    }

    /// Leaves an account out of listRepos, or no longer does; everything else goes on as before.
    pub fn set_hidden(&self, did: &str, hidden: bool) {
        let state = &mut self.lock().hidden;
        if hidden {
            state.insert(did.to_owned())
        } else {
            state.remove(did)
        };
    }

    /// Lets listRepos name these DIDs too, as active accounts of this host; they have no repo here, and need not exist.
    pub fn list_phantoms(&self, dids: impl IntoIterator<Item = String>) {
        self.lock().phantoms.extend(dids);
    }

    /// Lets the host's clock, and so the revs of its coming commits, be so far ahead.
    pub fn set_clock_ahead(&self, ahead: Duration) {
        self.lock().clock_ahead = ahead;
    }

    /// Sends this frame as the next event, whatever it is.
    pub fn send_frame(&self, frame: Vec<u8>) {
        self.emit(&mut self.lock(), None, |_| frame);
    }

    /// Asks signpost, at this URL, to crawl the host, and gives its answer.
    pub async fn request_crawl(&self, signpost_url: &str) -> std::io::Result<Answer> {
        let url = format!("{}/xrpc/com.atproto.sync.requestCrawl", signpost_url.trim_end_matches('/'));
        post_json(&url, &json!({ "hostname": self.name() })).await
    }
}

impl FakeHost {
    /// Numbers an event and puts it into the history.
    pub(crate) fn emit(&self, state: &mut State, did: Option<&str>, frame: impl FnOnce(i64) -> Vec<u8>) {
        let history = &mut state.history;
        history.last_seq += 1;
        if !self.fires(&Fault::DroppedEvent, did) {
            let frame = frame(history.last_seq).into();
            history.events.push_back(Event { seq: history.last_seq, did: did.map(str::to_owned), frame });
        }
        self.latest().send_replace(history.last_seq);
    }

    pub(crate) fn fires(&self, fault: &Fault, did: Option<&str>) -> bool {
        self.wire().faults.fires(fault, did)
    }

    pub(crate) fn event_damage(&self, did: &str) -> Option<Damage> {
        self.wire().faults.first(Some(did), |fault| match fault {
            Fault::Event(damage) => Some(*damage),
            _ => None,
        })
    }

    pub(crate) fn repo_damage(&self, did: &str) -> Option<Damage> {
        self.wire().faults.first(Some(did), |fault| match fault {
            Fault::Repo(damage) => Some(*damage),
            _ => None,
        })
    }

    pub(crate) fn proof_damage(&self, did: &str) -> Option<Damage> {
        self.wire().faults.first(Some(did), |fault| match fault {
            Fault::Proof(damage) => Some(*damage),
            _ => None,
        })
    }

    pub(crate) fn blocks_damage(&self, did: &str) -> Option<Damage> {
        self.wire().faults.first(Some(did), |fault| match fault {
            Fault::Blocks(damage) => Some(*damage),
            _ => None,
        })
    }

    pub(crate) fn frame_size(&self, did: &str) -> Option<usize> {
        self.wire().faults.first(Some(did), |fault| match fault {
            Fault::FrameOf(size) => Some(*size),
            _ => None,
        })
    }

    pub(crate) fn stale_repo(&self, did: &str) -> Option<Vec<u8>> {
        self.fires(&Fault::StaleRepo, Some(did)).then(|| self.lock().stale.get(did).cloned()).flatten()
    }

    fn keep_if_stale(&self, fault: &Fault) {
        if *fault == Fault::StaleRepo {
            let accounts = self.lock().accounts.clone();
            let car = |account: Arc<Account>| account.repo.parts().write(None, &account.key).1;
            let cars = accounts.into_iter().map(|(did, account)| (did, car(account)));
            let cars = cars.collect();
            self.lock().stale = cars;
        }
    }
}
