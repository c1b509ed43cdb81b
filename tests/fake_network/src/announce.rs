//! The events that a host makes of what happens to its accounts, honest or as its faults have it.

use ipld_core::ipld::Ipld;

use crate::account::Account;
use crate::block::Block;
use crate::fault::Fault;
use crate::frame::{self, CommitBody};
use crate::host::{FakeHost, State};
use crate::life::NO_SUCH_ACCOUNT;
use crate::repo::Change;
use crate::tid::tid;

impl FakeHost {
    pub(crate) fn emit_identity(&self, state: &mut State, did: &str) {
        let identity = self.shared().directory.get(did).expect(NO_SUCH_ACCOUNT);
        self.emit(state, Some(did), |seq| frame::identity(did, seq, Some(&identity.handle)));
    }

    pub(crate) fn emit_account(&self, state: &mut State, did: &str) {
        let status = state.accounts.get(did).expect(NO_SUCH_ACCOUNT).status;
        let active = status.is_active();
        self.emit(state, Some(did), |seq| frame::account(did, seq, active, status.name()));
    }

    pub(crate) fn emit_sync(&self, state: &mut State, did: &str) {
        if self.fires(&Fault::Legacy, Some(did)) {
            return;
        }
        let account = state.accounts.get(did).expect(NO_SUCH_ACCOUNT).clone();
        let blocks = account.repo.commit_parts().write(None, &account.key).1;
        self.emit(state, Some(did), |seq| frame::sync(did, seq, &account.rev, blocks));
    }

    /// The #commit of a new repo: no ops, since null, no prevData.
    pub(crate) fn emit_first_commit(&self, state: &mut State, did: &str) {
        let account = state.accounts.get(did).expect(NO_SUCH_ACCOUNT).clone();
        let (commit, blocks) = account.repo.parts().write(None, &account.key);
        let body = CommitBody::first(commit.cid, &account.rev, blocks);
        self.emit(state, Some(did), |seq| frame::commit(did, seq, body));
    }

    pub(crate) fn emit_commit(&self, state: &mut State, did: &str, change: Change) {
        let account = state.accounts.get(did).expect(NO_SUCH_ACCOUNT).clone();
        self.emit_commit_of(state, &account, change);
    }

    /// The #commit of an account as it is given, which need not be the one that the host holds.
    pub(crate) fn emit_commit_of(&self, state: &mut State, account: &Account, change: Change) {
        let did = account.did.as_str();
        let lies = |fault| self.fires(&fault, Some(did));
        let (legacy, too_big) = (lies(Fault::Legacy), lies(Fault::TooBig));
        let since = if lies(Fault::WrongSince) { tid(1) } else { change.since };
        let prev_data = if lies(Fault::WrongPrevData) { Block::encode(&"wrong").cid } else { change.prev_data };
        let told = if lies(Fault::MissingOp) { &change.ops[1..] } else { &change.ops[..] };
        let ops: Vec<Ipld> = told.iter().map(|op| frame::op(op, legacy)).collect();
        let parts = if too_big { account.repo.commit_parts() } else { change.parts };
        let (commit, blocks) = parts.write(self.event_damage(did), &account.key);
        let size = self.frame_size(did);
        let body = CommitBody {
            commit: commit.cid,
            rev: if lies(Fault::BadRev) { "tomorrow" } else { &account.repo.head().rev },
            since: Some(&since),
            prev_data: Some(prev_data).filter(|_| !legacy),
            ops: if too_big { Vec::new() } else { ops },
            blocks,
            too_big,
            size,
        };
        self.emit(state, Some(did), |seq| frame::commit(did, seq, body));
    }
}
