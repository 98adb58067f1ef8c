//! Keys of a namespace, or a part of them, as they go into a file.

use super::archive::{Archive, SEALER};
use super::keys::{Keys, KeysError as _, Pages as _, Report};
use super::now::now;
use super::partial_file::PartialFile;
use crate::backup::{ArchiveEncoder, ArchiveHeader, ArchiveReader, BackupFile, Entry};
use crate::client::{self, Query, Row, Value};
use crate::codec::{CUT_MIN, encode_attributes};
use crate::model::{Attributes, Error, Key, Namespace, NamespaceId, ValueInfo, Version};
use bytes::Bytes;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Values that are asked for at once: so many, of so many bytes.
const ASKED_MAX: usize = 1000;
const ASKED_BYTES_MAX: u64 = 8 << 20;
/// The number that a namespace has in the file.
pub const OWN_NAMESPACE: NamespaceId = NamespaceId(1);

/// An export to be written.
pub struct Export<'a, K, R> {
    /// The keys, as of one moment.
    pub keys: &'a K,
    /// Which of them.
    pub query: Query,
    /// Their namespace, with the number [`OWN_NAMESPACE`]; `None` for the default one, which has the rules
    /// of its store.
    pub namespace: Option<Namespace>,
    /// Every change up to this version is in what is read.
    pub version: Version,
    /// Who is told of bytes that are written.
    pub report: R,
}

/// What an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Keys in it.
    pub keys: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The version of its moment.
    pub version: Version,
}

impl<K: Keys, R: Report> Export<'_, K, R> {
    /// Writes a file that is there whole or not at all, and reads it back before it has its name. An older
    /// one is replaced.
    ///
    /// # Errors
    /// What the keys answer; what the disk answers. There is no new file then.
    pub async fn write_file(&self, out: &Path) -> Result<Exported, K::Error> {
        let begun = PartialFile::create(out);
        let (partial, file) = begun.map_err(|error| K::Error::file("create", out, error))?;
        let done = self.write(BufWriter::new(file)).await?;
        let written = BackupFile::open(partial.path())?;
        ArchiveReader::open(written)?.verify(&mut |_, _| {})?;
        let named = partial.keep_durably();
        named.map_err(|error| K::Error::file("write", out, error))?;
        Ok(done)
    }

    /// Writes it into a sink, whose last bytes say that it is whole.
    ///
    /// # Errors
    /// As [`Export::write_file`].
    pub async fn write(&self, sink: impl Write + Send) -> Result<Exported, K::Error> {
        let header = ArchiveHeader::of_export(self.version, now());
        let salt = getrandom::u64().map_err(|error| {
            let message = format!("the system's random source failed: {error}");
            Error::internal("RANDOM", message)
        })?;
        let mut encoder = ArchiveEncoder::new(sink, PathBuf::from("the export"), header, salt)?;
        if let Some(namespace) = &self.namespace {
            encoder.write(&Entry::Namespace(namespace.clone()))?;
        }
        let mut archive = Archive::new(encoder, self.report.share());
        let mut rows = self.keys.scan(self.query.clone()).await?;
        while let Some(page) = rows.next_page().await? {
            for part in asked(page) {
                match part {
                    Asked::Together(keys) => {
                        for value in self.values(keys).await? {
                            archive.write(&self.entry(value)?)?;
                        }
                    }
                    Asked::InPieces(entry) => self.write_large(&mut archive, *entry).await?,
                }
            }
        }
        let (counts, bytes) = archive.finish()?;
        Ok(Exported {
            keys: counts.values + counts.references,
            bytes,
            version: self.version,
        })
    }

    /// Writes a value that is larger than an answer, piece by piece, once for all keys that have it.
    async fn write_large<W: Write + Send>(
        &self,
        archive: &mut Archive<W, R>,
        entry: client::Entry,
    ) -> Result<(), K::Error> {
        let known = entry.digest.filter(|digest| archive.has(digest));
        let digest = match known {
            Some(digest) => digest,
            None => {
                let begun = self.keys.download(entry.key.clone()).await?;
                let begun = begun.ok_or_else(|| K::Error::not_found(&entry.key))?;
                archive.write_pieces::<K::Error>(begun).await?
            }
        };
        let (key, attributes) = self.named(&entry)?;
        archive.write(&Entry::Reference {
            key,
            version: entry.version,
            expiry: entry.expiry,
            attributes,
            digest,
            info: info_of(&entry),
        })?;
        Ok(())
    }

    async fn values(&self, keys: Vec<Bytes>) -> Result<Vec<Value>, K::Error> {
        let found = self.keys.get_many(keys.clone()).await?;
        let pairs = keys.into_iter().zip(found);
        let there =
            |(key, value): (Bytes, Option<Value>)| value.ok_or_else(|| K::Error::not_found(&key));
        pairs.map(there).collect()
    }

    fn entry(&self, value: Value) -> Result<Entry, Error> {
        let Value { entry, data } = value;
        let (key, attributes) = self.named(&entry)?;
        Ok(Entry::Value {
            key,
            version: entry.version,
            expiry: entry.expiry,
            attributes,
            value: SEALER.seal(data, info_of(&entry), None),
        })
    }

    /// The key as the file names it, and what is said of its value.
    fn named(&self, entry: &client::Entry) -> Result<(Key, Bytes), Error> {
        let namespace = self.namespace.as_ref();
        let namespace = namespace.map_or(NamespaceId::DEFAULT, |it| it.id);
        let said = Attributes::new(entry.value_type, entry.metadata.clone())?;
        let key = Key::in_namespace(namespace, &entry.key)?;
        Ok((key, encode_attributes(&said)))
    }
}

fn info_of(entry: &client::Entry) -> ValueInfo {
    ValueInfo {
        raw_len: entry.len,
        sum64: entry.sum64,
    }
}

/// How keys are asked for.
enum Asked {
    /// In one call.
    Together(Vec<Bytes>),
    /// One whose value is larger than an answer may be.
    InPieces(Box<client::Entry>),
}

/// The keys of a page in the parts that are asked for at once, in their order.
fn asked(page: Vec<Row>) -> Vec<Asked> {
    let (mut all, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for row in page {
        let len = row.entry.len;
        if part.len() == ASKED_MAX || (bytes + len > ASKED_BYTES_MAX && !part.is_empty()) {
            all.push(Asked::Together(std::mem::take(&mut part)));
            bytes = 0;
        }
        if len > CUT_MIN {
            all.push(Asked::InPieces(Box::new(row.entry)));
            continue;
        }
        part.push(row.entry.key);
        bytes += len;
    }
    if !part.is_empty() {
        all.push(Asked::Together(part));
    }
    all
}
