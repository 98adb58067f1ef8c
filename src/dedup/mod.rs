//! Content and who refers to it, across shards: one upload of equal content at a time, references
//! whose put is still under way, and the sweep of what crashes left behind.
//!
//! This room knows digests and references; shards are reached through [`ContentStore`], which a
//! room above implements. Its invariant: a blob is never reclaimed while a reference to it exists,
//! and a reference is dropped only when its put is over and its owner's record does not name it.

mod actor;
mod holders;
mod single_flight;
mod sweep;

pub use actor::Dedup;
pub use holders::{HeldContent, Holders};
pub use single_flight::{Flight, OpenReference, Turn, Uploads};
pub use sweep::{ContentStore, OwnedReference, Pending, SweepReport};
