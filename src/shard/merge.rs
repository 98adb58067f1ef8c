//! What a record from a backup does: it keeps its version, and wins only over what is older.

use super::plan::{
    Current, Known, Plan, PlanContext, Put, brings_content, is_content_missing, write_key,
    write_tombstone,
};
use crate::codec::FLAG_MERGED;
use crate::index::IndexError;
use crate::model::{Key, Reply, Version};

/// A record from a backup wins only over what is older; deletes count.
pub(super) fn plan_merge(
    current: &mut dyn Current,
    put: Put,
    version: Version,
    context: PlanContext,
) -> Result<Plan, IndexError> {
    let before = match older(current, &put.key, version)? {
        Ok(before) => before,
        Err(stays) => return Ok(stays),
    };
    if !brings_content(&put.body) && is_content_missing(current, &put.body, context)? {
        return Ok(Plan::unchanged(Reply::BlobMissing));
    }
    let plan = write_key(current, put, version, before, context)?;
    Ok(plan.flagged(FLAG_MERGED))
}

/// The same for a delete.
pub(super) fn plan_merge_delete(
    current: &mut dyn Current,
    key: &Key,
    version: Version,
    context: PlanContext,
) -> Result<Plan, IndexError> {
    let before = older(current, key, version)?;
    Ok(before.map_or_else(
        |stays| stays,
        |before| {
            let plan = write_tombstone(current, key, version, before, context);
            plan.flagged(FLAG_MERGED)
        },
    ))
}

/// What is there of a key, if a record of this version wins over it, or that it stays.
fn older(
    current: &mut dyn Current,
    key: &Key,
    version: Version,
) -> Result<Result<Option<Known>, Plan>, IndexError> {
    let before = current.key(key)?;
    Ok(match before {
        Some(known) if known.version >= version => Err(Plan::unchanged(Reply::Unchanged {
            version: known.version,
        })),
        _ => Ok(before.filter(|known| !known.kind.is_gone())),
    })
}
