//! What must hold: at every step, and at quiet points.

use super::process::Process;
use super::world::{COLLECTIONS, rows};
use crate::store::Audit;

impl Process {
    /// Cheap: at every step.
    pub fn check_cursors(&mut self) {
        if !std::mem::take(&mut self.wrote) {
            return;
        }
        for (at, id) in self.ids.clone().into_iter().enumerate() {
            let Some(lowest) = self.world.hosts[at].unsettled.as_ref().and_then(|open| open.first().copied()) else {
                continue;
            };
            if let Some(cursor) = self.read(|tx| tx.host_cursor_if_any(id)) {
                assert!(cursor < lowest, "the cursor of host {at} is {cursor}, and event {lowest} has no outcome");
            }
        }
    }

    /// Every few steps.
    pub fn check_rows(&mut self) {
        assert_eq!(self.read(|tx| tx.wrong_counts()), 0, "counts differ from rows");
        let (_, bytes, counted) = self.read(|tx| tx.audit_held());
        assert_eq!(bytes.unsigned_abs(), counted, "held bytes are counted wrongly");
        for repo in self.read(|tx| tx.audit_repos()) {
            self.check_signed(&repo);
        }
    }

    /// What is indexed of a repo is what one of its commits says, unless it is known to be in doubt.
    fn check_signed(&mut self, repo: &Audit) {
        let Some(data) = repo.data else { return };
        let signed = self.world.signed.get(&(repo.did.clone(), data)).cloned();
        let Some(signed) = signed else { panic!("{} is indexed at {data}, which it never signed", repo.did) };
        let indexed = self.read(|tx| tx.audit_rows(repo.id));
        if !repo.unproven {
            assert_eq!(indexed, signed, "{} is not what its tree {data} says: {repo:?}", repo.did);
        }
        assert!(repo.has_identity || indexed.is_empty(), "rows of nobody: {repo:?}");
    }

    /// After everything was delivered and compared: the index is the truth.
    pub fn check_truth(&mut self) {
        self.check_rows();
        let audits = self.read(|tx| tx.audit_repos());
        let listed = self.read(|tx| tx.listed_dids("io.atcr.*"));
        let people: Vec<String> = self.world.people.keys().cloned().collect();
        for did in &people {
            let person = &self.world.people[did];
            let host = &self.world.hosts[person.pds];
            let account = host.accounts.get(did).filter(|_| !person.tombstone && host.is_requested);
            let audit = audits.iter().find(|audit| audit.did == *did);
            match account {
                Some(account) if account.status.is_none() => {
                    let truth = rows(account, &self.world.filter);
                    let audit = audit.unwrap_or_else(|| panic!("{did} is not known"));
                    assert_eq!(audit.host, self.ids[person.pds].0, "{did} is at another host: {audit:?}");
                    assert!(audit.active, "{did} is active and not listed: {audit:?}");
                    let head = account.repo.head();
                    let indexed = self.read(|tx| tx.audit_rows(audit.id));
                    assert_eq!(indexed, truth, "{did} differs from its host, which is at {head}: {audit:?}");
                    assert_eq!(audit.head.map(|head| head.to_string()), Some(head), "{did}");
                    assert_eq!(listed.contains(did), !truth.is_empty(), "{did} in the list");
                    for collection in COLLECTIONS {
                        let holds = truth.iter().any(|(of, ..)| of == collection);
                        let listed = self.read(|tx| tx.listed_dids(collection));
                        assert_eq!(listed.contains(did), holds, "{did} in the list of {collection}");
                    }
                    assert!(!audit.desynchronized, "{did} {audit:?}");
                }
                _ => {
                    let elsewhere = self.world.hosts.iter().enumerate().any(|(at, host)| {
                        at != self.world.people[did].pds
                            && host.accounts.get(did).is_some_and(|account| account.status.is_none())
                    });
                    // A host that goes on listing what is not its own any more, while the true one is silent, is found out
                    // with the next look at the DID document.
                    // So is an account that its host has again, from a backup, after its DID was given up.
                    let is_back =
                        person.tombstone && host.accounts.get(did).is_some_and(|account| account.status.is_none());
                    if let Some(audit) = audit.filter(|_| !elsewhere && !is_back) {
                        // Nobody has asked for the DID document of a repo without an identity, and nobody is told of it.
                        let is_hearsay = person.tombstone && !audit.has_identity;
                        assert!(!audit.active || is_hearsay, "{did} is not active at its host, and listed: {audit:?}");
                        assert!(!listed.contains(did), "{did} in the list");
                        if audit.status.as_deref() == Some("deleted") {
                            assert_eq!(self.read(|tx| tx.audit_rows(audit.id)), [], "{did} is deleted");
                        }
                    }
                }
            }
        }
        for audit in audits.iter().filter(|audit| !people.contains(&audit.did)) {
            assert!(!audit.active && !listed.contains(&audit.did), "nobody is {audit:?}");
        }
        for (did, host, status, error) in self.read(|tx| tx.audit_jobs()) {
            let at_home = self.world.people.get(&did).is_some_and(|person| self.ids[person.pds].0 == host);
            assert!(!at_home, "{did} has a job left at its own host: {status} {error:?}");
        }
        let (held, ..) = self.read(|tx| tx.audit_held());
        assert_eq!(held, 0, "events are still held");
    }
}
