//! Frames of com.atproto.sync.subscribeRepos: a header and a body, both DAG-CBOR, one after the other.

use std::time::{Duration, SystemTime};

use cid::Cid;
use ipld_core::ipld::Ipld;

use crate::block::Block;
use crate::repo::Op;

/// The body of a #commit, but for what every event has.
pub(crate) struct CommitBody<'a> {
    pub(crate) commit: Cid,
    pub(crate) rev: &'a str,
    pub(crate) since: Option<&'a str>,
    /// Absent from the frame if `None`, as for an account's first commit and from old hosts.
    pub(crate) prev_data: Option<Cid>,
    pub(crate) ops: Vec<Ipld>,
    pub(crate) blocks: Vec<u8>,
    pub(crate) too_big: bool,
    /// How many bytes the frame is to have, by a field that nobody knows; its own size if `None`.
    pub(crate) size: Option<usize>,
}

impl<'a> CommitBody<'a> {
    /// That of a new repo: no ops, since null, no prevData.
    pub(crate) fn first(commit: Cid, rev: &'a str, blocks: Vec<u8>) -> CommitBody<'a> {
        CommitBody { commit, rev, since: None, prev_data: None, ops: Vec::new(), blocks, too_big: false, size: None }
    }
}

pub(crate) fn commit(did: &str, seq: i64, body: CommitBody) -> Vec<u8> {
    let mut fields = vec![
        ("repo", text(did)),
        ("commit", Ipld::Link(body.commit)),
        ("rev", text(body.rev)),
        ("since", body.since.map_or(Ipld::Null, text)),
        ("ops", Ipld::List(body.ops)),
        ("blocks", Ipld::Bytes(body.blocks)),
        ("blobs", Ipld::List(Vec::new())),
        ("rebase", Ipld::Bool(false)),
        ("tooBig", Ipld::Bool(body.too_big)),
    ];
    fields.extend(body.prev_data.map(|cid| ("prevData", Ipld::Link(cid))));
    let Some(size) = body.size else { return event("#commit", seq, fields) };
    let padded = |bytes: usize| [&fields[..], &[("padding", Ipld::Bytes(vec![0; bytes]))]].concat();
    // The length of a long byte string is written in four bytes.
    let least = event("#commit", seq, padded(1 << 16)).len() - (1 << 16);
    event("#commit", seq, padded(size - least))
}

/// How the op stands in a #commit; old hosts do not tell the previous CID.
pub(crate) fn op(op: &Op, legacy: bool) -> Ipld {
    let action = match (op.prev, op.cid) {
        (None, _) => "create",
        (Some(_), Some(_)) => "update",
        (Some(_), None) => "delete",
    };
    let mut fields =
        vec![("action", text(action)), ("path", text(&op.path)), ("cid", op.cid.map_or(Ipld::Null, Ipld::Link))];
    fields.extend(op.prev.filter(|_| !legacy).map(|cid| ("prev", Ipld::Link(cid))));
    map(fields)
}

pub(crate) fn sync(did: &str, seq: i64, rev: &str, blocks: Vec<u8>) -> Vec<u8> {
    event("#sync", seq, vec![("did", text(did)), ("rev", text(rev)), ("blocks", Ipld::Bytes(blocks))])
}

pub(crate) fn account(did: &str, seq: i64, active: bool, status: Option<&str>) -> Vec<u8> {
    let mut fields = vec![("did", text(did)), ("active", Ipld::Bool(active))];
    fields.extend(status.map(|status| ("status", text(status))));
    event("#account", seq, fields)
}

pub(crate) fn identity(did: &str, seq: i64, handle: Option<&str>) -> Vec<u8> {
    let mut fields = vec![("did", text(did))];
    fields.extend(handle.map(|handle| ("handle", text(handle))));
    event("#identity", seq, fields)
}

pub(crate) fn unknown_type(seq: i64) -> Vec<u8> {
    event("#nobodyKnowsThis", seq, vec![("did", text("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"))])
}

pub(crate) fn info(name: &str) -> Vec<u8> {
    let header = map(vec![("op", Ipld::Integer(1)), ("t", text("#info"))]);
    join(header, map(vec![("name", text(name)), ("message", text("an #info of the fake network"))]))
}

pub(crate) fn error(name: &str) -> Vec<u8> {
    let header = map(vec![("op", Ipld::Integer(-1))]);
    join(header, map(vec![("error", text(name)), ("message", text("an error of the fake network"))]))
}

/// The same event, with a `time` an hour before.
pub(crate) fn an_hour_earlier(frame: &[u8]) -> Vec<u8> {
    // A text of 24 bytes behind its key.
    const KEY: &[u8] = b"\x64time\x78\x18";
    let at = frame.windows(KEY.len()).rposition(|bytes| bytes == KEY).expect("an event has a time") + KEY.len();
    let (before, rest) = frame.split_at(at);
    let (time, after) = rest.split_at(24);
    let time = humantime::parse_rfc3339(std::str::from_utf8(time).expect("it is text")).expect("it is ours");
    let earlier = humantime::format_rfc3339_millis(time - Duration::from_secs(3600)).to_string();
    [before, earlier.as_bytes(), after].concat()
}

fn event(kind: &str, seq: i64, mut fields: Vec<(&str, Ipld)>) -> Vec<u8> {
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    fields.extend([("seq", Ipld::Integer(seq.into())), ("time", Ipld::String(now))]);
    join(map(vec![("op", Ipld::Integer(1)), ("t", text(kind))]), map(fields))
}

fn join(header: Ipld, body: Ipld) -> Vec<u8> {
    [Block::encode(&header).bytes, Block::encode(&body).bytes].concat()
}

fn map(fields: Vec<(&str, Ipld)>) -> Ipld {
    Ipld::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(value: &str) -> Ipld {
    Ipld::String(value.to_owned())
}
