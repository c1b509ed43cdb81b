//! How far a command is, on stderr where that is a terminal; nothing anywhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::store::DumpCounts;

/// How many steps are told at once: drawing costs more than a row.
const STEP: u64 = 1000;

/// A bar of accounts and records.
pub(super) fn bar(what: &'static str) -> impl FnMut(DumpCounts, DumpCounts) {
    let bar = ProgressBar::new(0).with_message(what);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} [{bar:30}] {percent}% {human_pos} of {human_len}, {eta} left")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    let rows = |counts: DumpCounts| counts.repos + counts.records;
    let mut told = 0;
    move |done, all| {
        let (done, all) = (rows(done), rows(all));
        if done >= told + STEP || done == all {
            told = done;
            bar.set_length(all);
            bar.set_position(done);
        }
    }
}

/// Something that turns until it is dropped, for what does not tell how far it is.
pub(super) fn spinner(what: &'static str) -> Spinner {
    let bar = ProgressBar::new_spinner().with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    Spinner(bar)
}

/// See [`spinner`].
pub(super) struct Spinner(ProgressBar);

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
