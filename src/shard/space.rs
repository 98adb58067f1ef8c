//! Room for a group before it is planned: in the log, and in the index, which takes its own only when
//! the log is written already and must not fail then.
//!
//! What leads out of a full disk may go below the floor and use its share of the reserve; nothing
//! else may, and nothing else is let in until the reserve is whole again.

use super::error::ShardError;
use super::store::ShardStore;
use crate::codec::FRAME_HEADER_SIZE;
use crate::log::{LogError, Purpose, free_space};
use crate::model::{Command, SegmentId};

/// What a segment and the index's journal may take beside the records that are copied.
const COPY_SLACK: u64 = 128 * 1024;

/// Bytes that a group can take at most.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Need {
    /// In the log, frame aside.
    pub log: u64,
    /// Of rows in the index.
    pub rows: u64,
}

impl Need {
    /// What these commands need together.
    pub fn of<'a>(commands: impl Iterator<Item = &'a Command>, inline_max: usize) -> Self {
        commands.fold(Self::default(), |need, command| Self {
            log: need.log + command.log_size_max(),
            rows: need.rows + command.rows_size_max(inline_max),
        })
    }
}

impl ShardStore {
    /// Makes room for commands of up to `bytes`. `essential`: whether they lead out of a full disk
    /// and may use the reserve.
    ///
    /// # Errors
    /// `Full` with nothing changed; anything else means that the shard must be reopened.
    pub fn reserve(&mut self, bytes: u64, essential: bool) -> Result<(), ShardError> {
        let need = Need {
            log: bytes,
            rows: bytes,
        };
        self.reserve_for(need, essential.then_some(Purpose::Free))
    }

    /// As [`ShardStore::reserve`]; `way_out`, if it is one, says which share of the reserve it has.
    pub(super) fn reserve_for(
        &mut self,
        need: Need,
        way_out: Option<Purpose>,
    ) -> Result<(), ShardError> {
        // What leads out carries no new value, and so needs no dictionary.
        let owed = match way_out {
            None => self.dictionaries.owed_bytes(),
            Some(_) => 0,
        };
        let log = need.log + owed + FRAME_HEADER_SIZE as u64;
        let rows = need.rows;
        let growth = self.log.growth(log, true) + self.index.growth(rows, true);
        let ballast = self.options.ballast.clone();
        let _turn = (growth > 0).then(|| ballast.turn());
        let Some(purpose) = way_out else {
            self.check_floor(growth)?;
            return self.take_room(log, rows, true);
        };
        self.make_room_for_a_flush(rows, purpose);
        let mut in_steps = true;
        loop {
            match self.take_room(log, rows, in_steps) {
                Err(full) if full.is_disk_full() => {
                    let least = self.log.growth(log, false) + self.index.growth(rows, false);
                    if !in_steps && !ballast.release(purpose, least) {
                        return Err(full);
                    }
                    in_steps = false;
                }
                done => return done,
            }
        }
    }

    /// Whether a user may write: the floor stays free, and the reserve is whole.
    fn check_floor(&self, growth: u64) -> Result<(), ShardError> {
        let ballast = &self.options.ballast;
        let missing = ballast.missing();
        let wanted = self.options.space_floor + growth + missing;
        // A filesystem that does not say how full it is says so when it is.
        let free = free_space(&self.options.dir).unwrap_or(u64::MAX);
        if free < wanted {
            let path = self.options.dir.clone();
            let needed = wanted - free;
            return Err(LogError::Full { path, needed }.into());
        }
        if missing > 0 {
            ballast.take();
        }
        Ok(())
    }

    fn take_room(&mut self, log: u64, rows: u64, in_steps: bool) -> Result<(), ShardError> {
        let context = self.group_context(self.now);
        self.log.reserve(log, context)?;
        Ok(self.index.reserve(rows, in_steps)?)
    }

    /// The index writes its buffer out in the background, and is lost for now when it finds no room.
    /// There may be none all the same: then it is opened anew.
    fn make_room_for_a_flush(&self, rows: u64, purpose: Purpose) {
        if !self.index.is_about_to_flush(rows) {
            return;
        }
        let wanted = self.index.flush_size();
        while let Ok(free) = free_space(&self.options.dir) {
            if free >= wanted || !self.options.ballast.release(purpose, wanted - free) {
                return;
            }
        }
    }

    /// Whether everything live in a segment can be copied before the segment goes. A copy that ends
    /// half way would leave less room than there was, and nothing to show for it.
    pub(super) fn has_room_to_collect(&self, id: SegmentId) -> bool {
        let live = self.usage().get(&id).map_or(0, |usage| usage.live_bytes);
        if live == 0 {
            return true;
        }
        let needed = live + COPY_SLACK;
        let reserve = self.options.ballast.available(Purpose::Collect);
        let free = free_space(&self.options.dir).unwrap_or(u64::MAX);
        free.saturating_add(reserve) >= needed
    }

    /// What a collected segment leaves goes to the reserve first.
    pub(super) fn refill_reserve(&self) {
        self.options.ballast.refill();
    }
}
