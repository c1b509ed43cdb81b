//! The few canonical forms that we write ourselves: parts of commits and of MST nodes.

use super::reader::{DAG_LINK, TAG_CID};
use crate::repo::cid::Link;

/// Major types, the upper three bits of a head.
pub(in crate::repo) mod major {
    pub const UNSIGNED: u8 = 0;
    pub const BYTES: u8 = 2;
    pub const TEXT: u8 = 3;
    pub const LIST: u8 = 4;
    pub const MAP: u8 = 5;
    pub const TAG: u8 = 6;
}

const NULL: u8 = 0xf6;

/// Writes the shortest head with this argument.
pub(in crate::repo) fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let first = major << 5;
    match argument {
        0..24 => out.push(first | argument as u8),
        24..0x100 => out.extend([first | 24, argument as u8]),
        0x100..0x1_0000 => {
            out.push(first | 25);
            out.extend((argument as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(first | 26);
            out.extend((argument as u32).to_be_bytes());
        }
        _ => {
            out.push(first | 27);
            out.extend(argument.to_be_bytes());
        }
    }
}

/// Writes a byte string.
pub(in crate::repo) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, major::BYTES, bytes.len() as u64);
    out.extend(bytes);
}

/// Writes a link, or null.
pub(in crate::repo) fn write_link(out: &mut Vec<u8>, link: Option<Link<'_>>) {
    match link {
        None => out.push(NULL),
        Some(Link::Dag(cid)) => {
            out.extend_from_slice(DAG_LINK);
            out.extend_from_slice(cid.digest());
        }
        Some(Link::Other(cid)) => {
            write_head(out, major::TAG, TAG_CID);
            write_head(out, major::BYTES, cid.len() as u64 + 1);
            out.push(0);
            out.extend(cid);
        }
    }
}
