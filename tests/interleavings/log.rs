//! Stands in for the segments, whose files are not what is asked about.

pub use shardkeep::log::{LogError, Position};

use crate::model::SegmentId;
use crate::sync::{Arc, atomic::AtomicBool};
use real_std::collections::BTreeMap;

#[path = "../../src/log/shelf.rs"]
pub mod shelf;

/// A segment whose file may be gone.
#[derive(Debug)]
pub struct Segment {
    pub id: SegmentId,
    pub unlinked: AtomicBool,
}

impl Segment {
    pub fn id(&self) -> SegmentId {
        self.id
    }
}

pub type SegmentMap = BTreeMap<SegmentId, Arc<Segment>>;
pub type SharedSegments = Arc<crate::ArcSwap<SegmentMap>>;

/// See [`shelf::retire_unread`].
pub fn retire_unread(shared: &SharedSegments, id: SegmentId) -> bool {
    shelf::retire_unread(shared, id, 1)
}

/// See [`shelf::add`].
pub fn add(shared: &SharedSegments, segment: &Arc<Segment>) {
    shelf::add(shared, segment);
}

/// See [`shelf::retire`].
pub fn retire(shared: &SharedSegments, id: SegmentId) -> Option<Arc<Segment>> {
    shelf::retire(shared, id)
}
