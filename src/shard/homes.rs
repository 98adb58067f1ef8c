//! The table of slots and shards.

use crate::model::{ShardId, Slot};

/// Which shard each slot belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Homes(Vec<ShardId>);

impl Homes {
    /// All slots spread evenly over `shards`.
    #[must_use]
    pub fn even(shards: u16) -> Self {
        let count = u16::try_from(Slot::COUNT).expect("1024 fits u16");
        Self(
            (0..count)
                .map(|slot| ShardId(slot % shards.max(1)))
                .collect(),
        )
    }

    /// A table of exactly [`Slot::COUNT`] entries.
    #[must_use]
    pub fn from_table(table: Vec<ShardId>) -> Option<Self> {
        (table.len() == Slot::COUNT).then_some(Self(table))
    }

    /// The shard of a slot.
    #[must_use]
    pub fn shard_of(&self, slot: Slot) -> ShardId {
        self.0[usize::from(slot.0)]
    }

    /// Every slot's shard.
    #[must_use]
    pub fn table(&self) -> &[ShardId] {
        &self.0
    }
}
