//! A file seen as memory: one of the two rooms with `unsafe` in them.
//!
//! Its pages are the kernel's, which may drop them and read them again, so that a large repo costs no memory of ours.

#![allow(unsafe_code, reason = "a mapping is only as safe as its file")]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::Mmap;

/// The bytes of an unlinked file that nobody else has open; the mapping goes with the last clone of them.
pub(super) fn map(file: File) -> io::Result<Bytes> {
    // SAFETY: the bytes of a mapping change, or end in SIGBUS, when its file is written to or cut. This file has no name and was
    // made by us, so no other process has it open; here it is consumed, and a mapping needs no descriptor.
    let mapping = unsafe { Mmap::map(&file) }?;
    Ok(Bytes::from_owner(mapping))
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
        let bytes = map(file).expect("mapped");
        let part = bytes.slice(70_000..);
        assert_eq!(bytes, content);
        drop(bytes);
        assert_eq!(part, content[70_000..]);
    }

    #[test]
    fn an_empty_file_is_no_bytes() {
        assert!(map(tempfile::tempfile().expect("a file")).expect("mapped").is_empty());
    }
}
