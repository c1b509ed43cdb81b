//! What the frame of a commit of one op says, read with a reader of ours and nothing else.

use signpost::repo::dag_cbor::Reader;
use signpost::repo::{DagCid, Link};

/// What an event says, as far as its tree needs it.
pub struct Told<'f> {
    pub head: DagCid,
    pub prev_data: DagCid,
    pub blocks: &'f [u8],
    pub path: &'f str,
    pub cid: Link<'f>,
}

/// Reads the frame.
pub fn told(frame: &[u8]) -> Told<'_> {
    let mut header = Reader::strict(frame);
    header.skip().expect("a header");
    let mut body = Reader::strict(&frame[header.position()..]);
    let (mut head, mut prev_data, mut blocks, mut path, mut cid) = (None, None, None, None, None);
    for _ in 0..body.map().expect("a map") {
        match body.text().expect("a key") {
            "commit" => head = body.link().expect("a link").dag(),
            "prevData" => prev_data = body.link().expect("a link").dag(),
            "blocks" => blocks = Some(body.bytes().expect("bytes")),
            "ops" => {
                assert_eq!(body.list(), Ok(1));
                for _ in 0..body.map().expect("an op") {
                    match body.text().expect("a key") {
                        "path" => path = Some(body.text().expect("a path")),
                        "cid" => cid = Some(body.link().expect("a link")),
                        _ => body.skip().expect("a value"),
                    }
                }
            }
            _ => body.skip().expect("a value"),
        }
    }
    let told = || Some(Told { head: head?, prev_data: prev_data?, blocks: blocks?, path: path?, cid: cid? });
    told().expect("a #commit has all of them")
}
