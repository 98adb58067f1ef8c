//! Room for a group before it is planned: in the log, and in the index, which takes its own only when
//! the log is written already and must not fail then.
//!
//! What leads out of a full disk may go below the floor and use the reserve; nothing else may.

use super::error::ShardError;
use super::store::ShardStore;
use crate::codec::FRAME_HEADER_SIZE;
use crate::log::{LogError, free_space};

/// What the index's journal may take for a batch beside the rows themselves.
const JOURNAL_SLACK: u64 = 64 * 1024;

impl ShardStore {
    /// Makes room for commands of up to `bytes`. `essential`: whether they lead out of a full disk
    /// and may use the reserve.
    ///
    /// # Errors
    /// `Full` with nothing changed; anything else means that the shard must be reopened.
    pub fn reserve(&mut self, bytes: u64, essential: bool) -> Result<(), ShardError> {
        // What frees space carries no value, and so needs no dictionary.
        let owed = if essential {
            0
        } else {
            self.dictionaries.owed_bytes()
        };
        self.reserve_both(bytes + owed, bytes, essential)
    }

    /// As [`ShardStore::reserve`], where the index grows by less than the log. The index takes its
    /// space when the log is written already, so it is seen to before.
    pub(super) fn reserve_both(
        &mut self,
        log_bytes: u64,
        index_bytes: u64,
        essential: bool,
    ) -> Result<(), ShardError> {
        let needed = log_bytes + FRAME_HEADER_SIZE as u64;
        let floor = if essential {
            index_bytes + JOURNAL_SLACK
        } else {
            self.options.space_floor
        };
        self.check_room(floor + self.log.growth(needed, !essential), essential)?;
        let context = self.group_context(self.now);
        match self.log.reserve(needed, context) {
            Err(LogError::Full { .. }) if essential && self.options.ballast.release() => {
                Ok(self.log.reserve(needed, context)?)
            }
            done => Ok(done?),
        }
    }

    fn check_room(&self, wanted: u64, essential: bool) -> Result<(), ShardError> {
        loop {
            // A filesystem that does not say how full it is says so when it is.
            let Ok(free) = free_space(&self.options.dir) else {
                return Ok(());
            };
            if free >= wanted {
                return Ok(());
            }
            if !(essential && self.options.ballast.release()) {
                let path = self.options.dir.clone();
                let needed = wanted - free;
                return Err(LogError::Full { path, needed }.into());
            }
        }
    }
}
