//! Frames of `com.atproto.sync.subscribeRepos`: two DAG-CBOR objects, a header and a body, read without copying. Fields of the wrong
//! type count as absent, so that an event that cannot be applied still tells whose repo to fetch.

use std::time::UNIX_EPOCH;

use crate::repo::Link;
use crate::repo::dag_cbor::{DagCborError, Item, Reader};
use crate::store::Status;
use crate::syntax::{Did, Rev};

/// A decoded message.
#[derive(Debug)]
pub enum Message<'a> {
    /// An event about an account.
    Event {
        /// The host's sequence number.
        seq: i64,
        /// Whom it is about.
        did: Did,
        /// What it says.
        body: Body<'a>,
    },
    /// `#info`
    Info {
        /// Such as `OutdatedCursor`.
        name: String,
    },
    /// An error frame: the host closes after it.
    Error {
        /// Such as `FutureCursor`.
        name: String,
        /// In the host's words.
        message: String,
    },
    /// A type that the protocol does not have, or not any more (`#handle`, `#tombstone`).
    Unknown {
        /// Its sequence number, if it has one.
        seq: Option<i64>,
    },
}

/// What an event says.
#[derive(Debug)]
pub enum Body<'a> {
    /// `#commit`
    Commit(CommitBody<'a>),
    /// `#sync`
    Sync {
        /// As the frame says; the signed commit's own counts.
        rev: Option<Rev>,
        /// A CAR with the commit.
        blocks: &'a [u8],
    },
    /// `#account`
    Account {
        /// Whether it is to be shown.
        active: bool,
        /// Why not.
        status: Option<Status>,
    },
    /// `#identity`
    Identity,
}

/// The fields of a `#commit` that matter.
#[derive(Debug, Default)]
pub struct CommitBody<'a> {
    /// Of the commit.
    pub rev: Option<Rev>,
    /// Of the commit before.
    pub since: Option<Rev>,
    /// The commit's CID.
    pub commit: Option<Link<'a>>,
    /// The MST root before.
    pub prev_data: Option<Link<'a>>,
    /// A CAR with the commit, the new records and the changed part of the tree.
    pub blocks: &'a [u8],
    /// What was changed; None when the list does not decode.
    pub ops: Option<Vec<Op<'a>>>,
    /// The host left the ops out.
    pub incomplete: bool,
}

/// One changed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op<'a> {
    /// `collection/rkey`
    pub path: &'a str,
    /// The record now; None for a delete.
    pub cid: Option<Link<'a>>,
    /// The record before; None for a create, and from old hosts.
    pub prev: Option<Link<'a>>,
    /// The host's word for it.
    pub action: Action,
}

/// What an op did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// There was no record.
    Create,
    /// There was one, and another is there now.
    Update,
    /// There is none any more.
    Delete,
}

/// Why a frame is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not two DAG-CBOR objects.
    #[error("not a frame: {0}")]
    Malformed(#[from] DagCborError),
    /// The header lacks `op` or `t`.
    #[error("no frame header")]
    NoHeader,
    /// An event without a sequence number or without an account.
    #[error("an event without seq or did")]
    NoSubject,
}

impl FrameError {
    /// The metric label.
    pub fn reason(self) -> &'static str {
        match self {
            FrameError::Malformed(_) => "malformed",
            FrameError::NoHeader => "no_header",
            FrameError::NoSubject => "no_subject",
        }
    }
}

/// Every field that any message has.
#[derive(Default)]
struct Fields<'a> {
    seq: Option<i64>,
    did: Option<Did>,
    commit: CommitBody<'a>,
    active: Option<bool>,
    status: Option<Status>,
    name: Option<&'a str>,
    error: Option<&'a str>,
    message: Option<&'a str>,
}

/// When the host says that it wrote an event (Unix milliseconds). Nothing is decided by it.
pub fn time_millis(frame: &[u8]) -> Option<i64> {
    let mut reader = Reader::lenient(frame);
    header(&mut reader).ok()?;
    let mut previous = None;
    for _ in 0..reader.map().ok()? {
        // It stands before all that is long.
        if reader.key(&mut previous).ok()? == "time" {
            let time = humantime::parse_rfc3339(reader.text().ok()?).ok()?;
            return i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok();
        }
        reader.skip().ok()?;
    }
    None
}

/// Decodes a frame.
pub fn decode(frame: &[u8]) -> Result<Message<'_>, FrameError> {
    let mut reader = Reader::lenient(frame);
    let (op, kind) = header(&mut reader)?;
    let fields = fields(&mut reader)?;
    reader.finish()?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    if op == -1 {
        return Ok(Message::Error { name: text(fields.error), message: text(fields.message) });
    }
    let body = match kind.rsplit('#').next() {
        Some("commit") => Body::Commit(fields.commit),
        Some("sync") => Body::Sync { rev: fields.commit.rev, blocks: fields.commit.blocks },
        // `active` is required; without it nothing is said.
        Some("account") if fields.active.is_some() => {
            Body::Account { active: fields.active == Some(true), status: fields.status }
        }
        Some("identity") => Body::Identity,
        Some("info") => return Ok(Message::Info { name: text(fields.name) }),
        _ => return Ok(Message::Unknown { seq: fields.seq }),
    };
    match (fields.seq, fields.did) {
        (Some(seq), Some(did)) => Ok(Message::Event { seq, did, body }),
        _ => Err(FrameError::NoSubject),
    }
}

fn header<'a>(reader: &mut Reader<'a>) -> Result<(i64, &'a str), FrameError> {
    let (mut op, mut kind) = (None, None);
    for_each_key(reader, |reader, key| {
        match key {
            "op" => op = field(reader, integer)?,
            "t" => kind = field(reader, Reader::text)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    match (op, kind) {
        (Some(1), Some(kind)) => Ok((1, kind)),
        (Some(-1), _) => Ok((-1, "")),
        // The spec: ignore what other ops may come.
        (Some(op), kind) => Ok((op, kind.unwrap_or_default())),
        (None, _) => Err(FrameError::NoHeader),
    }
}

fn fields<'a>(reader: &mut Reader<'a>) -> Result<Fields<'a>, DagCborError> {
    let mut fields = Fields::default();
    for_each_key(reader, |reader, key| {
        let commit = &mut fields.commit;
        match key {
            "seq" => fields.seq = field(reader, integer)?,
            "repo" | "did" => fields.did = field(reader, Reader::text)?.and_then(|did| Did::parse(did).ok()),
            "rev" => commit.rev = field(reader, Reader::text)?.and_then(|rev| Rev::parse(rev).ok()),
            "since" => commit.since = field(reader, Reader::text)?.and_then(|rev| Rev::parse(rev).ok()),
            "commit" => commit.commit = field(reader, Reader::link)?,
            "prevData" => commit.prev_data = field(reader, Reader::link)?,
            "blocks" => commit.blocks = field(reader, Reader::bytes)?.unwrap_or_default(),
            "ops" => commit.ops = field(reader, ops)?,
            "tooBig" | "rebase" => commit.incomplete |= field(reader, boolean)? == Some(true),
            "active" => fields.active = field(reader, boolean)?,
            "status" => fields.status = field(reader, Reader::text)?.map(Status::parse),
            "name" => fields.name = field(reader, Reader::text)?,
            "error" => fields.error = field(reader, Reader::text)?,
            "message" => fields.message = field(reader, Reader::text)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(fields)
}

fn ops<'a>(reader: &mut Reader<'a>) -> Result<Vec<Op<'a>>, DagCborError> {
    let count = reader.list()?;
    let mut ops = Vec::new();
    for _ in 0..count {
        ops.push(op(reader)?);
    }
    Ok(ops)
}

fn op<'a>(reader: &mut Reader<'a>) -> Result<Op<'a>, DagCborError> {
    let (mut path, mut cid, mut prev, mut action) = (None, None, None, None);
    for_each_key(reader, |reader, key| {
        match key {
            "path" => path = Some(reader.text()?),
            "cid" => cid = reader.link_or_null()?,
            "prev" => prev = reader.link_or_null()?,
            "action" => action = Some(reader.text()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    let action = match (action, cid) {
        (Some("create"), Some(_)) => Action::Create,
        (Some("update"), Some(_)) => Action::Update,
        (Some("delete"), None) => Action::Delete,
        _ => return Err(DagCborError::Expected("an action that fits its cid")),
    };
    let path = path.ok_or(DagCborError::Expected("a path"))?;
    Ok(Op { path, cid, prev, action })
}

fn for_each_key<'a>(
    reader: &mut Reader<'a>,
    mut visit: impl FnMut(&mut Reader<'a>, &'a str) -> Result<(), DagCborError>,
) -> Result<(), DagCborError> {
    let mut previous = None;
    for _ in 0..reader.map()? {
        let key = reader.key(&mut previous)?;
        visit(reader, key)?;
    }
    Ok(())
}

/// Reads a value, or passes over one of another type.
fn field<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DagCborError>,
) -> Result<Option<T>, DagCborError> {
    let mut attempt = reader.clone();
    match read(&mut attempt) {
        Ok(value) => {
            *reader = attempt;
            Ok(Some(value))
        }
        Err(_) => reader.skip().map(|()| None),
    }
}

fn integer(reader: &mut Reader) -> Result<i64, DagCborError> {
    let value = match reader.item()? {
        Item::Unsigned(value) => i64::try_from(value).ok(),
        Item::Negative(value) => i64::try_from(value).ok().map(|value| -1 - value),
        _ => None,
    };
    value.ok_or(DagCborError::Expected("an integer"))
}

fn boolean(reader: &mut Reader) -> Result<bool, DagCborError> {
    match reader.item()? {
        Item::Bool(value) => Ok(value),
        _ => Err(DagCborError::Expected("true or false")),
    }
}

#[cfg(test)]
mod tests {
    use fake_network::offline::{account_frame, info_frame};

    use super::*;

    #[test]
    fn the_time_of_an_event_is_read_and_what_has_none_has_none() {
        let frame = account_frame("did:plc:ewvi7nxzyoun6zhxrhs64oiz", 7, true, None);
        let now = (crate::clock::now_micros() / 1000) as i64;
        let age = now - time_millis(&frame).expect("it has one");
        assert!((0..60_000).contains(&age), "{age}");
        let key = frame.windows(5).position(|bytes| bytes == b"\x64time").expect("it is in it");
        for (at, byte) in [(key + 8, b'x'), (key + 5, 0x40)] {
            let mut other = frame.clone();
            other[at] = byte;
            assert_eq!(time_millis(&other), None, "no date, or no text");
        }
        for other in [info_frame("OutdatedCursor"), frame[..20].to_vec(), Vec::new()] {
            assert_eq!(time_millis(&other), None);
        }
    }
}
