//! One shard: an actor that orders and commits its writes, and readers that never wait for it.
//!
//! What others hold is a [`ShardHandle`]; the actor behind it is private and can be replaced.
//! Rooms inside: [`plan`] decides without I/O, `store` executes (log, then index), `replay` does
//! the same from the log after a crash, `ballot` brings the shards of a batch to one result and `participant` is a
//! shard at its gate, `gc` rewrites segments in slices, `reader` answers Gets, `transactions`
//! resolves what a crash left undecided, `meter` counts what groups cost, `courier` hands their answers over, `feed` tells how far the
//! writer is and `follow` reads the log behind it, `void` knows records that say nothing.
//!
//! # Crash points of a put, and the fact that proves what survives
//! | crash after | durable fact | after recovery |
//! |---|---|---|
//! | plan | none | nothing of it |
//! | write, before the sync | a frame that no proof reaches | whole if the disk holds it whole, else nothing; nobody was answered |
//! | sync, before the index | the frame, synced | replayed from the index's `applied`; visible |
//! | index, before the answer | frame and row | visible |
//!
//! A put over two shards (a blob elsewhere) commits the blob with its reference first, then the
//! record that names the reference, then the drop of a replaced reference. A crash between them
//! leaves a reference that no record names; the sweep finds it by looking at its owner.
//!
//! # Crash points of GC
//! Copies keep version and sequence number. A crash after some copies leaves two places for one
//! record; the later one wins in replay as in the live index, and they are equal. A crash before
//! the `purged` record leaves the whole old segment, which is then collected again. After it, the
//! record is replayed: rows that still point into the segment are forgotten tombstones and go;
//! then the file goes. A segment that is missing without that record is damage.
//!
//! # Transactions
//! A prepare says nothing until a decision stands behind it; what a crash left without one is
//! resolved by all shards together before they serve, by the rule in `transactions`.
//!
//! # How a reader never sees half a batch
//! One command's rows for one key are one row: a Get sees the old one or the new. A link's row is
//! put behind its blob's row, in one batch, so who sees the link finds the blob. While the rows of
//! several keys come, readers of single keys wait, in all shards of the batch at once: see `showing`.
//! Scans read a snapshot.

mod actor;
mod ballot;
mod batch;
mod blob;
mod commit;
mod courier;
mod cut;
mod dictionary;
mod epoch;
mod error;
mod feed;
mod follow;
mod gather;
mod gc;
mod handle;
mod homes;
mod ledger;
mod merge;
mod message;
mod meter;
mod namespace;
mod participant;
mod pin;
pub mod plan;
mod prepare;
mod reader;
mod replay;
mod set_aside;
mod showing;
mod snapshot;
mod space;
mod store;
mod transactions;
mod verify;
mod view;
mod void;

pub use ballot::{Ballot, Outcome};
pub use cut::CutGate;
pub use epoch::Epoch;
pub use error::{IndexVerdict, ShardError};
pub use follow::{Change, Changed, Follower};
pub use gather::payloads;
pub use handle::{ShardHandle, ShardHealth};
pub use homes::Homes;
pub use message::GcOutcome;
pub use meter::GroupStats;
pub use participant::Admitted;
pub use reader::{Found, Look, ShardReader};
pub use showing::Still;
pub use snapshot::ShardSnapshot;
pub use store::{OpenReport, ShardOptions, ShardStats, ShardStore};
pub use transactions::Transactions;
pub use verify::{
    Chunk, Counts, PROBLEMS_MAX, Place, Problems, Progress, ROW_BYTES, ShardVerdict, StoreVerdict,
    Together, check_chunk, index_path, large_problem, verify_shard, verify_store, wrong_length,
};
