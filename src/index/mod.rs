//! The index of a shard: where the newest record of every entity stands. A cache of the log, kept
//! in a fjall database of its own; it can be thrown away and rebuilt at any moment.
//!
//! This room knows rows, prefixes, batches and snapshots. It does not know what a row means for a
//! command. Its invariant: the state row in every batch names the log position that all other rows
//! are of, so that after any crash replay starts exactly there.
//!
//! Traps of fjall that shape this room (version 3.1.13, read in its source): point reads outside a
//! snapshot see a batch while it is being applied, in the order of its rows; ranges outside a
//! snapshot tear. So scans go through snapshots only, and batches hold what is pointed to before
//! what points to it.

mod batch;
mod database;
mod expiry;
mod make;
mod preflight;
mod room;
mod row;
mod state;

pub use batch::IndexBatch;
pub use database::{Index, IndexError, IndexOptions, IndexSnapshot, contained};
pub use expiry::Expiry;
pub use row::{Place, Row};
pub use state::{IndexState, SegmentUsage, Totals};
