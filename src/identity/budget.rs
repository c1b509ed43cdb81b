//! What look-ups of DIDs may cost, by who names the DIDs. A look-up is paid for in advance; one whose document names the host that caused
//! it is paid back. So an honest host is bounded by the PLC directory's pace alone, and one that names DIDs which do not exist, or are
//! others', soon has to wait: itself, and nobody else.
//! Invariant: what is remembered is bounded, and what is forgotten first is what would no longer make anybody wait.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::host::Bucket;

/// Look-ups that a host may have come to nothing: so many at once, and so many a second after that.
const HOST_BURST: f64 = 20.0;
const HOST_PER_SECOND: f64 = 5.0;
/// Who has to wait for them waits for so many, so that jobs are not put off over and over.
const HOST_LEAST: f64 = 5.0;
/// The same at one domain that is not the host's own name: for one host in a minute, and for all hosts.
const DOMAIN_BURST: f64 = 10.0;
const DOMAIN_PER_SECOND: f64 = 10.0 / 60.0;
const DOMAIN_BURST_OF_ALL: f64 = 60.0;
const DOMAIN_PER_SECOND_OF_ALL: f64 = 1.0;
/// The longest that a DID which gave nothing is left alone.
const LONGEST_REST: Duration = Duration::from_secs(6 * 3600);
const MAX_BUCKETS: usize = 20_000;
const MAX_FAILURES: usize = 50_000;

/// Which budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// The host's: too many of its look-ups came to nothing.
    Host,
    /// That of look-ups which DID documents caused by naming the host.
    Referral,
    /// The domain's that a did:web names.
    Domain,
    /// The DID itself gave nothing a short time ago.
    Did,
}

/// What a look-up is about, as far as its price depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose<'a> {
    /// The host that names the DID.
    pub host: &'a str,
    /// The DID.
    pub did: &'a str,
    /// The registrable domain that is asked, when it is a stranger's.
    pub domain: Option<&'a str>,
    /// Whether the host was named by the DID document alone: then it is not the host that pays.
    pub is_referred: bool,
    /// Whether the DID document is said to be new: then it is asked for whatever it gave before.
    pub is_fresh: bool,
}

/// The budgets of all hosts and domains.
pub(super) struct Budgets {
    state: RandomState,
    /// The first rest of a DID that gave nothing; it doubles with each further time.
    rest: Duration,
    /// By the hash of what they are for: nobody can choose what falls together.
    buckets: HashMap<u64, Bucket>,
    failures: HashMap<u64, Failures>,
}

struct Failures {
    count: u32,
    until: Instant,
}

impl Budgets {
    pub(super) fn new(rest: Duration) -> Budgets {
        Budgets { state: RandomState::new(), rest, buckets: HashMap::new(), failures: HashMap::new() }
    }

    /// Pays for a look-up, or says which budget is spent and for how long. A refused one has its price too: who asks for what it cannot
    /// have is slowed like who asks for nothing.
    pub(super) fn pay(&mut self, purpose: Purpose, now: Instant) -> Result<(), (Spent, Duration)> {
        let host = self.bucket(self.of_host(purpose), HOST_BURST, HOST_PER_SECOND, now);
        if host.level(now) < 1.0 {
            let spent = if purpose.is_referred { Spent::Referral } else { Spent::Host };
            return Err((spent, host.wait(HOST_LEAST, now)));
        }
        host.take(1.0, now);
        if let Some(failures) = self.failures.get(&self.of_did(purpose)).filter(|_| !purpose.is_fresh)
            && failures.until > now
        {
            return Err((Spent::Did, failures.until - now));
        }
        for (key, burst, per_second) in self.of_domain(purpose) {
            let wait = self.bucket(key, burst, per_second, now).wait(1.0, now);
            if !wait.is_zero() {
                return Err((Spent::Domain, wait));
            }
        }
        for (key, burst, per_second) in self.of_domain(purpose) {
            self.bucket(key, burst, per_second, now).take(1.0, now);
        }
        Ok(())
    }

    /// The document names the host: the look-up is paid back.
    pub(super) fn pay_back(&mut self, purpose: Purpose) {
        let mut keys = vec![self.of_host(purpose)];
        keys.extend(self.of_domain(purpose).into_iter().map(|(key, ..)| key));
        for key in keys {
            if let Some(bucket) = self.buckets.get_mut(&key) {
                bucket.give_back(1.0);
            }
        }
        self.failures.remove(&self.of_did(purpose));
    }

    /// The DID gave nothing: it rests, longer each time.
    pub(super) fn let_rest(&mut self, purpose: Purpose, now: Instant) {
        if self.failures.len() >= MAX_FAILURES {
            forget_half(&mut self.failures, |failures| failures.until);
        }
        let failures = self.failures.entry(self.of_did(purpose)).or_insert(Failures { count: 0, until: now });
        let factor = 2_u32.checked_pow(failures.count).unwrap_or(u32::MAX);
        failures.until = now + self.rest.saturating_mul(factor).min(LONGEST_REST);
        failures.count += 1;
    }

    fn bucket(&mut self, key: u64, burst: f64, per_second: f64, now: Instant) -> &mut Bucket {
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= MAX_BUCKETS {
                // Those that are full again first; a bucket that is missing is a full one.
                forget_half(&mut self.buckets, |bucket| now + bucket.clone().wait(f64::INFINITY, now));
            }
        }
        self.buckets.entry(key).or_insert_with(|| Bucket::new(burst, per_second, now))
    }

    fn of_host(&self, purpose: Purpose) -> u64 {
        self.hash(("host", purpose.host, purpose.is_referred))
    }

    fn of_did(&self, purpose: Purpose) -> u64 {
        self.hash(("did", purpose.host, purpose.is_referred, purpose.did))
    }

    fn of_domain(&self, purpose: Purpose) -> Vec<(u64, f64, f64)> {
        let Some(domain) = purpose.domain else { return Vec::new() };
        vec![
            (self.hash(("domain", purpose.host, purpose.is_referred, domain)), DOMAIN_BURST, DOMAIN_PER_SECOND),
            (self.hash(("domain of all", domain)), DOMAIN_BURST_OF_ALL, DOMAIN_PER_SECOND_OF_ALL),
        ]
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.state.hash_one(key)
    }
}

/// Forgets the half of the entries that ends first.
fn forget_half<T>(entries: &mut HashMap<u64, T>, ends_at: impl Fn(&T) -> Instant) {
    let mut ends: Vec<Instant> = entries.values().map(&ends_at).collect();
    let middle = ends.len() / 2;
    let (_, median, _) = ends.select_nth_unstable(middle);
    let median = *median;
    entries.retain(|_, entry| ends_at(entry) > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(60);

    fn purpose<'a>(host: &'a str, did: &'a str) -> Purpose<'a> {
        Purpose { host, did, domain: None, is_referred: false, is_fresh: false }
    }

    #[test]
    fn a_host_whose_look_ups_come_to_nothing_waits_and_no_other_does() {
        let (mut budgets, now) = (Budgets::new(REST), Instant::now());
        let liar = purpose("liar.example", "did:plc:a");
        for _ in 0..20 {
            assert_eq!(budgets.pay(liar, now), Ok(()));
        }
        let (spent, wait) = budgets.pay(liar, now).unwrap_err();
        assert_eq!(spent, Spent::Host);
        assert!((Duration::from_millis(990)..Duration::from_millis(1010)).contains(&wait), "{wait:?}");
        assert_eq!(budgets.pay(purpose("hold.example", "did:plc:a"), now), Ok(()));
        assert!((0..5).all(|_| budgets.pay(liar, now + wait).is_ok()), "five a second");
        assert!(budgets.pay(liar, now + wait).is_err());
    }

    #[test]
    fn documents_that_name_a_host_spend_nothing_of_it() {
        let (mut budgets, now) = (Budgets::new(REST), Instant::now());
        let own = Purpose { domain: Some("liar.example"), ..purpose("pds.example", "did:web:a.liar.example") };
        let referred = Purpose { is_referred: true, ..own };
        let spent: Vec<Spent> =
            (0..100).filter_map(|_| budgets.pay(referred, now).err()).map(|(spent, _)| spent).collect();
        assert_eq!(spent.last(), Some(&Spent::Referral));
        budgets.let_rest(referred, now);
        assert_eq!(budgets.pay(own, now), Ok(()));
    }

    #[test]
    fn what_names_the_host_costs_nothing() {
        let (mut budgets, now) = (Budgets::new(REST), Instant::now());
        let honest = Purpose { domain: Some("user.example"), ..purpose("pds.example", "did:web:user.example") };
        for _ in 0..10_000 {
            assert_eq!(budgets.pay(honest, now), Ok(()));
            budgets.pay_back(honest);
        }
    }

    #[test]
    fn a_did_that_gave_nothing_rests_longer_each_time_for_the_host_that_named_it() {
        let (mut budgets, start) = (Budgets::new(REST), Instant::now());
        let named = purpose("liar.example", "did:plc:a");
        let mut now = start;
        for factor in [1, 2, 4, 8] {
            assert_eq!(budgets.pay(named, now), Ok(()));
            budgets.let_rest(named, now);
            assert_eq!(budgets.pay(named, now), Err((Spent::Did, REST * factor)));
            assert_eq!(budgets.pay(Purpose { is_fresh: true, ..named }, now), Ok(()), "its document is said to be new");
            assert_eq!(budgets.pay(purpose("hold.example", "did:plc:a"), now), Ok(()), "another host says so too");
            now += REST * factor;
        }
        for _ in 0..40 {
            budgets.let_rest(named, now);
        }
        assert_eq!(budgets.pay(named, now), Err((Spent::Did, LONGEST_REST)));
        budgets.pay_back(named);
        assert_eq!(budgets.pay(named, now), Ok(()));
    }

    #[test]
    fn a_domain_is_asked_ten_times_a_minute_for_one_host_and_sixty_times_for_all() {
        let (mut budgets, now) = (Budgets::new(REST), Instant::now());
        let mut asked = 0;
        for host in 0..20 {
            let host = format!("liar{host}.example");
            let of_victim = Purpose { domain: Some("victim.example"), ..purpose(&host, "did:web:a.victim.example") };
            let paid = (0..15).take_while(|_| budgets.pay(of_victim, now).is_ok()).count();
            assert!(paid <= 10);
            asked += paid;
        }
        assert_eq!(asked, 60);
    }

    #[test]
    fn a_refusal_has_its_price() {
        let (mut budgets, now) = (Budgets::new(REST), Instant::now());
        let named = purpose("liar.example", "did:plc:a");
        budgets.let_rest(named, now);
        let refusals: Vec<Spent> = (0..21).map(|_| budgets.pay(named, now).unwrap_err().0).collect();
        assert_eq!(refusals[..20], [Spent::Did; 20]);
        assert_eq!(refusals[20], Spent::Host);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut budgets, start) = (Budgets::new(REST), Instant::now());
        let names: Vec<String> = (0..MAX_FAILURES * 2).map(|n| format!("host{n}.example")).collect();
        for (n, name) in names.iter().enumerate() {
            let now = start + Duration::from_micros(n as u64);
            assert_eq!(budgets.pay(purpose(name, "did:plc:a"), now), Ok(()));
            budgets.let_rest(purpose(name, "did:plc:a"), now);
        }
        assert!(budgets.buckets.len() <= MAX_BUCKETS && budgets.failures.len() <= MAX_FAILURES);
        let last = purpose(&names[names.len() - 1], "did:plc:a");
        assert!(
            matches!(budgets.pay(last, start + Duration::from_secs(1)), Err((Spent::Did, _))),
            "the latest is kept"
        );
    }
}
