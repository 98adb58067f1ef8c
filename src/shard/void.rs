//! Records that stand in the log and say nothing: those of a transaction that was given up, and
//! those of a slot that left the shard after they were written.
//!
//! A slot moves by its records being copied to its new shard; the last step is a `slot left` record
//! in the old one. Rows of the slot go with it, and a rebuild passes over what it left behind. A
//! slot that comes back brings newer records.

use crate::codec::{Membership, Record, Role, Space, slot_of_id};
use crate::index::{IndexError, Row};
use crate::model::{Digest, Slot};

/// Whether a record that no row explains says nothing. `get` reads rows of the index.
///
/// # Errors
/// When the index cannot be read.
pub fn is_void(
    record: &Record,
    membership: Membership,
    get: impl Fn(Space, &[u8]) -> Result<Option<Row>, IndexError>,
) -> Result<bool, IndexError> {
    if membership.role == Role::Prepare
        && get(Space::Transaction, &membership.transaction.to_be_bytes())?.is_some()
    {
        return Ok(true);
    }
    let Some(slot) = slot_of_entity(record.space(), &record.id) else {
        return Ok(false);
    };
    let left = get(Space::Slot, &slot.0.to_be_bytes())?;
    Ok(left.is_some_and(|left| record.seq < left.seq))
}

/// The transaction that an id of its space names.
pub(super) fn parse_transaction(id: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(<[u8; 8]>::try_from(id).ok()?))
}

/// The slot that an id of its space names.
pub(super) fn parse_slot(id: &[u8]) -> Option<Slot> {
    Some(Slot(u16::from_be_bytes(<[u8; 2]>::try_from(id).ok()?)))
}

/// The slot of a key or a content; nothing else belongs to one.
pub(super) fn slot_of_entity(space: Space, id: &[u8]) -> Option<Slot> {
    match space {
        Space::Key | Space::NamespacedKey => Some(slot_of_id(space, id)),
        Space::Blob | Space::Reference => {
            let digest = id.get(..Digest::SIZE)?;
            Some(Digest(<[u8; Digest::SIZE]>::try_from(digest).ok()?).slot())
        }
        Space::Purged
        | Space::Mark
        | Space::Slot
        | Space::Transaction
        | Space::Dictionary
        | Space::Namespace => None,
    }
}
