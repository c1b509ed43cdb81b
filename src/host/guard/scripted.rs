//! A DNS for tests: its answers in turn, and the addresses that stand for our own network.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

/// Answers every name alike.
pub struct Dns {
    /// The last one is given for ever.
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    ours: IpAddr,
}

impl Dns {
    /// `ours` is the address that no connection may be made to.
    pub fn new(answers: impl IntoIterator<Item = Vec<IpAddr>>, ours: IpAddr) -> Dns {
        Dns { answers: Mutex::new(answers.into_iter().collect()), ours }
    }

    pub fn answer(&self, port: u16) -> Vec<SocketAddr> {
        let mut answers = self.answers.lock().expect("nothing panics while it holds the lock");
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.unwrap_or_default().into_iter().map(|address| SocketAddr::new(address, port)).collect()
    }

    pub fn is_ours(&self, address: IpAddr) -> bool {
        address == self.ours
    }

    /// How many answers are left to be given, the last one included.
    pub fn answers_left(&self) -> usize {
        self.answers.lock().expect("nothing panics while it holds the lock").len()
    }
}
