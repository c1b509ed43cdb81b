//! Is it well? One sentence, and what to do if not: a pure function of what is known.

use serde::Serialize;

use crate::api::words::{grouped, many};

/// After so long a job that is due should have been begun.
const QUEUE_PATIENCE_MS: i64 = 15 * 60 * 1000;

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Nothing to do.
    Good,
    /// It works; something wants a look.
    Warn,
    /// It does not do its work.
    Bad,
}

/// The first thing that an operator reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    pub level: Level,
    /// One sentence in words.
    pub sentence: String,
    /// What to do, a sentence each; empty when nothing is to be done.
    pub advice: Vec<String>,
}

/// What it is judged by.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub starting: bool,
    pub stopping: bool,
    pub disk_full: bool,
    pub disk_free_bytes: Option<u64>,
    pub clock_is_behind: bool,
    pub hosts: i64,
    pub blocked_hosts: i64,
    pub firehoses_down: i64,
    pub down_example: Option<(String, Option<String>)>,
    pub lagging_hosts: usize,
    /// The furthest behind, and by how many seconds.
    pub lag_example: Option<(String, u64)>,
    pub new_hosts: i64,
    pub longest_wait_ms: i64,
    pub waiting_accounts: i64,
    pub slowed_hosts: i64,
    pub truncated_repos: i64,
    pub repos_waiting: i64,
    pub repos_to_reindex: i64,
}

/// The worst thing makes the sentence; every thing gives its advice.
pub(super) fn judge(facts: &Facts) -> Health {
    let mut found: Vec<(Level, String, Option<String>)> = Vec::new();
    let mut find = |level, sentence: String, advice: &str| {
        found.push((level, sentence, (!advice.is_empty()).then(|| advice.to_owned())));
    };
    if facts.stopping {
        find(Level::Bad, "signpost is stopping.".to_owned(), "");
    } else if facts.starting {
        find(Level::Warn, "signpost is starting.".to_owned(), "");
    }
    if facts.disk_full {
        let free = facts.disk_free_bytes.map_or_else(String::new, |free| format!(" ({} MiB are left)", free >> 20));
        find(
            Level::Bad,
            format!("Nothing is taken in: the disk is full{free}. Queries go on."),
            "Make room on the database's disk, or lower --min-free-space; signpost goes on by itself.",
        );
    }
    let followable = facts.hosts - facts.blocked_hosts - facts.new_hosts;
    if facts.firehoses_down > 0 {
        let (hostname, why) = facts.down_example.clone().unwrap_or_default();
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let all = facts.firehoses_down >= followable && followable > 1;
        find(
            if all { Level::Bad } else { Level::Warn },
            match (all, facts.firehoses_down) {
                (true, down) => {
                    format!("None of {} hosts can be followed, for example {hostname}{why}.", grouped(down))
                }
                (false, 1) => format!("{hostname} cannot be followed{why}."),
                (false, down) => {
                    let (down, all) = (grouped(down), grouped(followable));
                    format!("{down} of {all} hosts cannot be followed, for example {hostname}{why}.")
                }
            },
            if all {
                "Is this machine's network up, and does its name resolution work? Each host is dialled again by itself."
            } else {
                "A host that is gone for good can be forgotten; the others are dialled again by themselves, at most an hour apart."
            },
        );
    }
    if let Some((hostname, seconds)) = &facts.lag_example {
        let behind = format!("{hostname} is {} behind", in_words(*seconds as i64 * 1000));
        find(
            Level::Warn,
            match facts.lagging_hosts {
                ..=1 => format!("{behind}: its events are taken in late."),
                others => format!("{} hosts are read late, for example {behind}.", grouped(others as i64)),
            },
            "After a pause this mends itself. Where it does not: is this machine's processor or disk busy, or does a limit slow the host?",
        );
    }
    if facts.longest_wait_ms > QUEUE_PATIENCE_MS && !facts.disk_full {
        find(
            Level::Warn,
            format!("Work has been waiting for {}.", in_words(facts.longest_wait_ms)),
            "A large host takes its time; when \u{201c}being crawled\u{201d} below does not move, look at the log.",
        );
    }
    if facts.clock_is_behind {
        find(
            Level::Warn,
            "This machine's clock is behind that of most hosts.".to_owned(),
            "Set the clock right (timedatectl set-ntp true).",
        );
    }
    let (waiting, slowed) = (facts.waiting_accounts, facts.slowed_hosts);
    let (truncated, reindex) = (facts.truncated_repos, facts.repos_to_reindex);
    for (count, sentence, advice) in [
        (
            waiting,
            format!("{} because their host is at its limit.", one_or_many(waiting, "account waits", "accounts wait")),
            "Raise the limit of a host that you trust: signpost admin limits HOST --accounts NUMBER.",
        ),
        (
            slowed,
            format!("{} more events than their limits let through.", one_or_many(slowed, "host sends", "hosts send")),
            "They are read more slowly and lose nothing; raise the limits of a host that you trust.",
        ),
        (
            truncated,
            format!("A limit keeps some records of {} out.", many(truncated, "repo")),
            "See --max-records-per-repo and its neighbours; a raised limit is made use of at the next comparison.",
        ),
        (
            reindex,
            format!("The filter grew: {} still to be fetched again.", one_or_many(reindex, "repo is", "repos are")),
            "Lists of the new collections answer 503 until then; wait.",
        ),
    ] {
        if count > 0 {
            find(Level::Warn, sentence, advice);
        }
    }
    // The first of the worst.
    let worst = found.iter().map(|(level, ..)| *level).max_by_key(|level| *level as u8);
    let (level, sentence) = match worst {
        Some(worst) => {
            let sentence = found.iter().find(|(level, ..)| *level == worst).map(|(_, sentence, _)| sentence.clone());
            (worst, sentence.unwrap_or_default())
        }
        None => (Level::Good, all_is_well(facts, followable)),
    };
    let others = found.iter().filter(|(_, other, _)| *other != sentence);
    let mut advice: Vec<String> =
        found.iter().filter(|(_, it, _)| *it == sentence).filter_map(|(.., advice)| advice.clone()).collect();
    advice.extend(others.map(|(_, sentence, advice)| match advice {
        Some(advice) => format!("{sentence} {advice}"),
        None => sentence.clone(),
    }));
    Health { level, sentence, advice }
}

fn all_is_well(facts: &Facts, followed: i64) -> String {
    if facts.hosts == 0 {
        return "All is well, and no host has announced itself yet.".to_owned();
    }
    let work = match facts.repos_waiting {
        0 => "nothing waits".to_owned(),
        waiting => one_or_many(waiting, "repo is on its way", "repos are on their way"),
    };
    // Anybody may announce a name that nobody answers at: no reason to worry, but to whoever has just announced his own.
    let silent = match facts.new_hosts {
        0 => String::new(),
        1 => "; one that was announced has not answered yet".to_owned(),
        new => format!("; {} that were announced have not answered yet", grouped(new)),
    };
    format!("All is well: {} followed, {work}{silent}.", one_or_many(followed, "host is", "hosts are"))
}

fn one_or_many(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

fn in_words(milliseconds: i64) -> String {
    match milliseconds / 60_000 {
        minutes @ ..120 => format!("{minutes} minutes"),
        minutes @ ..2880 => format!("{} hours", minutes / 60),
        minutes => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts { hosts: 12, ..Facts::default() }
    }

    #[test]
    fn a_quiet_service_is_well_and_asks_for_nothing() {
        let health = judge(&well());
        assert_eq!((health.level, health.advice.len()), (Level::Good, 0));
        assert_eq!(health.sentence, "All is well: 12 hosts are followed, nothing waits.");
        assert_eq!(judge(&Facts::default()).sentence, "All is well, and no host has announced itself yet.");
        let silent = judge(&Facts { hosts: 1, new_hosts: 1, ..Facts::default() });
        assert_eq!(
            silent.sentence,
            "All is well: 0 hosts are followed, nothing waits; one that was announced has not answered yet."
        );
        let busy = judge(&Facts { hosts: 1, repos_waiting: 7, ..Facts::default() });
        assert_eq!(busy.sentence, "All is well: 1 host is followed, 7 repos are on their way.");
    }

    #[test]
    fn the_worst_makes_the_sentence_and_the_rest_its_advice() {
        let facts = Facts {
            disk_full: true,
            disk_free_bytes: Some(10 << 20),
            waiting_accounts: 3,
            firehoses_down: 1,
            down_example: Some(("hold01.example.com".to_owned(), Some("no connection".to_owned()))),
            ..well()
        };
        let health = judge(&facts);
        assert_eq!(health.level, Level::Bad);
        assert_eq!(health.sentence, "Nothing is taken in: the disk is full (10 MiB are left). Queries go on.");
        assert!(health.advice[0].starts_with("Make room"), "{health:?}");
        assert!(health.advice[1].starts_with("hold01.example.com cannot be followed: no connection."), "{health:?}");
        assert!(health.advice[2].starts_with("3 accounts wait"), "{health:?}");
    }

    #[test]
    fn every_fault_has_a_sentence_and_says_what_to_do() {
        let down = Some(("a.example.com".to_owned(), None));
        let faults = [
            Facts { disk_full: true, ..well() },
            Facts { firehoses_down: 2, down_example: down.clone(), ..well() },
            Facts { firehoses_down: 12, down_example: down, ..well() },
            Facts { lagging_hosts: 1, lag_example: Some(("a.example.com".to_owned(), 3_600)), ..well() },
            Facts { longest_wait_ms: 3_600_000, ..well() },
            Facts { clock_is_behind: true, ..well() },
            Facts { waiting_accounts: 1, ..well() },
            Facts { slowed_hosts: 1, ..well() },
            Facts { truncated_repos: 1, ..well() },
            Facts { repos_to_reindex: 1, ..well() },
        ];
        for facts in faults {
            let health = judge(&facts);
            assert_ne!(health.level, Level::Good, "{facts:?}");
            assert!(health.sentence.ends_with('.') && health.advice.len() == 1, "{health:?}");
        }
        assert_eq!(judge(&Facts { firehoses_down: 12, ..well() }).level, Level::Bad);
        assert_eq!(judge(&Facts { firehoses_down: 2, ..well() }).level, Level::Warn);
    }

    #[test]
    fn starting_and_stopping_say_so() {
        assert_eq!(judge(&Facts { starting: true, ..well() }).sentence, "signpost is starting.");
        assert_eq!(judge(&Facts { stopping: true, ..well() }).level, Level::Bad);
    }
}
