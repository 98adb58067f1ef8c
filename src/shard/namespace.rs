//! What becomes of a namespace, and of the keys of one that was dropped.

use super::plan::{Current, Plan, PlanContext, write_tombstone};
use crate::codec::namespace_record;
use crate::index::IndexError;
use crate::model::{Key, Namespace, Reply, Version};

/// Removes a key, expired or not. Nobody waits for the tombstone: it has no version.
pub(super) fn plan_clear(
    current: &mut dyn Current,
    key: &Key,
    context: PlanContext,
) -> Result<Plan, IndexError> {
    let before = current.key(key)?.filter(|known| !known.kind.is_gone());
    Ok(match before {
        Some(_) => write_tombstone(current, key, Version(0), before, context),
        None => Plan::unchanged(Reply::Missing),
    })
}

/// Logs what a namespace is from now on.
pub(super) fn plan_namespace(mut namespace: Namespace, draw: &mut dyn FnMut() -> Version) -> Plan {
    if namespace.version == Version(0) {
        namespace.version = draw();
    }
    Plan {
        records: vec![namespace_record(&namespace)],
        reply: Reply::NamespaceSet {
            version: namespace.version,
        },
    }
}
