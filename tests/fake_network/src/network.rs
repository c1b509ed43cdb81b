//! The network as a whole: its PLC directory, its hosts, its clock and seed, and the truth about what is in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::directory::{Directory, Identity, plc_router};
use crate::fault::{Fault, FaultScope, UNPOISONED};
use crate::host::{FakeHost, HostOptions};
use crate::keys::{Curve, SigningKey};
use crate::serve::{bind, serve};
use crate::tid::TidClock;
use crate::wire::Wire;

/// A record's place: (DID, collection, rkey).
pub type RecordPlace = (String, String, String);

/// A network on loopback; when it is dropped, all its servers stop.
///
/// ```
/// use fake_network::{AccountOptions, Fault, FaultScope, Network};
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let network = Network::start().await;
/// let host = network.add_host();
/// let did = host.create_account(AccountOptions::default());
/// let cid = host.put_record(&did, "io.atcr.hold.crew", "alice", json!({ "role": "admin" }));
/// host.fault(Fault::DroppedEvent, FaultScope::Next(1));
/// host.delete_record(&did, "io.atcr.hold.crew", "alice");
/// assert_eq!(host.fired(&Fault::DroppedEvent), 1);
/// assert!(network.expected(|collection| collection.starts_with("io.atcr.")).is_empty());
/// # let _ = cid; }
/// ```
pub struct Network {
    shared: Arc<Shared>,
    hosts: Mutex<Vec<FakeHost>>,
    plc_wire: Arc<Wire>,
    plc_url: String,
    _stop: DropGuard,
}

/// What the hosts of a network have in common.
pub(crate) struct Shared {
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: TidClock,
    pub(crate) stop: CancellationToken,
    seed: u64,
    accounts: AtomicUsize,
    keys: AtomicUsize,
}

impl Shared {
    /// The number of the next account, from 1.
    pub(crate) fn next_account(&self) -> usize {
        self.accounts.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn next_key(&self, curve: Curve) -> SigningKey {
        let number = self.keys.fetch_add(1, Ordering::Relaxed);
        SigningKey::derive(curve, self.seed, &format!("key {number}"))
    }

    /// A did:plc that the seed and the account's number determine.
    pub(crate) fn plc_did(&self, account: usize) -> String {
        let digest = SigningKey::derive(Curve::K256, self.seed, &format!("did {account}")).multikey();
        let base32 = data_encoding::BASE32_NOPAD.encode(&crate::block::cid_of(digest.as_bytes()).to_bytes()[4..]);
        format!("did:plc:{}", base32[..24].to_lowercase())
    }
}

impl Network {
    /// A network with no host, of seed 1.
    pub async fn start() -> Network {
        Network::with_seed(1).await
    }

    /// A network with no host; the seed decides its keys and DIDs.
    pub async fn with_seed(seed: u64) -> Network {
        let stop = CancellationToken::new();
        let directory = Arc::new(Directory::default());
        let plc_wire = Arc::new(Wire::new());
        let listener = bind(0).and_then(|socket| socket.listen(1024)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        serve(listener, plc_router(directory.clone(), plc_wire.clone()), stop.clone(), &TaskTracker::new());
        let shared = Shared {
            directory,
            clock: TidClock::default(),
            stop: stop.clone(),
            seed,
            accounts: AtomicUsize::new(0),
            keys: AtomicUsize::new(0),
        };
        Network {
            shared: Arc::new(shared),
            hosts: Mutex::default(),
            plc_wire,
            plc_url: format!("http://{address}"),
            _stop: stop.drop_guard(),
        }
    }

    /// The PLC directory's URL, for signpost's `--plc-url`.
    pub fn plc_url(&self) -> &str {
        &self.plc_url
    }

    /// A host on a free port, named `localhost:PORT`, without accounts.
    pub fn add_host(&self) -> FakeHost {
        self.add_host_with(HostOptions::default()).expect("loopback has a free port")
    }

    /// A host with a given port or name; fails if the port is taken.
    pub fn add_host_with(&self, options: HostOptions) -> std::io::Result<FakeHost> {
        let host = FakeHost::start(self.shared.clone(), options)?;
        self.hosts.lock().expect(UNPOISONED).push(host.clone());
        Ok(host)
    }

    /// The truth: every record that the filter (a predicate on the collection) lets through, of every account that is
    /// active on the host that its DID document names, with its CID.
    pub fn expected(&self, filter: impl Fn(&str) -> bool) -> BTreeMap<RecordPlace, String> {
        let mut all = BTreeMap::new();
        for host in self.hosts.lock().expect(UNPOISONED).iter() {
            host.each_active_record(|did, path, cid| {
                let (collection, rkey) = path.split_once('/').unwrap_or((path, ""));
                if filter(collection) {
                    all.insert((did.to_owned(), collection.to_owned(), rkey.to_owned()), cid.to_string());
                }
            });
        }
        all
    }

    /// Lets the directory (or the host's did.json) answer 404 or 410 for this DID; its host notices nothing.
    pub fn tombstone(&self, did: &str, status: u16) {
        self.change_identity(did, |identity| identity.tombstone = Some(status));
    }

    /// Lets the DID document name this PDS endpoint, and tells no host.
    pub fn set_pds(&self, did: &str, endpoint: &str) {
        self.change_identity(did, |identity| identity.pds = endpoint.to_owned());
    }

    /// Switches a fault of the PLC directory on; its method is `plc`.
    pub fn plc_fault(&self, fault: Fault, scope: FaultScope) {
        self.plc_wire.faults.set(fault, None, scope);
    }

    /// How often a fault of the PLC directory fired.
    pub fn plc_fired(&self, fault: &Fault) -> usize {
        self.plc_wire.faults.fired(fault)
    }

    /// Waits until a fault of the PLC directory has fired so often.
    pub async fn wait_plc_fired(&self, fault: &Fault, times: usize) {
        self.plc_wire.faults.wait_fired(fault, times).await;
    }

    /// How many DID documents were asked of the PLC directory.
    pub fn plc_requests(&self) -> usize {
        self.plc_wire.requests("plc")
    }

    fn change_identity(&self, did: &str, change: impl FnOnce(&mut Identity)) {
        self.shared.directory.change(did, change);
    }
}
