//! The memory that all repos in flight may take together: for their bytes, and for what is known of them while they are verified.
//!
//! Two pools, so that large repos queue for theirs while small ones pass. The bytes of a repo are taken in only if there is room
//! for them now (else they go to disk); what its verification needs is waited for. Invariant: who waits for the large pool holds
//! nothing of it, and who waits for the small one waits for repos that wait for nothing: none can block the other for ever.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the bytes of a repo may take without asking: the number of workers bounds those.
pub(super) const SMALL_REPO_BYTES: usize = 1 << 20;
/// A repo of whose verification takes no more than this is served from the small pool: about 400 KB of CAR.
const SMALL_NEED_BYTES: usize = 4 << 20;
/// The part of the small pool.
const SMALL_PART: usize = 4;
/// The unit of reservations: a permit counts to 2^32.
const UNIT_BYTES: usize = 1 << 10;

/// The budget; who waits for a part of a pool is served in turn.
pub(super) struct RepoMemory {
    small: Pool,
    large: Pool,
}

struct Pool {
    free: Arc<Semaphore>,
    total_units: u32,
}

/// A part of the budget, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Reservation(Option<OwnedSemaphorePermit>);

impl RepoMemory {
    pub fn new(bytes: usize) -> RepoMemory {
        let small_bytes = bytes / SMALL_PART;
        RepoMemory { small: Pool::new(small_bytes), large: Pool::new(bytes - small_bytes) }
    }

    /// Room for the bytes of a repo, if there is so much now.
    pub fn try_extend(&self, reservation: &mut Reservation, bytes: usize) -> bool {
        let Some(more) = self.large.try_acquire(bytes) else { return false };
        match &mut reservation.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        true
    }

    /// Room for what a verification needs, if there is so much now, or if it is worth waiting for whatever the caller holds.
    pub async fn reserve_if_soon(&self, bytes: usize) -> Option<Reservation> {
        match bytes <= SMALL_NEED_BYTES {
            true => Some(Reservation(Some(self.small.acquire(bytes).await))),
            false => self.large.try_acquire(bytes).map(|permit| Reservation(Some(permit))),
        }
    }

    /// Waits for room for a large verification: nothing of the large pool may be held meanwhile.
    pub async fn reserve_large(&self, bytes: usize) -> Reservation {
        Reservation(Some(self.large.acquire(bytes).await))
    }

    #[cfg(test)]
    pub fn free_bytes(&self) -> usize {
        (self.small.free.available_permits() + self.large.free.available_permits()) * UNIT_BYTES
    }
}

impl Pool {
    fn new(bytes: usize) -> Pool {
        let total_units = units(bytes);
        Pool { free: Arc::new(Semaphore::new(total_units as usize)), total_units }
    }

    fn try_acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_many_owned(units(bytes)).ok()
    }

    /// Waits for so much, or for all of it when there is not so much in all.
    async fn acquire(&self, bytes: usize) -> OwnedSemaphorePermit {
        let permit = self.free.clone().acquire_many_owned(units(bytes).min(self.total_units)).await;
        permit.expect("the semaphore is never closed")
    }
}

impl Reservation {
    /// Gives back what exceeds so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(units(bytes) as usize)));
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn bytes_are_taken_in_only_if_there_is_room_now() {
        let memory = RepoMemory::new(100 * MIB);
        let mut first = Reservation::default();
        assert!(memory.try_extend(&mut first, 60 * MIB) && memory.try_extend(&mut first, 10 * MIB));
        assert!(!memory.try_extend(&mut first, 6 * MIB), "the small pool is not for bytes");
        assert_eq!(memory.free_bytes(), 30 * MIB);
        first.shrink_to(20 * MIB - 1);
        assert_eq!(memory.free_bytes(), 80 * MIB);
        first.shrink_to(1 << 40);
        assert_eq!(memory.free_bytes(), 80 * MIB, "it never grows so");
        drop(first);
        assert_eq!(memory.free_bytes(), 100 * MIB);
    }

    #[tokio::test]
    async fn large_ones_queue_in_turn_while_small_ones_pass() {
        let memory = RepoMemory::new(100 * MIB);
        let all = memory.reserve_large(1 << 40).await;
        let (mut first, mut second) =
            (Box::pin(memory.reserve_large(70 * MIB)), Box::pin(memory.reserve_large(20 * MIB)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        assert!(memory.reserve_if_soon(SMALL_NEED_BYTES + 1).await.is_none());
        for _ in 0..100 {
            assert!(memory.reserve_if_soon(SMALL_NEED_BYTES).await.is_some());
        }
        drop(all);
        let first = first.await;
        assert!(poll!(&mut second).is_pending(), "the other one came first");
        assert!(!memory.try_extend(&mut Reservation::default(), 1), "what is left is the next one's");
        drop(first);
        second.await;
    }
}
