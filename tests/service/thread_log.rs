//! What is logged on one thread, where a service runs with all its tasks. The log is the process's: with one for a thread alone, the
//! library may take a line that another thread met first for one that nobody wants.

use std::cell::RefCell;
use std::io::Write;

use serde_json::Value;

thread_local! {
    static TEXT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Keeps what is written on threads that began to listen, and forgets the rest.
pub struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        TEXT.with_borrow_mut(|text| text.iter_mut().for_each(|text| text.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From now on, what is logged on this thread is kept.
pub fn listen() {
    TEXT.set(Some(Vec::new()));
}

/// What was logged on this thread.
pub fn heard() -> Vec<Value> {
    lines(&TEXT.with_borrow(|text| String::from_utf8(text.clone().unwrap()).unwrap()))
}

/// The objects of a log, one a line.
pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}
