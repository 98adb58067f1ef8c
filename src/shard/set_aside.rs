//! An index that cannot be used makes room for a new one, which inherits the one thing that the log
//! does not say of itself: how far it was synced.

use super::error::ShardError;
use super::store::ShardOptions;
use crate::index::{Index, IndexState, Totals};
use crate::log::{LogError, Position};
use std::path::Path;

/// Puts the index aside and an empty one, with its evidence, in its place.
pub(super) fn set_aside(options: &ShardOptions) -> Result<(), ShardError> {
    let evidence = evidence(options)?;
    move_index(&options.dir)?;
    keep_evidence(options, evidence)
}

/// What the index to be set aside still says about the log: how far it was synced, so that the
/// rebuild can tell a torn tail from a damaged one. Nothing, if it does not open.
fn evidence(options: &ShardOptions) -> Result<IndexState, ShardError> {
    let index = match Index::open(&options.dir.join("index"), options.index) {
        // What does not open for now may hold the only proof: it is asked again later.
        Err(error) if !error.needs_rebuild() => return Err(error.into()),
        opened => opened.ok(),
    };
    let state = index
        .and_then(|index| index.state().ok().flatten())
        .unwrap_or_default();
    Ok(IndexState {
        applied: Position::default(),
        totals: Totals::default(),
        ..state
    })
}

/// The evidence outlives this attempt: it is the new index's first row, durable before the log is
/// looked at.
fn keep_evidence(options: &ShardOptions, evidence: IndexState) -> Result<(), ShardError> {
    let index = Index::make(&options.dir.join("index"), options.index)?;
    index.batch().commit(&evidence)?;
    Ok(index.persist()?)
}

/// Moves an unusable index out of the way. One old copy is kept for whoever wants to know what
/// happened to it.
fn move_index(dir: &Path) -> Result<(), LogError> {
    let index = dir.join("index");
    let aside = dir.join("index.set-aside");
    let io = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| LogError::Io {
            operation,
            path,
            source,
        }
    };
    if !index.exists() {
        return Ok(());
    }
    if aside.exists() {
        std::fs::remove_dir_all(&aside).map_err(io("remove", &aside))?;
    }
    crate::log::rename_synced(&index, &aside)
}
