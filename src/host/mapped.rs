//! A file seen as memory: one of the two rooms with `unsafe` in them.
//!
//! Its pages are the kernel's, which may drop them and read them again, so that a large repo costs no memory of ours. Those that were
//! looked at count as ours until they are released.

#![allow(unsafe_code, reason = "a mapping is only as safe as its file")]

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Mmap, UncheckedAdvice};

/// The mapping of some bytes.
#[derive(Clone, Debug)]
pub(super) struct Mapped(Arc<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapped {
    /// Gives the pages back to the kernel, until they are looked at again.
    pub fn release(&self) -> io::Result<()> {
        // SAFETY: what this advice must not meet is memory that it changes. The file is mapped read-only and nobody writes to it, so
        // whoever looks at a page, now or later, is shown the same bytes again.
        unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) }
    }
}

/// The bytes of an unlinked file that nobody else has open; the mapping goes with the last clone of them.
pub(super) fn map(file: File) -> io::Result<(Bytes, Mapped)> {
    // SAFETY: the bytes of a mapping change, or end in SIGBUS, when its file is written to or cut. This file has no name and was
    // made by us, so no other process has it open; here it is consumed, and a mapping needs no descriptor.
    let mapped = Mapped(Arc::new(unsafe { Mmap::map(&file) }?));
    Ok((Bytes::from_owner(mapped.clone()), mapped))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn bytes_outlive_the_descriptor_and_every_clone_but_the_last() {
        let mut file = tempfile::tempfile().expect("a file");
        let content: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        file.write_all(&content).expect("written");
        let (bytes, mapped) = map(file).expect("mapped");
        let part = bytes.slice(70_000..);
        assert_eq!(bytes, content);
        drop(bytes);
        mapped.release().expect("released");
        drop(mapped);
        assert_eq!(part, content[70_000..]);
    }

    #[test]
    fn an_empty_file_is_no_bytes() {
        let (bytes, mapped) = map(tempfile::tempfile().expect("a file")).expect("mapped");
        assert!(bytes.is_empty());
        assert!(mapped.release().is_ok());
    }
}
