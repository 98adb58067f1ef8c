//! How a reader pins what it reads: the segments first, then the row.

use crate::index::{IndexError, Row};
use crate::log::{SegmentMap, SharedSegments};
use std::sync::Arc;

/// Pins, then looks up, so that the pinned segments hold whatever the row names; a row newer
/// than the pinned map is looked up again.
///
/// # Errors
/// What `look` answers.
pub(super) fn find(
    shared: &SharedSegments,
    look: impl Fn() -> Result<Option<Row>, IndexError>,
) -> Result<Option<(Row, Arc<SegmentMap>)>, IndexError> {
    let mut segments = shared.load_full();
    let Some(mut row) = look()? else {
        return Ok(None);
    };
    while !segments.contains_key(&row.place.record.segment) && row.inline.is_none() {
        let newer = shared.load_full();
        let again = look()?;
        if Arc::ptr_eq(&newer, &segments) && again.as_ref() == Some(&row) {
            break; // Nothing has changed: the row names a segment that is not there.
        }
        let Some(again) = again else { return Ok(None) };
        (segments, row) = (newer, again);
    }
    Ok(Some((row, segments)))
}
