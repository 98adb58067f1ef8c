//! Snapshots that a client holds, and what the server tells of them.

use crate::model::{Keys, Span, ensure, millis};
use shardkeep::proto::v1;
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds of every lease: no life of a server is that long.
pub const LEASE: u64 = 3_600_000;

/// What a snapshot shows, and what was told of it last.
#[derive(Debug, Clone)]
pub struct Held {
    pub keys: Keys,
    pub told: v1::Snapshot,
}

/// The snapshots of one client in one life of the server.
#[derive(Debug, Clone, Default)]
pub struct Snapshots {
    pub held: BTreeMap<String, Held>,
    dropped: BTreeSet<String>,
}

impl Snapshots {
    /// One was taken within a span, at a version or behind it.
    pub fn take(&mut self, told: &v1::Snapshot, from: u64, keys: &Keys) -> Result<(), String> {
        // The namespaces were there before anybody came.
        ensure!(
            told.version >= from.max(1),
            "a snapshot of {} after {from}",
            told.version
        );
        let held = Held {
            keys: keys.clone(),
            told: told.clone(),
        };
        ensure!(
            self.held.insert(told.id.clone(), held).is_none(),
            "a snapshot is told twice: {told:?}"
        );
        Ok(())
    }

    /// One has a new lease since a span: nothing else of it is new.
    pub fn renew(&mut self, id: &str, told: &v1::Snapshot, span: Span) -> Result<(), String> {
        let held = self.held.get_mut(id).ok_or("nobody holds it")?;
        let expected = v1::Snapshot {
            expire_time: told.expire_time,
            ..held.told.clone()
        };
        ensure!(*told == expected, "{told:?}, not {expected:?}");
        let ends = told.expire_time.as_ref().map(millis);
        let fits = ends.is_some_and(|at| (span.0 + LEASE..=span.1 + LEASE + 1).contains(&at));
        ensure!(fits, "its lease ends at {ends:?}, renewed within {span:?}");
        held.told = told.clone();
        Ok(())
    }

    pub fn drop(&mut self, id: &str) {
        self.held.remove(id);
        self.dropped.insert(id.to_owned());
    }

    /// Whether a list has what this client holds, and nothing that it let go.
    pub fn check_list(&self, told: &[v1::Snapshot]) -> Result<(), String> {
        let created = |it: &v1::Snapshot| it.create_time.as_ref().map(millis);
        ensure!(told.is_sorted_by_key(created), "not the oldest first");
        let listed: BTreeMap<&String, &v1::Snapshot> = told.iter().map(|it| (&it.id, it)).collect();
        ensure!(listed.len() == told.len(), "one is listed twice");
        for (id, held) in &self.held {
            let told = listed.get(id);
            ensure!(
                told.is_some_and(|told| **told == held.told),
                "{:?} is listed as {told:?}",
                held.told
            );
        }
        let gone = self.dropped.iter().find(|id| listed.contains_key(id));
        ensure!(gone.is_none(), "{gone:?} was deleted, and is listed");
        Ok(())
    }
}
