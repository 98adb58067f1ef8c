//! Changes of a shard's segment map: swapped whole by its one writer, pinned by whoever loads it.

use super::{Segment, SegmentMap, SharedSegments};
use crate::model::SegmentId;
use std::sync::Arc;

/// Shows a segment to readers.
pub(super) fn add(shared: &SharedSegments, segment: &Arc<Segment>) {
    publish(shared, |map| {
        map.insert(segment.id(), segment.clone());
    });
}

/// Takes a segment out of the map, so that no new reader gets it. It is given back with all its
/// readers' pins on it.
pub(super) fn retire(shared: &SharedSegments, id: SegmentId) -> Option<Arc<Segment>> {
    let segment = shared.load().get(&id).cloned()?;
    publish(shared, |map| {
        map.remove(&id);
    });
    Some(segment)
}

/// Takes a segment out of the map for good, or leaves it there because somebody reads it: whether
/// it is gone. The caller holds it `held` times itself. First the map, then the count: who loads
/// the map in between does not get it.
pub(super) fn retire_unread(shared: &SharedSegments, id: SegmentId, held: usize) -> bool {
    let Some(segment) = retire(shared, id) else {
        return true;
    };
    let unread = Arc::strong_count(&segment) <= held + 1;
    if !unread {
        add(shared, &segment);
    }
    unread
}

fn publish(shared: &SharedSegments, change: impl Fn(&mut SegmentMap)) {
    let mut map = SegmentMap::clone(&shared.load());
    change(&mut map);
    shared.store(Arc::new(map));
}
