//! What a tree's tables hold, before any journal is applied to it.

use crate::index::database::STATE_ROW;
use crate::index::{IndexError, IndexState};
use lsm_tree::{AbstractTree as _, Config, SeqNo, SequenceNumberCounter};
use std::path::Path;

/// How far the tables of a tree are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tables {
    /// fjall's highest sequence number in them; `None` in none. Batches up to this are not applied
    /// again.
    pub seqno: Option<u64>,
    /// The number of the last batch in them; 0 when none in them has one.
    pub batch: u64,
}

/// Opens a tree as fjall is about to, and looks at what is durable of it.
///
/// # Errors
/// What lsm-tree finds wrong.
pub(super) fn read(tree: &Path) -> Result<Tables, IndexError> {
    let counter = SequenceNumberCounter::default;
    let opened = Config::new(tree, counter(), counter()).open();
    let tree = opened.map_err(fjall::Error::from)?;
    let state = tree.get(STATE_ROW, SeqNo::MAX);
    let state = state.map_err(fjall::Error::from)?;
    Ok(Tables {
        seqno: tree.get_highest_persisted_seqno(),
        batch: state
            .and_then(|row| IndexState::batch_number(&row))
            .unwrap_or(0),
    })
}
