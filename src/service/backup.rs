//! Online backup: a cut, written to an archive, read back whole.

use super::link::random_u128;
use super::{ChainBook, Service, blocking};
use crate::backup::{ArchiveHeader, ArchiveReader, ArchiveWriter, BackupRoot, Entry};
use crate::codec::Kind;
use crate::model::{BlobRef, Digest, Error, Key, NamespaceId, Result, ShardId, Version};
use crate::router::Cut;
use crate::shard::{Found, ShardSnapshot};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// A finished backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupDone {
    /// The file, absolute.
    pub target: PathBuf,
    /// It holds the changes after this version; 0 for a full backup, which an increment becomes
    /// when it would miss something.
    pub since: Version,
    /// The version up to which it is complete.
    pub max: Version,
    /// Records of keys in it, deletes included.
    pub records: u64,
    /// Its size.
    pub bytes: u64,
}

/// How far a backup or a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupProgress {
    /// Bytes written.
    Written(u64),
    /// Bytes read and checked, and bytes in all.
    Checked(u64, u64),
}

/// Told how far the work is, often.
type OnProgress<'a> = &'a mut (dyn FnMut(BackupProgress) + Send);

/// A backup being written.
struct Backup<'a> {
    progress: OnProgress<'a>,
    cut: Cut,
    /// Namespaces of which nothing is to be seen, though their keys may be there still.
    dropped: HashSet<NamespaceId>,
    header: ArchiveHeader,
    writer: ArchiveWriter,
}

impl Service {
    /// Writes all changes after `since` to `<path>_[<since>-<max>].zstdb.bak` below the backup
    /// root, as of one moment, while requests go on. The file appears complete, synced and read
    /// back, or not at all.
    ///
    /// # Errors
    /// `Unavailable` while another chore runs or a shard does not serve; `Invalid` for a path that
    /// leaves the root; `Corrupt` when something that belongs in it is damaged; what the disk says.
    pub async fn backup(&self, path: &str, since: Version) -> Result<BackupDone> {
        self.backup_telling(path, since, |_| {}).await
    }

    /// [`Service::backup`], which tells how far it is.
    ///
    /// # Errors
    /// As there.
    pub async fn backup_telling(
        &self,
        path: &str,
        since: Version,
        mut progress: impl FnMut(BackupProgress) + Send + 'static,
    ) -> Result<BackupDone> {
        let chore = self.chore()?;
        let parts = &self.0.parts;
        let book = parts.book.read();
        let cut = self.router().cut().await?;
        let horizon = horizon_of(&cut)?;
        let since = if since < book.floor.max(horizon) || since > cut.version {
            Version(0)
        } else {
            since
        };
        let header = header_of(&book, &cut, since, horizon, self.router().now());
        let (root, path) = (parts.backups.clone(), path.to_owned());
        let service = self.clone();
        blocking(move || {
            let _chore = chore; // Until all is done, even if nobody waits for it any more.
            let done = write(&root, &path, (header, cut), &mut progress)?;
            service.lower_floor(&done)?;
            Ok(done)
        })
        .await
    }

    /// After a full backup of the chain that a merge began, increments go on from there.
    fn lower_floor(&self, done: &BackupDone) -> Result<()> {
        let book = &self.0.parts.book;
        let mut now = book.read();
        if done.since > Version(0) || now.floor <= done.max {
            return Ok(());
        }
        now.floor = done.max;
        book.write(now)
    }
}

fn header_of(
    book: &ChainBook,
    cut: &Cut,
    since: Version,
    horizon: Version,
    now: crate::model::Timestamp,
) -> ArchiveHeader {
    ArchiveHeader {
        store: book.store,
        chain: book.chain,
        since,
        max: cut.version,
        horizon,
        created_at: now,
    }
}

/// The highest tombstone horizon of any shard.
fn horizon_of(cut: &Cut) -> Result<Version> {
    let mut highest = Version(0);
    for shard in &cut.shards {
        highest = highest.max(cut.told(shard.id(), shard.horizon())?);
    }
    Ok(highest)
}

fn write(
    root: &Arc<BackupRoot>,
    path: &str,
    (header, cut): (ArchiveHeader, Cut),
    progress: OnProgress<'_>,
) -> Result<BackupDone> {
    let writer = ArchiveWriter::create(root, path, header)?;
    let all = cut.namespaces()?.into_iter();
    let dropped = all.filter(|it| it.dropped).map(|it| it.id).collect();
    let mut backup = Backup {
        progress: &mut *progress,
        dropped,
        cut,
        header,
        writer,
    };
    backup.write_namespaces()?;
    // What a list refers to stands before it.
    for index in 0..backup.cut.shards.len() {
        backup.write_blobs(index)?;
    }
    for index in 0..backup.cut.shards.len() {
        backup.write_lists(index)?;
    }
    for index in 0..backup.cut.shards.len() {
        backup.write_records(index)?;
    }
    let finished = backup.writer.finish()?;
    let written = crate::backup::BackupFile::open(&finished.target)?;
    let mut checked = |done, total| progress(BackupProgress::Checked(done, total));
    ArchiveReader::open(written)?.verify(&mut checked)?;
    Ok(BackupDone {
        target: finished.target,
        since: header.since,
        max: header.max,
        records: finished.counts.records(),
        bytes: finished.bytes,
    })
}

impl Backup<'_> {
    fn write_namespaces(&mut self) -> Result<()> {
        for namespace in self.cut.namespaces()? {
            self.writer.write(&Entry::Namespace(namespace))?;
        }
        Ok(())
    }

    /// Each content that a record of this backup names, once, by its home shard.
    fn write_blobs(&mut self, index: usize) -> Result<()> {
        let cut = &self.cut;
        let shard = &cut.shards[index];
        for found in shard.blobs() {
            let (digest, blob) = cut.told(shard.id(), found.map_err(Into::into))?;
            if !blob.is_in_chunks() && self.is_named(shard, digest)? {
                let value = cut.told(shard.id(), blob.sealed(Some(digest)))?;
                self.writer.write(&Entry::Blob { digest, value })?;
                (self.progress)(BackupProgress::Written(self.writer.bytes()));
            }
        }
        Ok(())
    }

    /// Each list that a record of this backup names.
    fn write_lists(&mut self, index: usize) -> Result<()> {
        let cut = &self.cut;
        let shard = &cut.shards[index];
        for found in shard.blobs() {
            let (digest, blob) = cut.told(shard.id(), found.map_err(Into::into))?;
            if !blob.is_in_chunks() || !self.is_named(shard, digest)? {
                continue;
            }
            let list = cut.told(shard.id(), blob.chunks())?;
            for reference in list.references() {
                // Without its reference the chunk would not be in the backup.
                if !cut.holds(reference)? {
                    let what = format!("chunk {} of value {digest}", reference.digest);
                    return Err(not_there(shard.id(), &what));
                }
            }
            let value = cut.told(shard.id(), blob.sealed(Some(digest)))?;
            self.writer.write(&Entry::Blob { digest, value })?;
            (self.progress)(BackupProgress::Written(self.writer.bytes()));
        }
        Ok(())
    }

    fn write_records(&mut self, index: usize) -> Result<()> {
        fail::fail_point!("backup::records");
        let cut = &self.cut;
        let shard = &cut.shards[index];
        for found in shard.records() {
            let (id, record) = cut.told(shard.id(), found.map_err(Into::into))?;
            if self.takes(&record) {
                let key = Key::of_id(record.row.namespace, &id)?;
                let entry = match record.row.is_live(self.header.created_at) {
                    true => entry_of(cut, shard.id(), key, &record)?,
                    false => Entry::Tombstone {
                        key,
                        version: record.row.version,
                    },
                };
                self.writer.write(&entry)?;
                (self.progress)(BackupProgress::Written(self.writer.bytes()));
            }
        }
        Ok(())
    }
}

impl Backup<'_> {
    /// Whether a key's record goes into the backup.
    fn takes(&self, record: &Found) -> bool {
        record.row.version > self.header.since && !self.dropped.contains(&record.row.namespace)
    }

    /// Whether any record that goes into the backup names this content.
    fn is_named(&self, home: &ShardSnapshot, digest: Digest) -> Result<bool> {
        let cut = &self.cut;
        for found in home.references_to(digest) {
            let (blob, owner) = cut.told(home.id(), found.map_err(Into::into))?;
            if let Some(list) = owner.list() {
                if self.is_list_named(list, blob)? {
                    return Ok(true);
                }
                continue;
            }
            let record = cut.record(&owner)?;
            let names = |record: &Found| {
                let is_live = record.row.is_live(self.header.created_at);
                self.takes(record) && is_live && record.link() == Some(blob)
            };
            if record.as_ref().is_some_and(names) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Backup<'_> {
    /// Whether a list that refers to a chunk goes into the backup.
    fn is_list_named(&self, digest: Digest, chunk: BlobRef) -> Result<bool> {
        let list = self.cut.blob(digest)?;
        if !list.is_some_and(|list| list.row.names_chunks_by(chunk.ref_id)) {
            return Ok(false);
        }
        let mut shards = self.cut.shards.iter();
        let home = shards.find(|shard| shard.id() == self.cut.home_of(digest));
        home.map_or(Ok(false), |home| self.is_named(home, digest))
    }
}

fn not_there(shard: ShardId, what: &str) -> Error {
    let message = format!("shard {shard}: {what} is not there; run `shardkeep verify`");
    Error::corrupt("CONTENT_MISSING", message)
}

fn entry_of(cut: &Cut, shard: ShardId, key: Key, record: &Found) -> Result<Entry> {
    let (version, expiry) = (record.row.version, record.row.expiry);
    let attributes = record.row.attributes.clone();
    match (record.row.kind, record.link()) {
        (Kind::Tombstone, _) => Ok(Entry::Tombstone { key, version }),
        // Without its reference the content would not be in the backup: better none than that.
        (Kind::Link, Some(link)) if !cut.holds(link)? => {
            Err(not_there(shard, &format!("the content of key {key}")))
        }
        (Kind::Link, Some(link)) => Ok(Entry::Reference {
            key,
            version,
            expiry,
            attributes,
            digest: link.digest,
            info: record.row.info,
        }),
        (Kind::Value, _) => {
            let digest = key.digest().filter(|_| record.row.content);
            let value = cut.told(shard, record.sealed(digest))?;
            Ok(Entry::Value {
                key,
                version,
                expiry,
                attributes,
                value,
            })
        }
        (kind, _) => {
            let message = format!(
                "shard {shard}: the row of key {key} is a {kind:?}; run `shardkeep verify`"
            );
            Err(Error::corrupt("INDEX_DAMAGED", message))
        }
    }
}

/// A chain of its own for whatever follows a merge.
pub(super) fn new_chain() -> Result<crate::backup::ChainId> {
    random_u128().map(crate::backup::ChainId)
}
