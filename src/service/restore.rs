//! Restore: the whole file is checked, then its place in its chain, then it is merged.

use super::backup::new_chain;
use super::import::{Judged, Source};
use super::merge::Merge;
use super::{Service, UnfinishedMerge, blocking};
use crate::backup::{BackupFile, ChainState};
use crate::codec::RAW_SIZE_MAX;
use crate::model::{Error, ErrorKind, Result, Version};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Changes read ahead of the merge; their bytes are taken from its budget.
const READ_AHEAD: usize = 64;
/// A counter raised above this might run out.
const VERSION_MAX: Version = Version(1 << 62);

/// Which file to restore.
#[derive(Debug, Clone)]
pub enum RestoreSource {
    /// A path that a client named: confined to the backup root.
    Confined(String),
    /// A path that the operator named on the command line.
    Operator(PathBuf),
    /// A merge that a crash interrupted: it was let in before.
    Resumed(PathBuf),
}

/// A finished restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreDone {
    /// Records of keys merged, deletes included.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The store's version counter afterwards.
    pub max: Version,
}

impl Service {
    /// Merges a backup: versions are kept, what is newer here wins, deletes too. A damaged, cut,
    /// empty or foreign file, or a gap in its chain, is refused before anything changes. `progress`
    /// is told bytes checked and in all.
    ///
    /// # Errors
    /// `Unavailable` while another chore runs; `Invalid`, `NotFound`, `Corrupt`, `Conflict` about
    /// the file; what the shards answer, in which case the merge is finished at the next start.
    pub async fn restore(
        &self,
        source: RestoreSource,
        mut progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<RestoreDone> {
        let _chore = self.chore()?;
        let backups = self.0.parts.backups.clone();
        let resumed = matches!(source, RestoreSource::Resumed(_));
        // What comes in beside clients takes no more memory than they may; an operator may restore
        // whatever was ever stored, and so may who goes on.
        let raw_len_max = match source {
            RestoreSource::Confined(_) => self.0.rules.value_size_max,
            RestoreSource::Operator(_) | RestoreSource::Resumed(_) => RAW_SIZE_MAX,
        };
        let (file, judged, path, bytes) = blocking(move || {
            let file = match source {
                RestoreSource::Confined(path) => backups.open_file(&path)?,
                RestoreSource::Operator(path) | RestoreSource::Resumed(path) => {
                    BackupFile::open(&path)?
                }
            };
            let (path, bytes) = (file.path().to_owned(), file.length());
            let (source, judged) = Source::judge(file, raw_len_max, &mut progress)?;
            Ok((source, judged, path, bytes))
        })
        .await?;
        match resumed {
            true => self.admit_resumed(&judged)?,
            false => self.admit(&judged)?,
        }
        let into_empty = self.router().counter().current() == Version(0);
        let merge = UnfinishedMerge {
            archive: path,
            size: bytes,
            link: judged.link,
            into_empty,
        };
        self.begin(&judged, merge).await?;
        let records = self.merge(file).await?;
        let book = &self.0.parts.book;
        let mut finished = book.read();
        finished.finish(&judged.link);
        book.write(finished)?;
        Ok(RestoreDone {
            records,
            bytes,
            max: self.router().counter().current(),
        })
    }

    fn admit(&self, judged: &Judged) -> Result<()> {
        let book = self.0.parts.book.read();
        if let Some(merge) = &book.merging {
            return admit_over(merge, judged);
        }
        let max = self.router().counter().current();
        let mut horizon = Version(0);
        for shard in self.router().shards() {
            let reader = shard.reader()?;
            horizon = horizon.max(self.router().told(shard.id(), reader.horizon())?);
        }
        let fresh = max == Version(0);
        ChainState {
            own: book.chain,
            max,
            fresh,
            horizon,
            restored: book.restored,
        }
        .admit(&judged.link)
    }

    /// A file under the right name may be another backup by now.
    fn admit_resumed(&self, judged: &Judged) -> Result<()> {
        let merging = self.0.parts.book.read().merging;
        if merging.is_some_and(|merge| merge.link == judged.link) {
            return Ok(());
        }
        let message =
            "the backup is not the one whose restore was interrupted; restore that one again";
        Err(Error::new(ErrorKind::Conflict, "BACKUP_CHANGED", message))
    }

    /// The counter is raised first, durably, and a new chain begins: what is merged in at or below
    /// the old counter would be missing in the next increment. Where it already is as high as the
    /// backup, the floor lies above it, and so above every version that an earlier backup was
    /// complete to.
    async fn begin(&self, judged: &Judged, merge: UnfinishedMerge) -> Result<()> {
        if judged.highest > VERSION_MAX {
            let message = format!(
                "the backup's version {} is above {VERSION_MAX}, which no store reaches",
                judged.highest
            );
            return Err(Error::invalid("BACKUP_VERSION", message));
        }
        let counter = self.router().counter();
        let before = counter.current();
        counter.raise(judged.highest);
        let version = counter.current();
        self.router().mark(version).await?;
        let overlaps = before > Version(0) && before >= judged.highest;
        let floor = Version(version.0 + u64::from(overlaps));
        let book = &self.0.parts.book;
        let mut begun = book.read();
        begun.begin(merge, floor, new_chain()?);
        book.write(begun)
    }

    /// Sees to it that a version which is named now is above any that was named before the last
    /// merge: a watch from that one on has missed what was merged, one from this on has not.
    pub(super) fn leave_merge_behind(&self) {
        let (floor, counter) = (self.0.parts.book.read().floor, self.router().counter());
        while floor > Version(0) && counter.current() <= floor {
            counter.draw();
        }
    }

    /// A thread reads, this task merges; the merge's budget bounds what is read ahead.
    async fn merge(&self, mut source: Source) -> Result<u64> {
        let (sender, mut receiver) = mpsc::channel(READ_AHEAD);
        let now = self.router().now();
        let mut merge = Merge::begin(self)?;
        let budget = merge.budget();
        let runtime = tokio::runtime::Handle::current();
        let reading = tokio::task::spawn_blocking(move || {
            source.changes(now, &mut |change| {
                let room = runtime.block_on(budget.room_for(&change));
                sender.blocking_send((change, room)).is_ok()
            })
        });
        while let Some((change, room)) = receiver.recv().await {
            merge.take(change, room).await?;
        }
        blocking_result(reading).await?;
        merge.finish().await
    }
}

/// A merge that stopped half way is finished by its own archive, or by a full backup that goes as
/// far; anything else would hide that a part of it is missing.
fn admit_over(merge: &UnfinishedMerge, judged: &Judged) -> Result<()> {
    let (begun, new) = (&merge.link, &judged.link);
    let goes_as_far = new.origin == begun.origin && new.since == Version(0) && new.max >= begun.max;
    if new == begun || goes_as_far {
        return Ok(());
    }
    let message = format!(
        "the restore of {} was interrupted and is not finished: restore it again, or a full backup of the same chain",
        merge.archive.display()
    );
    Err(Error::new(
        ErrorKind::Conflict,
        "RESTORE_UNFINISHED",
        message,
    ))
}

async fn blocking_result(task: tokio::task::JoinHandle<Result<()>>) -> Result<()> {
    let lost = |error| {
        crate::model::Error::internal("TASK_FAILED", format!("reading the backup failed: {error}"))
    };
    task.await.map_err(lost)?
}
