//! `export`: the keys of a namespace, or a part of them, as one checked file.
//!
//! The file is an archive as backups are, of values that stand with their keys, and belongs to no chain:
//! `import` puts what is in it into a store as anybody would. It is read from a snapshot, so it is of
//! one moment, and appears under its name only when it is complete, synced and read back.

use super::exit::{CliError, Exit};
use super::export_archive::{Archive, SEALER};
use super::partial_file::PartialFile;
use super::progress::Progress;
use super::selection::{NamespaceFlag, SelectionArgs, SnapshotFlag};
use super::session::Session;
use crate::backup::{ArchiveEncoder, ArchiveHeader, ArchiveReader, BackupFile, Counts, Entry};
use crate::client::{self, Database, Keyspace, Namespaces, Query, Row, Value};
use crate::codec::{CUT_MIN, encode_attributes};
use crate::model::{
    Attributes, DEFAULT_NAMESPACE, Key, Namespace, NamespaceId, NamespaceOptions, Timestamp,
    ValueInfo, Version,
};
use crate::proto::v1;
use bytes::Bytes;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const DETAILS: &str = "\
The file holds the keys as of one moment, with their values, expiries and metadata, and the rules of
their namespace. Every part of it has a checksum. `shardkeep import FILE` takes it into any store, under
new versions. Without --out it goes to standard output, for a pipe.

A backup is something else: it holds the whole store with its versions and deletes, and continues.";

/// Values that are asked for at once: so many, of so many bytes.
const ASKED_MAX: usize = 1000;
const ASKED_BYTES_MAX: u64 = 8 << 20;
/// The number that the namespace has in the file.
const OWN: NamespaceId = NamespaceId(1);

/// Writes keys to a file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct ExportArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// The file; an older one is replaced when this one is complete. `-` or nothing is standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    snapshot: SnapshotFlag,
}

/// Runs the command.
///
/// # Errors
/// What ended it early; there is no file then.
pub async fn run(session: &Session, args: ExportArgs) -> Result<Exit, CliError> {
    let out = args.out.filter(|out| out != Path::new("-"));
    if out.is_none() && io::stdout().is_terminal() {
        let message = "an export is not for a terminal: say --out FILE, or pipe it on";
        return Err(CliError::Usage(message.to_owned()));
    }
    if out.is_none() && session.terminal.is_json() {
        let message = "export writes the file itself: --output json needs --out FILE";
        return Err(CliError::Usage(message.to_owned()));
    }
    let database = session.database().await?;
    // Held until the end; one that was named is somebody else's to hold.
    let held = match args.snapshot.snapshot.as_str() {
        "" => Some(database.snapshot().await?),
        _ => None,
    };
    let (id, version) = match &held {
        Some(held) => (held.id().to_owned(), held.version()),
        None => named(&database, args.snapshot.snapshot).await?,
    };
    let name = args.namespace.namespace;
    let work = Export {
        keyspace: database.keyspace(&name).at_id(id),
        query: args.selection.query(),
        namespace: described(session, &name).await?,
        version,
        progress: Progress::bytes(session.terminal, None),
    };
    let is_stream = |out: &Path| std::fs::metadata(out).is_ok_and(|found| !found.is_file());
    let (counts, bytes) = match &out {
        // A pipe, or /dev/null.
        Some(out) if is_stream(out) => {
            let file = File::create(out).map_err(|error| CliError::file("write", out, error))?;
            work.write(BufWriter::new(file)).await?
        }
        Some(out) => work.write_file(out).await?,
        None => work.write(BufWriter::new(io::stdout())).await?,
    };
    if let Some(held) = held {
        held.close().await?;
    }
    let count = counts.values + counts.references;
    let (keys, size) = (HumanCount(count), HumanBytes(bytes));
    if session.terminal.is_json() {
        let told = json!({ "keys": count, "bytes": bytes, "version": version.0 });
        session.terminal.result("", &told)?;
    }
    let note = format!("{keys} keys as of version {version}, {size}");
    session.terminal.note(&note);
    Ok(Exit::Ok)
}

/// A snapshot that is held already.
async fn named(database: &Database, id: String) -> Result<(String, Version), CliError> {
    let all = database.list_snapshots().await?;
    let found = all.into_iter().find(|it| it.id == id);
    let found = found
        .ok_or_else(|| CliError::NotFound(format!("snapshot {id} is not there: take another")))?;
    Ok((found.id, found.version))
}

/// The namespace as the file tells of it; `None` for the default one, which has the rules of its
/// store.
async fn described(session: &Session, name: &str) -> Result<Option<Namespace>, CliError> {
    if name.is_empty() || name == DEFAULT_NAMESPACE {
        return Ok(None);
    }
    let told = Namespaces::connect(&session.server)
        .await?
        .get(name)
        .await?;
    let options = told.options.unwrap_or_default();
    let ttl = options.default_ttl;
    let ttl_ms = ttl.map(|ttl| {
        ttl.seconds.unsigned_abs() * 1000 + u64::from(ttl.nanos.unsigned_abs()) / 1_000_000
    });
    Ok(Some(Namespace {
        id: OWN,
        uid: 0,
        name: told.name,
        options: NamespaceOptions {
            by_content: options.key_mode() == v1::KeyMode::Content,
            overwrite: options.overwrite.unwrap_or(true),
            default_ttl_ms: ttl_ms,
            value_size_max: Some(options.value_size_max).filter(|size| *size > 0),
            compress: options.compress.unwrap_or(true),
            dedup: options.dedup.unwrap_or(true),
        },
        created_at: now(),
        dropped: false,
        version: Version(told.version),
    }))
}

/// This moment.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |time| time.as_millis());
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}

struct Export {
    keyspace: Keyspace,
    query: Query,
    namespace: Option<Namespace>,
    version: Version,
    progress: Progress,
}

impl Export {
    /// Writes a file that is there whole or not at all.
    async fn write_file(&self, out: &Path) -> Result<(Counts, u64), CliError> {
        let begun = PartialFile::create(out);
        let (partial, file) = begun.map_err(|error| CliError::file("create", out, error))?;
        let done = self.write(BufWriter::new(file)).await?;
        let written = BackupFile::open(partial.path())?;
        ArchiveReader::open(written)?.verify(&mut |_, _| {})?;
        let named = partial.keep_durably();
        named.map_err(|error| CliError::file("write", out, error))?;
        Ok(done)
    }

    async fn write(&self, sink: impl Write) -> Result<(Counts, u64), CliError> {
        let header = ArchiveHeader::of_export(self.version, now());
        let salt = getrandom::u64().map_err(|error| {
            CliError::Failed(format!("the system's random source failed: {error}"))
        })?;
        let mut encoder = ArchiveEncoder::new(sink, PathBuf::from("the export"), header, salt)?;
        if let Some(namespace) = &self.namespace {
            encoder.write(&Entry::Namespace(namespace.clone()))?;
        }
        let mut archive = Archive::new(encoder, self.progress.share());
        let mut rows = self.keyspace.scan(self.query.clone()).await?;
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
        self.progress.clear();
        Ok((counts, bytes))
    }

    /// Writes a value that is larger than an answer, piece by piece, once for all keys that have it.
    async fn write_large<W: Write>(
        &self,
        archive: &mut Archive<W>,
        entry: client::Entry,
    ) -> Result<(), CliError> {
        let known = entry.digest.filter(|digest| archive.has(digest));
        let digest = match known {
            Some(digest) => digest,
            None => {
                let begun = self.keyspace.download(entry.key.clone()).await?;
                let begun = begun.ok_or_else(|| client::ClientError::not_found(&entry.key))?;
                archive.write_pieces(begun).await?
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
        })
    }

    async fn values(&self, keys: Vec<Bytes>) -> Result<Vec<Value>, CliError> {
        let found = self.keyspace.get_many(keys.clone()).await?;
        let pairs = keys.into_iter().zip(found);
        let there = |(key, value): (Bytes, Option<Value>)| {
            value.ok_or_else(|| client::ClientError::not_found(&key).into())
        };
        pairs.map(there).collect()
    }

    fn entry(&self, value: Value) -> Result<Entry, CliError> {
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
    fn named(&self, entry: &client::Entry) -> Result<(Key, Bytes), CliError> {
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
