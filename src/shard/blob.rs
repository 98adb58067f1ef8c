//! What a shard does with contents and the references to them, decided without I/O.

use super::plan::{Current, Plan, PlanContext, gone, is_blob_live, reference_gone, unless_there};
use crate::codec::{Kind, Record, encode_blob_ref, list_attributes};
use crate::index::IndexError;
use crate::model::{BlobRef, Digest, Key, Reply, SealedValue};
use bytes::Bytes;

/// The blob, if `new` has its bytes, and the reference.
pub(super) fn blob_records(blob: BlobRef, owner: &Key, new: Option<SealedValue>) -> Vec<Record> {
    let mut records = Vec::with_capacity(4);
    if let Some(value) = new {
        records.push(blob_record(blob.digest, value).in_namespace_of(owner));
    }
    let id = encode_blob_ref(blob);
    let reference = Record::bookkeeping(Kind::Reference, id, owner.id().clone());
    records.push(reference.in_namespace_of(owner));
    records
}

pub(super) fn plan_store_blob(
    current: &mut dyn Current,
    blob: BlobRef,
    owner: &Key,
    value: Option<SealedValue>,
    context: PlanContext,
) -> Result<Plan, IndexError> {
    let there = is_blob_live(current, blob.digest, context)?;
    if !there && value.is_none() {
        return Ok(Plan::unchanged(Reply::BlobMissing));
    }
    let new = value.filter(|_| !there);
    let stored = new.is_some();
    let records = blob_records(blob, owner, new);
    Ok(Plan {
        records,
        reply: Reply::BlobStored { stored },
    })
}

pub(super) fn plan_keep(
    current: &mut dyn Current,
    digest: Digest,
    value: SealedValue,
    context: PlanContext,
) -> Result<Plan, IndexError> {
    let new = unless_there(current, digest, Some(value), context)?;
    let stored = new.is_some();
    let records = new.into_iter().map(|value| blob_record(digest, value));
    Ok(Plan {
        records: records.collect(),
        reply: Reply::BlobStored { stored },
    })
}

fn blob_record(digest: Digest, value: SealedValue) -> Record {
    let attributes = list_attributes(&value);
    let record = Record::of_value(Kind::Blob, Bytes::copy_from_slice(&digest.0), value);
    Record {
        attributes,
        ..record
    }
}

pub(super) fn plan_drop(
    current: &mut dyn Current,
    blob: BlobRef,
    context: PlanContext,
) -> Result<Plan, IndexError> {
    let reference = current.reference(blob)?;
    let live = reference.is_some_and(|known| known.is_live(context.now));
    let records = match live {
        true => vec![reference_gone(blob, context)],
        false => Vec::new(),
    };
    Ok(Plan {
        records,
        reply: Reply::Done,
    })
}

pub(super) fn plan_reclaim(
    current: &mut dyn Current,
    digest: Digest,
    context: PlanContext,
) -> Result<Plan, IndexError> {
    let there = is_blob_live(current, digest, context)?;
    if !there || current.is_referenced(digest)? {
        return Ok(Plan::unchanged(Reply::Done));
    }
    let record = gone(Kind::BlobGone, Bytes::copy_from_slice(&digest.0), context);
    Ok(Plan {
        records: vec![record],
        reply: Reply::Reclaimed,
    })
}
