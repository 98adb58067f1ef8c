//! What a shard's groups cost, counted by its writer and read by whoever asks.
//!
//! The meter belongs to the handle, so that it goes on counting when the shard is reopened: one
//! actor lives at a time, which is the one writer that a histogram allows.

use crate::model::{Distribution, GroupReport, Histogram};
use std::time::Duration;

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Meter {
    commands: Histogram,
    bytes: Histogram,
    sync_us: Histogram,
    index_us: Histogram,
    wait_us: Histogram,
}

/// What one group took.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupCost {
    /// Bytes in the log.
    pub bytes: u64,
    /// The sync of the log; next to nothing where the group is not synced.
    pub sync: Duration,
    /// The batch of the index.
    pub index: Duration,
}

/// What a shard's groups were like since the start. Those of several shards can be added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupStats {
    commands: Distribution,
    bytes: Distribution,
    sync_us: Distribution,
    index_us: Distribution,
    wait_us: Distribution,
}

impl Meter {
    /// A command's group begins this long after the command went to the mailbox.
    pub fn note_wait(&self, wait: Duration) {
        self.wait_us.record(micros(wait));
    }

    /// A group is committed.
    pub fn note_group(&self, commands: usize, cost: GroupCost) {
        self.commands.record(commands as u64);
        self.bytes.record(cost.bytes);
        self.sync_us.record(micros(cost.sync));
        self.index_us.record(micros(cost.index));
    }

    pub fn read(&self) -> GroupStats {
        GroupStats {
            commands: self.commands.read(),
            bytes: self.bytes.read(),
            sync_us: self.sync_us.read(),
            index_us: self.index_us.read(),
            wait_us: self.wait_us.read(),
        }
    }
}

impl GroupStats {
    /// Takes the groups of another shard in.
    pub fn add(&mut self, other: &Self) {
        self.commands.add(&other.commands);
        self.bytes.add(&other.bytes);
        self.sync_us.add(&other.sync_us);
        self.index_us.add(&other.index_us);
        self.wait_us.add(&other.wait_us);
    }

    /// The figures that people read.
    #[must_use]
    pub fn report(&self) -> GroupReport {
        GroupReport {
            groups: self.commands.count(),
            commands: self.commands.sum(),
            commands_per_group: self.commands.spread(),
            bytes_per_group: self.bytes.spread(),
            sync_us: self.sync_us.spread(),
            index_us: self.index_us.spread(),
            wait_us: self.wait_us.spread(),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_two_shards_add_up() {
        let (left, right) = (Meter::default(), Meter::default());
        let cost = GroupCost {
            bytes: 100,
            sync: Duration::from_millis(2),
            index: Duration::from_micros(30),
        };
        left.note_wait(Duration::from_micros(5));
        left.note_group(1, cost);
        right.note_group(3, cost);
        let mut sum = left.read();
        sum.add(&right.read());
        let report = sum.report();
        assert_eq!((report.groups, report.commands), (2, 4));
        assert_eq!(
            (report.commands_per_group.mean, report.sync_us.p99),
            (2.0, 2000)
        );
        assert_eq!((report.index_us.p50, report.wait_us.p50), (30, 5));
    }
}
