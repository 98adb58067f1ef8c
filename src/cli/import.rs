//! `import`: takes what `export` has written into a store, under new versions.
//!
//! Every byte of the file is checked, and every value unfolded and compared with its checksum, before
//! the first key is written. Then keys are written in their order, in commits of their own; a key that
//! has the very same value, expiry and metadata already is left alone, so that an import that was cut
//! short is gone on with by running it again.

use super::chunked::put_chunked;
use super::exit::{CliError, Exit};
use super::import_entry::{Incoming, Said};
use super::import_large::Contents;
use super::partial_file::PartialFile;
use super::progress::Progress;
use super::session::Session;
use crate::backup::{ArchiveReader, BackupFile, Entry, Kind};
use crate::client::{self, Batch, ClientError, Expect, Keyspace, Namespaces, PutOptions};
use crate::model::{DEFAULT_NAMESPACE, Digest, Namespace};
use crate::proto::v1;
use bytes::Bytes;
use indicatif::HumanCount;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Keys of one commit: so many, of so many bytes, or one larger value.
const BATCH_KEYS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// What is done with what.
#[derive(Debug)]
pub struct Import {
    /// The files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Where to; empty for where the keys were.
    pub namespace: String,
    /// Whether keys that are there stay as they are.
    pub keep: bool,
}

/// Whether a file is one that `export` has written; standard input must be one.
#[must_use]
pub fn is_export(file: &Path) -> bool {
    let opened = |file| Ok::<_, crate::model::Error>(header_of(BackupFile::open(file)?)?.1);
    file == Path::new("-") || opened(file).unwrap_or(false)
}

/// Its reader, if it is an archive, and whether it is an export.
fn header_of(file: BackupFile) -> Result<(Option<ArchiveReader>, bool), crate::model::Error> {
    match file.recognise()? {
        Kind::Zstdb => Ok((None, false)),
        Kind::Own => {
            let reader = ArchiveReader::open(file)?;
            let is_export = reader.header().is_export();
            Ok((Some(reader), is_export))
        }
    }
}

/// Runs the command, file after file.
///
/// # Errors
/// A file that is not sound, before anything of it is written; what the server answers, and then it is
/// told how far the import came.
pub async fn run(session: &Session, import: Import) -> Result<Exit, CliError> {
    let database = session.database().await?;
    let mut told = Vec::new();
    for file in &import.files {
        let spooled = match file == Path::new("-") {
            true => Some(spool().await?),
            false => None,
        };
        let path = spooled.as_ref().map_or(&**file, PartialFile::path);
        let (reader, is_export) = header_of(BackupFile::open(path)?)?;
        let reader = reader.filter(|_| is_export).ok_or_else(|| {
            let file = file.display();
            CliError::Usage(format!(
                "{file} is no export: a backup is taken by `restore`"
            ))
        })?;
        let reader = Arc::new(reader);
        let Checked {
            count,
            theirs,
            contents,
        } = check(session, &reader)?;
        let name = target(session, &import.namespace, theirs).await?;
        let progress = Progress::bytes(session.terminal, None);
        let mut work = Work {
            keyspace: database.keyspace(&name),
            keep: import.keep,
            contents,
            done: Done::default(),
            progress,
        };
        let outcome = work.write_all(&reader).await;
        work.progress.clear();
        if let Err(error) = outcome {
            let done = HumanCount(work.done.all());
            session.terminal.warn(&format!(
                "{done} of {} keys are in: run it again, and it goes on behind them",
                HumanCount(count)
            ));
            return Err(error);
        }
        session
            .terminal
            .note(&format!("{}: {}", file.display(), work.done));
        told.push(work.done.value(file, &name));
    }
    if session.terminal.is_json() {
        session.terminal.result("", &json!({ "imported": told }))?;
    }
    Ok(Exit::Ok)
}

/// Standard input as a file, which is gone when it is dropped: its end says whether it is whole.
async fn spool() -> Result<PartialFile, CliError> {
    let copied = tokio::task::spawn_blocking(|| {
        let place = std::env::temp_dir();
        let begun = PartialFile::create_passing();
        let (partial, mut file) =
            begun.map_err(|error| CliError::file("create a file in", &place, error))?;
        let copied = std::io::copy(&mut std::io::stdin().lock(), &mut file);
        copied.map_err(|error| CliError::stream("read", "standard input", error))?;
        Ok(partial)
    });
    copied.await.expect("copying does not panic")
}

/// What a file holds that is sound.
struct Checked {
    /// Keys in it.
    count: u64,
    /// The namespace that they were of.
    theirs: Option<Namespace>,
    /// Where large values stand.
    contents: Contents,
}

/// Reads the whole file.
fn check(session: &Session, reader: &Arc<ArchiveReader>) -> Result<Checked, CliError> {
    let progress = Progress::spinner(session.terminal, "checking the file");
    let mut checked = Checked {
        count: 0,
        theirs: None,
        contents: Contents::of(Arc::clone(reader)),
    };
    let mut entries = reader.entries();
    while let Some(position) = entries.position()
        && let Some(entry) = entries.next()
    {
        match entry? {
            Entry::Namespace(theirs) => checked.theirs = Some(theirs),
            Entry::Blob { digest, value } => checked.contents.note(position, digest, value)?,
            entry => {
                if let Incoming::Large(said, digest) = Incoming::of(entry)? {
                    checked.contents.check(digest, said.len)?;
                }
                checked.count += 1;
            }
        }
    }
    // What made the walk end before the end.
    entries.next().transpose()?;
    progress.clear();
    Ok(checked)
}

/// The namespace that keys go to, made as it was where they come from if it is not there.
async fn target(
    session: &Session,
    asked: &str,
    theirs: Option<Namespace>,
) -> Result<String, CliError> {
    let name = match (asked, &theirs) {
        ("", None) => DEFAULT_NAMESPACE,
        ("", Some(theirs)) => theirs.name.as_str(),
        (asked, _) => asked,
    };
    if name == DEFAULT_NAMESPACE {
        return Ok(String::new());
    }
    let mut namespaces = Namespaces::connect(&session.server).await?;
    match (namespaces.get(name).await, &theirs) {
        (Err(ClientError::NotFound { .. }), Some(theirs)) => {
            namespaces.create(name, options_of(theirs)).await?;
            session.terminal.note(&format!("namespace {name} made"));
        }
        (there, _) => drop(there?),
    }
    Ok(name.to_owned())
}

fn options_of(theirs: &Namespace) -> v1::NamespaceOptions {
    let options = &theirs.options;
    let mode = match options.by_content {
        true => v1::KeyMode::Content,
        false => v1::KeyMode::User,
    };
    let ttl = options.default_ttl_ms.map(Duration::from_millis);
    v1::NamespaceOptions {
        key_mode: mode.into(),
        overwrite: Some(options.overwrite),
        default_ttl: ttl.and_then(|ttl| ttl.try_into().ok()),
        value_size_max: options.value_size_max.unwrap_or_default(),
        compress: Some(options.compress),
        dedup: Some(options.dedup),
    }
}

/// What became of the keys.
#[derive(Debug, Default)]
struct Done {
    written: u64,
    unchanged: u64,
    kept: u64,
    expired: u64,
}

impl Done {
    fn all(&self) -> u64 {
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

    fn value(&self, file: &Path, namespace: &str) -> serde_json::Value {
        json!({
            "file": file.display().to_string(),
            "namespace": namespace,
            "keys": self.all(),
            "written": self.written,
            "unchanged": self.unchanged,
            "kept": self.kept,
            "expired": self.expired,
        })
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            written,
            unchanged,
            kept,
            expired,
        } = self;
        write!(f, "{written} keys written")?;
        for (count, what) in [
            (unchanged, "were so already"),
            (kept, "kept"),
            (expired, "expired"),
        ] {
            if *count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// An import on its way.
struct Work {
    keyspace: Keyspace,
    keep: bool,
    contents: Contents,
    done: Done,
    progress: Progress,
}

impl Work {
    async fn write_all(&mut self, reader: &ArchiveReader) -> Result<(), CliError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for entry in reader.entries() {
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
    async fn write(&mut self, batch: Vec<(Said, Bytes)>) -> Result<(), CliError> {
        while !batch.is_empty() && !self.try_to_write(&batch).await? {
            // Somebody has put a key meanwhile that is to be kept: look again.
        }
        Ok(())
    }

    async fn try_to_write(&mut self, batch: &[(Said, Bytes)]) -> Result<bool, CliError> {
        let there = self.there(batch).await?;
        let (mut changes, mut done) = (Vec::new(), Done::default());
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
        self.progress.advance(bytes);
        Ok(true)
    }

    /// Writes a key with a large value; `false` when one that is to be kept has come meanwhile.
    async fn try_to_write_large(&mut self, said: &Said, digest: Digest) -> Result<bool, CliError> {
        let there = match self.keyspace.head(said.key.clone()).await? {
            None => There::Nothing,
            Some(head) if said.is_of(&head) && head.digest == Some(digest) => There::Same,
            Some(_) => There::Other,
        };
        let fate = self.fate(said, there);
        if fate == Fate::Written {
            let value = self.contents.large(digest)?;
            let (place, options) = ((&self.keyspace, &said.key), self.options(said));
            match put_chunked(place, &value, &options, &self.progress).await {
                Err(CliError::Client(ClientError::Conflict { reason, .. }))
                    if self.keep && reason == "KEY_EXISTS" =>
                {
                    return Ok(false);
                }
                put => drop(put?),
            }
        }
        self.done.count(fate);
        Ok(true)
    }

    /// What becomes of a key.
    fn fate(&self, said: &Said, there: There) -> Fate {
        match there {
            _ if said.is_over() => Fate::Expired,
            There::Same => Fate::Unchanged,
            There::Other if self.keep => Fate::Kept,
            There::Other | There::Nothing => Fate::Written,
        }
    }

    /// What is there under the keys. Only a value that may be the same is read.
    async fn there(&self, batch: &[(Said, Bytes)]) -> Result<Vec<There>, CliError> {
        let heads = self.keyspace.heads(batch.iter().map(|it| it.0.key.clone()));
        let heads = heads.await?;
        let may_be = |((said, _), head): (&(Said, Bytes), &Option<client::Entry>)| {
            let head = head.as_ref()?;
            said.is_of(head).then(|| said.key.clone())
        };
        let asked: Vec<Bytes> = batch.iter().zip(&heads).filter_map(may_be).collect();
        let mut read = match asked.is_empty() {
            true => Vec::new(),
            false => self.keyspace.get_many(asked).await?,
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
    async fn put_all(&self, changes: &[&(Said, Bytes)]) -> Result<bool, CliError> {
        if let [(said, data)] = changes {
            let (key, data) = (said.key.clone(), data.clone());
            let put = self.keyspace.put_with(key, data, self.options(said)).await;
            return match put {
                Err(ClientError::Conflict { .. }) if self.keep => Ok(false),
                put => Ok(put.map(|_| true)?),
            };
        }
        let batch = changes.iter().fold(Batch::new(), |batch, (said, data)| {
            batch.put_with(said.key.clone(), data.clone(), self.options(said))
        });
        match changes {
            [] => Ok(true),
            _ => Ok(self.keyspace.commit(batch).await?.succeeded),
        }
    }

    fn options(&self, said: &Said) -> PutOptions {
        PutOptions {
            only_if: self.keep.then_some(Expect::Absent),
            ..said.options.clone()
        }
    }
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
