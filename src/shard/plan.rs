//! What a command does, decided without I/O: current records in, log records and an answer out.
//!
//! The same command on the same state gives the same plan on any machine, which is what recovery
//! rests on and replication will.

use super::batch::plan_batch;
use super::blob::{blob_records, plan_drop, plan_keep, plan_reclaim, plan_store_blob};
use super::merge::{plan_merge, plan_merge_delete};
use super::namespace::{plan_clear, plan_namespace};
use crate::codec::{FLAG_CONTENT, FLAG_EXPIRED, Kind, Record, TombstoneNote, encode_blob_ref};
use crate::index::IndexError;
use crate::model::{
    BlobRef, Command, Condition, Digest, Existing, Key, PutBody, Replaced, Reply, SealedValue,
    Timestamp, ValueInfo, Version,
};
use bytes::Bytes;

/// The id of the mark that names the tombstone horizon.
pub const HORIZON_MARK: &[u8] = b"horizon";
/// The id of the mark that names a version counter.
pub const COUNTER_MARK: &[u8] = b"counter";

/// What is known of an entity when a command is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What its newest record says.
    pub kind: Kind,
    /// Whether it stands under the content key of its value.
    pub content: bool,
    /// Its version.
    pub version: Version,
    /// When it expires.
    pub expiry: Option<Timestamp>,
    /// The blob it links to.
    pub link: Option<BlobRef>,
}

impl Known {
    /// Whether the entity is there at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.kind.is_gone() && self.expiry.is_none_or(|expiry| expiry > now)
    }
}

/// The current records: the index, and what was planned before this command and is not durable
/// yet. An answer that rests on the latter is given only when that is durable.
pub trait Current {
    /// The newest record of a key.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn key(&mut self, key: &Key) -> Result<Option<Known>, IndexError>;
    /// The newest record of a blob.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn blob(&mut self, digest: Digest) -> Result<Option<Known>, IndexError>;
    /// The newest record of a reference.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn reference(&mut self, blob: BlobRef) -> Result<Option<Known>, IndexError>;
    /// Whether any reference to a blob is there.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn is_referenced(&mut self, digest: Digest) -> Result<bool, IndexError>;
    /// The version up to which tombstones may go.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn horizon(&mut self) -> Result<Version, IndexError>;
    /// Whether a blob's home is this shard.
    fn is_home(&self, digest: Digest) -> bool;
}

/// When a plan is made.
#[derive(Debug, Clone, Copy)]
pub struct PlanContext {
    /// The time at the door.
    pub now: Timestamp,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The records to log, what is pointed to before what points to it; none when it changes
    /// nothing.
    pub records: Vec<Record>,
    /// The answer, to be given when the records are durable.
    pub reply: Reply,
}

impl Plan {
    pub(super) fn unchanged(reply: Reply) -> Self {
        Self {
            records: Vec::new(),
            reply,
        }
    }

    /// The same plan; what it says of a key says this of itself too.
    pub(super) fn flagged(mut self, flag: u16) -> Self {
        let of_keys = |record: &&mut Record| record.kind.is_of_key();
        for record in self.records.iter_mut().filter(of_keys) {
            record.flags |= flag;
        }
        self
    }
}

/// Plans one command. `draw` gives the next version and is called only for a change.
///
/// # Errors
/// When the current records cannot be read.
pub fn plan(
    current: &mut dyn Current,
    command: Command,
    context: PlanContext,
    draw: &mut dyn FnMut() -> Version,
) -> Result<Plan, IndexError> {
    match command {
        Command::Put {
            key,
            body,
            existing,
            expiry,
            attributes,
        } => {
            let put = Put {
                key,
                body,
                expiry,
                attributes,
            };
            plan_put(current, put, existing, context, draw)
        }
        Command::Delete { key, condition } => plan_delete(current, &key, condition, context, draw),
        Command::Batch(batch) => plan_batch(current, batch, context, draw),
        Command::Expire { key } => plan_expire(current, &key, context, draw),
        Command::Clear { key } => plan_clear(current, &key, context),
        Command::SetNamespace { namespace } => Ok(plan_namespace(namespace, draw)),
        Command::StoreBlob { blob, owner, value } => {
            plan_store_blob(current, blob, &owner, value, context)
        }
        Command::KeepBlob { digest, value } => plan_keep(current, digest, value, context),
        Command::DropReference { blob } => plan_drop(current, blob, context),
        Command::ReclaimBlob { digest } => plan_reclaim(current, digest, context),
        Command::Merge {
            key,
            version,
            body: Some(body),
            expiry,
            attributes,
        } => {
            let put = Put {
                key,
                body,
                expiry,
                attributes,
            };
            plan_merge(current, put, version, context)
        }
        Command::Merge {
            key,
            version,
            body: None,
            ..
        } => plan_merge_delete(current, &key, version, context),
        Command::PurgeTombstones { horizon } if horizon <= current.horizon()? => {
            Ok(Plan::unchanged(Reply::Done))
        }
        Command::PurgeTombstones { horizon } => Ok(Plan {
            records: vec![horizon_record(horizon)],
            reply: Reply::Done,
        }),
        Command::Mark { version } => Ok(Plan {
            records: vec![mark(Kind::Counter, COUNTER_MARK, version)],
            reply: Reply::Done,
        }),
    }
}

/// A record of a key to be.
pub(super) struct Put {
    pub key: Key,
    pub body: PutBody,
    pub expiry: Option<Timestamp>,
    pub attributes: Bytes,
}

fn plan_put(
    current: &mut dyn Current,
    put: Put,
    existing: Existing,
    context: PlanContext,
    draw: &mut dyn FnMut() -> Version,
) -> Result<Plan, IndexError> {
    // What has expired is not there for anybody, but holds its content still.
    let before = current.key(&put.key)?.filter(|known| !known.kind.is_gone());
    let live = before.filter(|known| known.is_live(context.now));
    let found = live.map(|known| known.version);
    if let Existing::Require(condition) = existing
        && !condition.holds(found)
    {
        return Ok(Plan::unchanged(Reply::Refused { found }));
    }
    if let Some(known) = live
        && stays(&known, existing, &put.body)
        && !(existing == Existing::KeepSameContent
            && known.link.is_some()
            && brings_content(&put.body)
            && is_content_missing(current, &put.body, context)?)
    {
        return Ok(Plan::unchanged(Reply::Unchanged {
            version: known.version,
        }));
    }
    if !brings_content(&put.body) && is_content_missing(current, &put.body, context)? {
        return Ok(Plan::unchanged(Reply::BlobMissing));
    }
    let version = draw();
    write_key(current, put, version, before, context)
}

fn stays(known: &Known, existing: Existing, body: &PutBody) -> bool {
    match existing {
        Existing::Keep => true,
        Existing::Replace | Existing::Require(_) => false,
        Existing::KeepSameContent => match (known.link, body) {
            (Some(link), PutBody::Home { blob, .. } | PutBody::Away { blob, .. }) => {
                link.digest == blob.digest
            }
            _ => known.content,
        },
    }
}

/// Whether a content whose home is here comes with its bytes. They mend a record whose content was
/// lost.
pub(super) fn brings_content(body: &PutBody) -> bool {
    matches!(body, PutBody::Home { value: Some(_), .. })
}

/// Whether the content of a put is not there, although its home is here.
pub(super) fn is_content_missing(
    current: &mut dyn Current,
    body: &PutBody,
    context: PlanContext,
) -> Result<bool, IndexError> {
    match body {
        PutBody::Home { blob, .. } => Ok(!is_blob_live(current, blob.digest, context)?),
        PutBody::Small(_) | PutBody::Away { .. } => Ok(false),
    }
}

pub(super) fn is_blob_live(
    current: &mut dyn Current,
    digest: Digest,
    context: PlanContext,
) -> Result<bool, IndexError> {
    let blob = current.blob(digest)?;
    Ok(blob.is_some_and(|known| known.is_live(context.now)))
}

/// The records of a key's new value: its blob and reference where they belong here, then the key's
/// own, then the drop of a reference that it replaces.
pub(super) fn write_key(
    current: &mut dyn Current,
    put: Put,
    version: Version,
    before: Option<Known>,
    context: PlanContext,
) -> Result<Plan, IndexError> {
    let mut records = Vec::new();
    let mut stored = true;
    let digest = put.body.digest();
    let mut own = match put.body {
        PutBody::Small(value) => {
            Record::of_value(Kind::Value, put.key.id().clone(), value).in_namespace_of(&put.key)
        }
        PutBody::Home { blob, info, value } => {
            let new = unless_there(current, blob.digest, value, context)?;
            stored = new.is_some();
            records = blob_records(blob, &put.key, new);
            link(&put.key, blob, info)
        }
        PutBody::Away { blob, info } => {
            stored = false;
            link(&put.key, blob, info)
        }
    };
    own.version = version;
    own.expiry = put.expiry;
    own.attributes = put.attributes;
    if digest.is_some() && put.key.digest() == digest {
        own.flags |= FLAG_CONTENT;
    }
    records.push(own);
    let replaced = drop_replaced(current, &mut records, before, context);
    Ok(Plan {
        records,
        reply: Reply::Put {
            version,
            previous: before
                .filter(|known| known.is_live(context.now))
                .map(|known| known.version),
            stored,
            replaced,
        },
    })
}

/// The bytes of a blob, unless it is there already.
pub(super) fn unless_there(
    current: &mut dyn Current,
    digest: Digest,
    value: Option<SealedValue>,
    context: PlanContext,
) -> Result<Option<SealedValue>, IndexError> {
    let there = is_blob_live(current, digest, context)?;
    Ok(value.filter(|_| !there))
}

/// The reference of a replaced record is dropped here if its blob's home is here.
fn drop_replaced(
    current: &dyn Current,
    records: &mut Vec<Record>,
    before: Option<Known>,
    context: PlanContext,
) -> Option<Replaced> {
    let blob = before.and_then(|known| known.link)?;
    let dropped = current.is_home(blob.digest);
    fail::fail_point!("plan::leaked", |_| Some(Replaced { blob, dropped }));
    if dropped {
        records.push(reference_gone(blob, context));
    }
    Some(Replaced { blob, dropped })
}

fn plan_delete(
    current: &mut dyn Current,
    key: &Key,
    condition: Option<Condition>,
    context: PlanContext,
    draw: &mut dyn FnMut() -> Version,
) -> Result<Plan, IndexError> {
    let before = current.key(key)?.filter(|known| known.is_live(context.now));
    let found = before.map(|known| known.version);
    if condition.is_some_and(|condition| !condition.holds(found)) {
        return Ok(Plan::unchanged(Reply::Refused { found }));
    }
    let Some(before) = before else {
        return Ok(Plan::unchanged(Reply::Missing));
    };
    Ok(write_tombstone(current, key, draw(), Some(before), context))
}

fn plan_expire(
    current: &mut dyn Current,
    key: &Key,
    context: PlanContext,
    draw: &mut dyn FnMut() -> Version,
) -> Result<Plan, IndexError> {
    let is_expired = |known: &Known| !known.kind.is_gone() && !known.is_live(context.now);
    let Some(before) = current.key(key)?.filter(is_expired) else {
        return Ok(Plan::unchanged(Reply::Missing));
    };
    let plan = write_tombstone(current, key, draw(), Some(before), context);
    Ok(plan.flagged(FLAG_EXPIRED))
}

pub(super) fn write_tombstone(
    current: &dyn Current,
    key: &Key,
    version: Version,
    before: Option<Known>,
    context: PlanContext,
) -> Plan {
    let mut own = gone(Kind::Tombstone, key.id().clone(), context).in_namespace_of(key);
    own.version = version;
    let mut records = vec![own];
    let replaced = drop_replaced(current, &mut records, before, context);
    Plan {
        records,
        reply: Reply::Deleted {
            version,
            previous: before.map(|known| known.version),
            replaced,
        },
    }
}

/// The record that says up to which version tombstones may go.
#[must_use]
pub fn horizon_record(horizon: Version) -> Record {
    mark(Kind::Horizon, HORIZON_MARK, horizon)
}

fn mark(kind: Kind, id: &'static [u8], version: Version) -> Record {
    let record = Record::bookkeeping(kind, Bytes::from_static(id), Bytes::new());
    Record { version, ..record }
}

fn link(key: &Key, blob: BlobRef, info: ValueInfo) -> Record {
    let record = Record::bookkeeping(Kind::Link, key.id().clone(), encode_blob_ref(blob));
    Record { info, ..record }.in_namespace_of(key)
}

pub(super) fn gone(kind: Kind, id: Bytes, context: PlanContext) -> Record {
    let note = TombstoneNote { at: context.now };
    Record::bookkeeping(kind, id, note.encode())
}

pub(super) fn reference_gone(blob: BlobRef, context: PlanContext) -> Record {
    gone(Kind::ReferenceGone, encode_blob_ref(blob), context)
}
