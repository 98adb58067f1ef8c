//! `import`: takes what `export` has written into a store, under new versions.
//!
//! Every byte of the file is checked, and every value unfolded and compared with its checksum, before
//! the first key is written. Then keys are written in their order, in commits of their own; a key that
//! has the very same value, expiry and metadata already is left alone, so that an import that was cut
//! short is gone on with by running it again.

use super::exit::{CliError, Exit};
use super::export::now;
use super::partial_file::PartialFile;
use super::progress::Progress;
use super::session::Session;
use crate::backup::{ArchiveReader, BackupFile, Entry, Kind};
use crate::client::{
    self, Batch, ClientError, Database, Expect, Keyspace, Namespaces, PutOptions, Stay,
};
use crate::codec::{decode_attributes, open_sealed, sum64_of};
use crate::model::{DEFAULT_NAMESPACE, Namespace, Timestamp};
use crate::proto::v1;
use bytes::Bytes;
use indicatif::HumanCount;
use serde_json::json;
use std::path::{Path, PathBuf};
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
        let mut reader = reader.filter(|_| is_export).ok_or_else(|| {
            let file = file.display();
            CliError::Usage(format!(
                "{file} is no export: a backup is taken by `restore`"
            ))
        })?;
        let (count, theirs) = check(session, &mut reader)?;
        let name = target(session, &import.namespace, theirs).await?;
        let mut work = Work::new(session, &database, &name, import.keep);
        let outcome = work.write_all(&mut reader).await;
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
    let place = std::env::temp_dir().join("shardkeep-import");
    let copied = tokio::task::spawn_blocking(move || {
        let begun = PartialFile::create(&place);
        let (partial, mut file) = begun.map_err(|error| CliError::file("create", &place, error))?;
        let copied = std::io::copy(&mut std::io::stdin().lock(), &mut file);
        copied.map_err(|error| CliError::stream("read", "standard input", error))?;
        Ok(partial)
    });
    copied.await.expect("copying does not panic")
}

/// Reads the whole file: how many keys it has, and the namespace that they were of.
fn check(
    session: &Session,
    reader: &mut ArchiveReader,
) -> Result<(u64, Option<Namespace>), CliError> {
    let progress = Progress::spinner(session.terminal, "checking the file");
    let (mut count, mut namespace) = (0, None);
    for entry in reader.entries() {
        match entry? {
            Entry::Namespace(theirs) => namespace = Some(theirs),
            entry => {
                unfolded(entry)?;
                count += 1;
            }
        }
    }
    progress.clear();
    Ok((count, namespace))
}

/// A key as it is to be written.
#[derive(Debug)]
struct Incoming {
    key: Bytes,
    data: Bytes,
    options: PutOptions,
    expiry: Option<Timestamp>,
}

/// The value of an entry, if it is what was exported.
fn unfolded(entry: Entry) -> Result<Incoming, CliError> {
    let Entry::Value {
        key,
        expiry,
        attributes,
        value,
        ..
    } = entry
    else {
        let message = "the file holds what no export does: is it a backup?";
        return Err(CliError::Damaged(message.to_owned()));
    };
    let damaged = |what: String| CliError::Damaged(format!("damaged value of key {key}: {what}"));
    let info = value.info;
    let data = open_sealed(value.codec, value.payload, info.raw_len);
    let data = data.map_err(|error| damaged(error.to_string()))?;
    if sum64_of(&data) != info.sum64 {
        return Err(damaged("its checksum does not match".to_owned()));
    }
    let said = decode_attributes(&attributes).map_err(|error| damaged(error.to_string()))?;
    let options = PutOptions {
        only_if: None,
        lifetime: expiry.map_or(Stay::Default, Stay::Until),
        value_type: said.value_type,
        metadata: said.metadata,
    };
    Ok(Incoming {
        key: key.to_bytes(),
        data,
        options,
        expiry,
    })
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
    done: Done,
    progress: Progress,
}

impl Work {
    fn new(session: &Session, database: &Database, namespace: &str, keep: bool) -> Self {
        Self {
            keyspace: database.keyspace(namespace),
            keep,
            done: Done::default(),
            progress: Progress::bytes(session.terminal, None),
        }
    }

    async fn write_all(&mut self, reader: &mut ArchiveReader) -> Result<(), CliError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for entry in reader.entries() {
            let entry = entry?;
            if matches!(entry, Entry::Namespace(_)) {
                continue;
            }
            let incoming = unfolded(entry)?;
            let size = incoming.data.len();
            if batch.len() == BATCH_KEYS_MAX || (bytes + size > BATCH_BYTES_MAX && bytes > 0) {
                self.write(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += size;
            batch.push(incoming);
        }
        self.write(batch).await
    }

    /// Writes some keys, all of them or none.
    async fn write(&mut self, batch: Vec<Incoming>) -> Result<(), CliError> {
        while !batch.is_empty() && !self.try_to_write(&batch).await? {
            // Somebody has put a key meanwhile that is to be kept: look again.
        }
        Ok(())
    }

    async fn try_to_write(&mut self, batch: &[Incoming]) -> Result<bool, CliError> {
        let there = self.there(batch).await?;
        let now = now();
        let (mut changes, mut done) = (Vec::new(), Done::default());
        for (incoming, there) in batch.iter().zip(there) {
            match there {
                _ if incoming.expiry.is_some_and(|expiry| expiry <= now) => done.expired += 1,
                There::Same => done.unchanged += 1,
                There::Other if self.keep => done.kept += 1,
                There::Other | There::Nothing => changes.push(incoming),
            }
        }
        done.written = changes.len() as u64;
        if !self.put_all(&changes).await? {
            return Ok(false);
        }
        self.done.add(&done);
        let bytes = batch.iter().map(|it| it.data.len() as u64).sum();
        self.progress.advance(bytes);
        Ok(true)
    }

    /// What is there under the keys. Only a value that may be the same is read.
    async fn there(&self, batch: &[Incoming]) -> Result<Vec<There>, CliError> {
        let heads = self.keyspace.heads(batch.iter().map(|it| it.key.clone()));
        let heads = heads.await?;
        let may_be = |(it, head): (&Incoming, &Option<client::Entry>)| {
            head.as_ref()
                .is_some_and(|head| is_said_same(head, it))
                .then(|| it.key.clone())
        };
        let asked: Vec<Bytes> = batch.iter().zip(&heads).filter_map(may_be).collect();
        let mut read = match asked.is_empty() {
            true => Vec::new(),
            false => self.keyspace.get_many(asked).await?,
        }
        .into_iter();
        let there = batch.iter().zip(heads).map(|(it, head)| match head {
            None => There::Nothing,
            Some(head) if !is_said_same(&head, it) => There::Other,
            Some(_) => match read.next().flatten() {
                Some(value) if value.data == it.data => There::Same,
                _ => There::Other,
            },
        });
        Ok(there.collect())
    }

    /// Puts keys together; `false` when one that is to be kept has come meanwhile.
    async fn put_all(&self, changes: &[&Incoming]) -> Result<bool, CliError> {
        let options = |it: &Incoming| PutOptions {
            only_if: self.keep.then_some(Expect::Absent),
            ..it.options.clone()
        };
        if let [alone] = changes {
            let (key, data) = (alone.key.clone(), alone.data.clone());
            let put = self.keyspace.put_with(key, data, options(alone)).await;
            return match put {
                Err(ClientError::Conflict { .. }) if self.keep => Ok(false),
                put => Ok(put.map(|_| true)?),
            };
        }
        let batch = changes.iter().fold(Batch::new(), |batch, it| {
            batch.put_with(it.key.clone(), it.data.clone(), options(it))
        });
        match changes {
            [] => Ok(true),
            _ => Ok(self.keyspace.commit(batch).await?.succeeded),
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

/// Whether all that is known of a key without its value is what is to be written.
fn is_said_same(head: &client::Entry, incoming: &Incoming) -> bool {
    head.len == incoming.data.len() as u64
        && head.expiry == incoming.expiry
        && head.value_type == incoming.options.value_type
        && head.metadata == incoming.options.metadata
}
