//! The records of an archive that lies on disk, for whoever takes them in.
//!
//! They are taken in the order of their paths, and an archive is in another one, mostly that of its blocks' hashes: read one by one,
//! they would have all of it in memory until the last. So a batch of them is copied out in the archive's order, and what was passed is
//! released. Invariant: a stretch of the archive and a batch are in memory at most.

use super::*;

/// What a batch takes, but for a larger record: less than the index and the walk took, which are over by then.
pub(super) const BATCH_BYTES: usize = 3 << 20;
/// What is known of a record in a batch: its start, and its range while it is read.
const KNOWN_BYTES: usize = size_of::<usize>() + size_of::<(&Range<u32>, usize)>();
/// After so much of the archive it is released.
const STRETCH_BYTES: u32 = 8 << 20;

impl Snapshot {
    /// From now on, has the memory that shows the archive released when a stretch of it was read.
    pub fn read_from_disk(&mut self, release: impl Fn() + Send + Sync + 'static) {
        release();
        self.release = Some(Box::new(release));
    }

    /// Visits what `records` gives, up to the first error.
    pub fn visit_records<E>(
        &self,
        mut visit: impl FnMut(&str, &str, SnapshotRecord<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(release) = &self.release else {
            return self.records().try_for_each(|(collection, rkey, record)| visit(collection, rkey, record));
        };
        let (mut paths, mut rest) = (self.paths(), self.leaves.as_slice());
        while !rest.is_empty() {
            let (leaves, after) = rest.split_at(batch_len(rest));
            let batch = Batch::read(leaves, &self.car, release);
            rest = after;
            // The batch first: what ends it must not cost a path.
            for (record, (collection, rkey)) in batch.records(leaves).zip(paths.by_ref()) {
                visit(collection, rkey, record)?;
            }
        }
        Ok(())
    }
}

/// How many leaves make a batch: one at least.
fn batch_len(leaves: &[Leaf]) -> usize {
    let mut bytes = 0;
    let fits = |leaf: &&Leaf| {
        bytes += KNOWN_BYTES + leaf.record.as_ref().map_or(0, |range| DIGEST_LEN + range.len());
        bytes <= BATCH_BYTES
    };
    leaves.iter().take_while(fits).count().max(1)
}

/// Records that were copied out of the archive, each behind its digest.
struct Batch {
    bytes: Vec<u8>,
    /// Where each leaf's digest begins.
    starts: Vec<usize>,
}

impl Batch {
    fn read(leaves: &[Leaf], archive: &[u8], release: &dyn Fn()) -> Batch {
        let mut ranges: Vec<(&Range<u32>, usize)> =
            leaves.iter().enumerate().filter_map(|(at, leaf)| Some((leaf.record.as_ref().ok()?, at))).collect();
        ranges.sort_unstable_by_key(|(range, _)| range.start);
        let mut batch = Batch { bytes: Vec::new(), starts: vec![0; leaves.len()] };
        batch.bytes.reserve_exact(ranges.iter().map(|(range, _)| DIGEST_LEN + range.len()).sum());
        let mut stretch_end = STRETCH_BYTES;
        for (range, at) in ranges {
            if range.start > stretch_end {
                release();
                stretch_end = range.start.saturating_add(STRETCH_BYTES);
            }
            if let Some(start) = batch.starts.get_mut(at) {
                *start = batch.bytes.len();
            }
            let from = range.start as usize - DIGEST_LEN;
            batch.bytes.extend_from_slice(archive.get(from..range.end as usize).unwrap_or_default());
        }
        release();
        batch
    }

    fn records(&self, leaves: &[Leaf]) -> impl Iterator<Item = SnapshotRecord<'_>> {
        leaves.iter().zip(&self.starts).map(|(leaf, start)| {
            let range = leaf.record.clone().map(|range| start + DIGEST_LEN..start + DIGEST_LEN + range.len());
            record_in(&self.bytes, range)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::repo::model::{NOW_MICROS, Repo, SigningKey, did};

    #[test]
    fn records_on_disk_are_read_in_batches_that_leave_nothing_out() {
        // Some have so many bytes that three fill a batch; one has no block, one no path.
        let paths = (0..20_000).map(|n| format!("a.b.c/{n:06}")).chain(["a.b.c".to_owned(), "a.b.d/x".to_owned()]);
        let block = |n: usize| n.to_be_bytes().repeat(if n % 2_000 == 1 { 112_500 } else { 1 });
        let (key, paths) = (SigningKey::k256(1), paths.enumerate());
        let mut repo = Repo::new(paths.map(|(n, path)| (path, block(n))), &key);
        repo.blocks.remove(&DagCid::for_block(&block(7)));
        let (filter, keep) = (CollectionFilter::parse("*").expect("a filter"), KeepLimits::of_records(100_000));
        let car = Bytes::from(repo.car());
        let needed = memory_needed(&car, &keep).expect("sound");
        let open = || open_repo(car.clone(), &did(), &key.public().into(), NOW_MICROS, &filter, &keep).expect("sound");
        let row = |collection: &str, rkey: &str, record: SnapshotRecord<'_>| {
            let record = match record {
                SnapshotRecord::Block { cid, bytes } => Ok((cid, bytes.to_vec())),
                SnapshotRecord::Skipped(reason) => Err(reason),
            };
            (collection.to_owned(), rkey.to_owned(), record)
        };
        let visited = |snapshot: &Snapshot, until: usize| {
            let mut visited = Vec::new();
            let ended = snapshot.visit_records(|collection, rkey, record| {
                visited.push(row(collection, rkey, record));
                if visited.len() == until { Err(()) } else { Ok(()) }
            });
            (visited, ended)
        };
        let in_memory = open();
        let expected: Vec<_> =
            in_memory.records().map(|(collection, rkey, record)| row(collection, rkey, record)).collect();
        assert_eq!(expected.len(), 20_002);
        assert_eq!(expected.iter().filter(|(.., record)| record.is_err()).count(), 2);
        let released = Arc::new(AtomicUsize::new(0));
        let (mut on_disk, told) = (open(), released.clone());
        on_disk.read_from_disk(move || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        assert!(on_disk.kept_bytes() <= needed, "{} of {needed}", on_disk.kept_bytes());
        for snapshot in [in_memory, on_disk] {
            assert!(visited(&snapshot, 0) == (expected.clone(), Ok(())));
            assert!(visited(&snapshot, 18_000) == (expected[..18_000].to_vec(), Err(())));
        }
        // At first, and behind each of three batches, twice.
        assert!(released.load(Ordering::Relaxed) >= 7, "{released:?}");
    }
}
