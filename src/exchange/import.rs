//! What a file holds, into a store, under new versions.

use super::chunked::put_chunked;
use super::contents::Contents;
use super::incoming::{Incoming, Said};
use super::keys::{Keys, KeysError, Report};
use super::now::now;
use crate::backup::{ArchiveReader, BackupFile, Entry, Kind};
use crate::client::{self, Batch, Expect, PutOptions};
use crate::model::{Digest, Namespace, Result};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// Keys of one commit: so many, of so many bytes, or one larger value.
const BATCH_KEYS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// An export that was read whole and found sound.
#[derive(Debug)]
pub struct ImportFile {
    reader: Arc<ArchiveReader>,
    keys: u64,
    namespace: Option<Namespace>,
    contents: Contents,
}

impl ImportFile {
    /// Whether a file is an export; one that is no archive at all is none.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        export_at(path).is_ok_and(|found| found.is_some())
    }

    /// Reads a whole file; `None` for one that is a backup. Blocks.
    ///
    /// # Errors
    /// `Corrupt`, `Invalid` and what the system answers: nothing of it is to be taken in.
    pub fn check(path: &Path) -> Result<Option<Self>> {
        let Some(reader) = export_at(path)? else {
            return Ok(None);
        };
        let reader = Arc::new(reader);
        let mut checked = Self {
            reader: Arc::clone(&reader),
            keys: 0,
            namespace: None,
            contents: Contents::of(Arc::clone(&reader)),
        };
        let mut entries = reader.entries();
        while let Some(position) = entries.position()
            && let Some(entry) = entries.next()
        {
            match entry? {
                Entry::Namespace(theirs) => checked.namespace = Some(theirs),
                Entry::Blob { digest, value } => checked.contents.note(position, digest, value)?,
                entry => {
                    if let Incoming::Large(said, digest) = Incoming::of(entry)? {
                        checked.contents.check(digest, said.len)?;
                    }
                    checked.keys += 1;
                }
            }
        }
        // What made the walk end before the end.
        entries.next().transpose()?;
        Ok(Some(checked))
    }

    /// Keys in it.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// The namespace that they were of; `None` for the default one.
    #[must_use]
    pub fn namespace(&self) -> Option<&Namespace> {
        self.namespace.as_ref()
    }
}

/// The reader of a file, if it is an export.
fn export_at(path: &Path) -> Result<Option<ArchiveReader>> {
    let file = BackupFile::open(path)?;
    match file.recognise()? {
        Kind::Zstdb => Ok(None),
        Kind::Own => {
            let reader = ArchiveReader::open(file)?;
            let is_export = reader.header().is_export();
            Ok(is_export.then_some(reader))
        }
    }
}

/// What became of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// They were put.
    pub written: u64,
    /// They were there already, with this very value, expiry and metadata.
    pub unchanged: u64,
    /// Others were there, and are.
    pub kept: u64,
    /// Their time was over.
    pub expired: u64,
}

impl Imported {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.written + self.unchanged + self.kept + self.expired
    }

    fn count(&mut self, fate: Fate) {
        let count = match fate {
            Fate::Written => &mut self.written,
            Fate::Unchanged => &mut self.unchanged,
            Fate::Kept => &mut self.kept,
            Fate::Expired => &mut self.expired,
        };
        *count += 1;
    }

    fn add(&mut self, other: &Self) {
        self.written += other.written;
        self.unchanged += other.unchanged;
        self.kept += other.kept;
        self.expired += other.expired;
    }
}

/// An import on its way.
pub struct Import<'a, K, R> {
    keys: &'a K,
    keep: bool,
    contents: Contents,
    done: Imported,
    report: R,
}

impl<'a, K: Keys, R: Report> Import<'a, K, R> {
    /// An import of a file into keys, of which those that are there stay as they are where `keep`.
    pub fn new(keys: &'a K, file: &ImportFile, keep: bool, report: R) -> Self {
        Self {
            keys,
            keep,
            contents: file.contents.clone(),
            done: Imported::default(),
            report,
        }
    }

    /// How far it is.
    pub fn done(&self) -> Imported {
        self.done
    }

    /// Puts the keys in their order, in commits of their own.
    ///
    /// # Errors
    /// What the keys answer; those before are in, and another import goes on behind them.
    pub async fn run(&mut self, file: &ImportFile) -> Result<(), K::Error> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for entry in file.reader.entries() {
            let entry = entry?;
            if matches!(entry, Entry::Namespace(_) | Entry::Blob { .. }) {
                continue;
            }
            match Incoming::of(entry)? {
                Incoming::Whole(said, data) => {
                    let size = data.len();
                    let is_full = bytes + size > BATCH_BYTES_MAX && bytes > 0;
                    if batch.len() == BATCH_KEYS_MAX || is_full {
                        self.write(std::mem::take(&mut batch)).await?;
                        bytes = 0;
                    }
                    bytes += size;
                    batch.push((said, data));
                }
                Incoming::Large(said, digest) => {
                    self.write(std::mem::take(&mut batch)).await?;
                    bytes = 0;
                    while !self.try_to_write_large(&said, digest).await? {}
                }
            }
        }
        self.write(batch).await
    }

    /// Writes some keys, all of them or none.
    async fn write(&mut self, batch: Vec<(Said, Bytes)>) -> Result<(), K::Error> {
        while !batch.is_empty() && !self.try_to_write(&batch).await? {
            // Somebody has put a key meanwhile that is to be kept: look again.
        }
        Ok(())
    }

    async fn try_to_write(&mut self, batch: &[(Said, Bytes)]) -> Result<bool, K::Error> {
        let there = self.there(batch).await?;
        let (mut changes, mut done) = (Vec::new(), Imported::default());
        for (incoming, there) in batch.iter().zip(there) {
            match self.fate(&incoming.0, there) {
                Fate::Written => changes.push(incoming),
                fate => done.count(fate),
            }
        }
        done.written = changes.len() as u64;
        if !self.put_all(&changes).await? {
            return Ok(false);
        }
        self.done.add(&done);
        let bytes = batch.iter().map(|(said, _)| said.len).sum();
        self.report.advance(bytes);
        Ok(true)
    }

    /// Writes a key with a large value; `false` when one that is to be kept has come meanwhile.
    async fn try_to_write_large(&mut self, said: &Said, digest: Digest) -> Result<bool, K::Error> {
        let head = self.keys.heads(vec![said.key.clone()]).await?;
        let there = match head.into_iter().next().flatten() {
            None => There::Nothing,
            Some(head) if said.is_of(&head) && head.digest == Some(digest) => There::Same,
            Some(_) => There::Other,
        };
        let fate = self.fate(said, there);
        if fate == Fate::Written {
            let value = self.contents.large(digest)?;
            let (place, options) = ((self.keys, &said.key), self.options(said));
            match put_chunked(place, &value, &options, &self.report).await {
                Err(error) if self.keep && has_come(&error) => return Ok(false),
                put => drop(put?),
            }
        }
        self.done.count(fate);
        Ok(true)
    }

    /// What becomes of a key.
    fn fate(&self, said: &Said, there: There) -> Fate {
        match there {
            _ if said.is_over(now()) => Fate::Expired,
            There::Same => Fate::Unchanged,
            There::Other if self.keep => Fate::Kept,
            There::Other | There::Nothing => Fate::Written,
        }
    }

    /// What is there under the keys. Only a value that may be the same is read.
    async fn there(&self, batch: &[(Said, Bytes)]) -> Result<Vec<There>, K::Error> {
        let keys = batch.iter().map(|it| it.0.key.clone()).collect();
        let heads = self.keys.heads(keys).await?;
        let may_be = |((said, _), head): (&(Said, Bytes), &Option<client::Entry>)| {
            let head = head.as_ref()?;
            said.is_of(head).then(|| said.key.clone())
        };
        let asked: Vec<Bytes> = batch.iter().zip(&heads).filter_map(may_be).collect();
        let mut read = match asked.is_empty() {
            true => Vec::new(),
            false => self.keys.get_many(asked).await?,
        }
        .into_iter();
        let there = batch
            .iter()
            .zip(heads)
            .map(|((said, data), head)| match head {
                None => There::Nothing,
                Some(head) if !said.is_of(&head) => There::Other,
                Some(_) => match read.next().flatten() {
                    Some(value) if value.data == *data => There::Same,
                    _ => There::Other,
                },
            });
        Ok(there.collect())
    }

    /// Puts keys together; `false` when one that is to be kept has come meanwhile.
    async fn put_all(&self, changes: &[&(Said, Bytes)]) -> Result<bool, K::Error> {
        if let [(said, data)] = changes {
            let (key, data) = (said.key.clone(), data.clone());
            let put = self.keys.put(key, data, self.options(said)).await;
            return match put {
                Err(error) if self.keep && has_come(&error) => Ok(false),
                put => put.map(|_| true),
            };
        }
        let batch = changes.iter().fold(Batch::new(), |batch, (said, data)| {
            batch.put_with(said.key.clone(), data.clone(), self.options(said))
        });
        match changes {
            [] => Ok(true),
            _ => Ok(self.keys.commit(batch).await?.succeeded),
        }
    }

    fn options(&self, said: &Said) -> PutOptions {
        PutOptions {
            only_if: self.keep.then_some(Expect::Absent),
            ..said.options.clone()
        }
    }
}

/// Whether somebody else has put a key meanwhile.
fn has_come(error: &impl KeysError) -> bool {
    matches!(error.reason(), "KEY_EXISTS" | "KEY_CONTENDED")
}

/// What is there under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    /// What is to be written.
    Same,
    Other,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    Unchanged,
    Kept,
    Expired,
}
