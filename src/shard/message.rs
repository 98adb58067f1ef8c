//! What the actor's mailbox takes. No other room sees these.

use super::courier::Courier;
use super::cut::CutGate;
use super::epoch::Epoch;
use super::snapshot::ShardSnapshot;
use crate::model::{Command, Error, Reply, SegmentId, Timestamp};
use actix::Message;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Where an answer goes. A dropped one tells the caller that the actor died.
pub(super) type ReplyTo<T> = oneshot::Sender<Result<T, Error>>;

/// One command, to be committed with the next group.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Write {
    pub command: Command,
    pub now: Timestamp,
    /// When it went to the mailbox.
    pub queued: Instant,
    /// When the key was seen to be absent, if it was.
    pub absent: Option<Epoch>,
    pub reply: ReplyTo<Reply>,
    /// Who carries the answer of a group there.
    pub courier: Courier,
    /// Admission; given back when the command is done, answered or not.
    pub _permits: [OwnedSemaphorePermit; 2],
}

/// The actor tells itself: commit what is pending.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Commit;

/// Park at the gate with a snapshot taken.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Cut {
    pub gate: Arc<CutGate>,
    pub reply: ReplyTo<ShardSnapshot>,
}

/// Make everything written durable.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Sync {
    pub reply: ReplyTo<()>,
}

/// Collect segments whose live share is under the threshold.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Gc {
    pub live_threshold: f64,
    pub slice_bytes: u64,
    pub reply: ReplyTo<GcOutcome>,
}

/// The actor tells itself: the next slice of GC.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct GcSlice;

/// Sync, close log and index, stop.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Close {
    pub reply: ReplyTo<()>,
}

/// What a round of GC did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcOutcome {
    /// Segments that are gone.
    pub removed: Vec<SegmentId>,
    /// Segments that have nothing live any more but are still being read, or may be asked about a
    /// transaction.
    pub pinned: Vec<SegmentId>,
    /// Segments that hold a damaged record and stay as they are.
    pub damaged: Vec<SegmentId>,
}
