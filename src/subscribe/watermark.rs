//! Where a firehose stands: which seq to store after a batch, and whether the host's sequence began anew.
//! Invariant: the stored cursor never passes an event without a durable outcome, for a batch is stored with its outcomes, in order.

/// The seqs of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watermark {
    at: Option<i64>,
    /// Whether nothing was heard on this connection yet.
    is_fresh: bool,
}

/// What a batch does to the stored cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The seq to store; None: leave it.
    pub store: Option<i64>,
    /// The host's sequence begins below what it was asked for: it was reset or restored, and nobody says what was lost.
    pub restarted: bool,
}

impl Watermark {
    /// A connection that was dialled with this cursor.
    pub(crate) fn new(host_cursor: Option<i64>) -> Watermark {
        Watermark { at: host_cursor, is_fresh: true }
    }

    /// Takes in the seqs of a batch, in the order in which they came. Duplicates and late ones do not move it back.
    pub(crate) fn take_in(&mut self, seqs: &[i64]) -> Step {
        let Some(first) = seqs.first() else { return Step { store: None, restarted: false } };
        // Hosts may send the event at the cursor once more, but none below it.
        let restarted = self.is_fresh && self.at.is_some_and(|at| *first < at);
        self.is_fresh = false;
        if restarted {
            self.at = None;
        }
        let highest = seqs.iter().copied().max();
        let store = highest.filter(|seq| self.at.is_none_or(|at| *seq > at));
        self.at = store.or(self.at);
        Step { store, restarted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(store: impl Into<Option<i64>>, restarted: bool) -> Step {
        Step { store: store.into(), restarted }
    }

    #[test]
    fn it_rises_with_the_events_and_never_falls() {
        let mut watermark = Watermark::new(None);
        assert_eq!(watermark.take_in(&[]), step(None, false));
        assert_eq!(watermark.take_in(&[5, 6, 9]), step(9, false));
        assert_eq!(watermark.take_in(&[7, 8]), step(None, false), "late");
        assert_eq!(watermark.take_in(&[9]), step(None, false), "duplicate");
        assert_eq!(watermark.take_in(&[12, 11]), step(12, false), "reordered");
    }

    #[test]
    fn the_event_at_the_cursor_may_come_again() {
        let mut watermark = Watermark::new(Some(9));
        assert_eq!(watermark.take_in(&[9, 10]), step(10, false));
    }

    #[test]
    fn a_first_event_below_the_cursor_means_that_the_sequence_began_anew() {
        let mut watermark = Watermark::new(Some(9));
        assert_eq!(watermark.take_in(&[3]), step(3, true));
        assert_eq!(watermark.take_in(&[4]), step(4, false));
        let mut watermark = Watermark::new(Some(9));
        assert_eq!(watermark.take_in(&[8, 10]), step(10, true));
    }
}
