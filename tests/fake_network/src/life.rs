//! What happens to the accounts of a host: they come, write, change and go, with the events that the reference PDS
//! sends for it.

use std::sync::Arc;

use cid::Cid;

use crate::account::{Account, AccountOptions, DidKind, Status};
use crate::block::{Block, write_car};
use crate::damage::Commit;
use crate::directory::Identity;
use crate::frame;
use crate::host::{FakeHost, State};
use crate::keys::SigningKey;
use crate::repo::{Record, Repo, Write};

pub(crate) const NO_SUCH_ACCOUNT: &str = "the test names an account of this host";

impl FakeHost {
    /// Creates an account with an empty repo, and gives its DID.
    pub fn create_account(&self, options: AccountOptions) -> String {
        let shared = self.shared();
        let number = shared.next_account();
        let did = match options.did {
            DidKind::Plc => shared.plc_did(number),
            DidKind::Web => self.web_did(),
        };
        let key = shared.next_key(options.curve);
        let identity = Identity {
            handle: options.handle.unwrap_or_else(|| format!("user{number}.test")),
            key: key.clone(),
            pds: self.origin(),
            form: options.document,
            tombstone: None,
            earlier_keys: Vec::new(),
        };
        shared.directory.insert(&did, identity);
        let rev = self.next_rev();
        let repo = Repo::create(&did, &rev, &key);
        let mut state = self.lock();
        let state = &mut *state;
        self.add(state, Account { did: did.clone(), ordinal: 0, key, status: Status::Active, repo, rev });
        match options.did {
            DidKind::Plc => {
                self.emit_identity(state, &did);
                self.emit_account(state, &did);
                self.emit_first_commit(state, &did);
            }
            DidKind::Web => {
                self.emit_account(state, &did);
                self.emit_identity(state, &did);
            }
        }
        self.emit_sync(state, &did);
        did
    }

    /// Creates so many did:plc accounts, and gives their DIDs.
    pub fn create_accounts(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.create_account(AccountOptions::default())).collect()
    }

    /// Sends a #sync of the repo as it is.
    pub fn send_sync(&self, did: &str) {
        self.emit_sync(&mut self.lock(), did);
    }

    /// Puts a record, in a commit of its own, and gives its CID.
    pub fn put_record(&self, did: &str, collection: &str, rkey: &str, record: impl Into<Record>) -> String {
        self.apply_writes(did, vec![Write::put(collection, rkey, record)]);
        self.record_cid(did, collection, rkey).expect("it was put just now")
    }

    /// Deletes a record, in a commit of its own; nothing happens if there is none.
    pub fn delete_record(&self, did: &str, collection: &str, rkey: &str) {
        self.apply_writes(did, vec![Write::delete(collection, rkey)]);
    }

    /// Makes one commit of these writes, and its event; writes that change nothing are left out, and if none is left
    /// there is no commit.
    pub fn apply_writes(&self, did: &str, writes: Vec<Write>) {
        let rev = self.next_rev();
        let mut state = self.lock();
        let account = account_mut(&mut state, did);
        let key = account.key.clone();
        if let Some(change) = account.repo.apply(writes, &rev, &key) {
            account.rev = rev;
            self.emit_commit(&mut state, did, change);
        }
    }

    /// Puts many records in one commit WITHOUT an event: what the repo held before anybody listened.
    pub fn load_records(&self, did: &str, writes: impl IntoIterator<Item = Write>) {
        let rev = self.next_rev();
        let mut state = self.lock();
        let account = account_mut(&mut state, did);
        let key = account.key.clone();
        account.repo.load(writes, &rev, &key);
        account.rev = rev;
    }

    /// Sends a #commit that continues the repo and is signed by a stranger; the repo stays as it is.
    pub fn forge_commit(&self, did: &str) {
        let rev = self.next_rev();
        let mut state = self.lock();
        let mut forged = Account::clone(state.accounts.get(did).expect(NO_SUCH_ACCOUNT));
        forged.key = SigningKey::derive(forged.key.curve(), u64::MAX, "a forger's key");
        let write = Write::put("io.atcr.hold.crew", "forged", Record::Value(rev.clone().into()));
        let change = forged.repo.apply(vec![write], &rev, &forged.key).expect("its rev makes the record new");
        self.emit_commit_of(&mut state, &forged, change);
    }

    /// The CAR of a tree that was made by hand, under a commit that the account signs; the repo stays as it is.
    pub fn car_of_tree(&self, did: &str, root: Cid, blocks: &[Block]) -> Vec<u8> {
        let rev = self.next_rev();
        let state = self.lock();
        let key = &state.accounts.get(did).expect(NO_SUCH_ACCOUNT).key;
        let commit = Commit::sign(did, &rev, root, key).block();
        write_car(vec![commit.cid], [&commit].into_iter().chain(blocks))
    }

    /// Lets the host tell a later rev for a repo that did not change, as after an account import.
    pub fn touch_rev(&self, did: &str) {
        let rev = self.next_rev();
        account_mut(&mut self.lock(), did).rev = rev;
    }

    /// The CID of a record, if there is one.
    pub fn record_cid(&self, did: &str, collection: &str, rkey: &str) -> Option<String> {
        let account = self.account(did).expect(NO_SUCH_ACCOUNT);
        account.repo.records().get(&format!("{collection}/{rkey}")).map(|record| record.cid.to_string())
    }

    /// The rev that the host tells for a repo.
    pub fn rev(&self, did: &str) -> String {
        self.account(did).expect(NO_SUCH_ACCOUNT).rev.clone()
    }

    /// The CID of a repo's head commit.
    pub fn head(&self, did: &str) -> String {
        self.account(did).expect(NO_SUCH_ACCOUNT).repo.head().block().cid.to_string()
    }

    /// Deactivates an account (#account), or takes it down, or suspends or throttles it.
    pub fn set_inactive(&self, did: &str, status: Status) {
        let mut state = self.lock();
        account_mut(&mut state, did).status = status;
        self.emit_account(&mut state, did);
    }

    /// Deactivates an account: #account.
    pub fn deactivate(&self, did: &str) {
        self.set_inactive(did, Status::Deactivated);
    }

    /// Activates a deactivated account: #account, #identity, #sync.
    pub fn activate(&self, did: &str) {
        let mut state = self.lock();
        account_mut(&mut state, did).status = Status::Active;
        self.emit_account(&mut state, did);
        self.emit_identity(&mut state, did);
        self.emit_sync(&mut state, did);
    }

    /// Takes an account down: #account.
    pub fn take_down(&self, did: &str) {
        self.set_inactive(did, Status::Takendown);
    }

    /// Takes a takedown back: #account only.
    pub fn untake_down(&self, did: &str) {
        self.set_inactive(did, Status::Active);
    }

    /// Deletes an account: its events vanish from replay, then #account deleted. Its DID document stays.
    pub fn delete_account(&self, did: &str) {
        let mut state = self.lock();
        state.accounts.remove(did).expect(NO_SUCH_ACCOUNT);
        state.history.events.retain(|event| event.did.as_deref() != Some(did));
        self.emit(&mut state, Some(did), |seq| frame::account(did, seq, false, Some("deleted")));
    }

    /// Gives an account another handle: the DID document changes, #identity.
    pub fn change_handle(&self, did: &str, handle: &str) {
        self.shared().directory.change(did, |identity| identity.handle = handle.to_owned());
        self.emit_identity(&mut self.lock(), did);
    }

    /// Gives an account another signing key of the same curve: the DID document changes, #identity. The head commit
    /// stays signed by the old key until the next write.
    pub fn rotate_key(&self, did: &str) {
        let mut state = self.lock();
        self.change_key(account_mut(&mut state, did));
        self.emit_identity(&mut state, did);
    }

    /// Moves an account to another host, with a new signing key: there #account, #identity and #sync, here #account
    /// deactivated. This host goes on replaying its history. Until the first write over there the head commit is
    /// signed by the old key, and its rev is older than the one that the new host tells.
    pub fn move_account(&self, did: &str, to: &FakeHost) {
        let mut moved = Account::clone(&self.account(did).expect(NO_SUCH_ACCOUNT));
        self.change_key(&mut moved);
        moved.rev = to.next_rev();
        moved.status = Status::Active;
        self.shared().directory.change(did, |identity| identity.pds = to.origin());
        {
            let mut state = to.lock();
            to.add(&mut state, moved);
            to.emit_account(&mut state, did);
            to.emit_identity(&mut state, did);
            to.emit_sync(&mut state, did);
        }
        self.deactivate(did);
    }

    /// Makes this host claim an account of another one: it lists and serves a copy, and sends events for what is
    /// written to the copy, though the DID document does not name it.
    pub fn claim_account(&self, did: &str, of: &FakeHost) {
        let copy = Account::clone(&of.account(did).expect(NO_SUCH_ACCOUNT));
        let mut state = self.lock();
        self.add(&mut state, copy);
        self.emit_account(&mut state, did);
        self.emit_sync(&mut state, did);
    }
}

impl FakeHost {
    fn add(&self, state: &mut State, mut account: Account) {
        state.ordinals += 1;
        account.ordinal = state.ordinals;
        state.accounts.insert(account.did.clone(), Arc::new(account));
    }

    fn change_key(&self, account: &mut Account) {
        let key = self.shared().next_key(account.key.curve());
        self.shared().directory.change(&account.did, |identity| {
            identity.earlier_keys.push(identity.key.did_key());
            identity.key = key.clone();
        });
        account.key = key;
    }
}

fn account_mut<'a>(state: &'a mut State, did: &str) -> &'a mut Account {
    Arc::make_mut(state.accounts.get_mut(did).expect(NO_SUCH_ACCOUNT))
}
