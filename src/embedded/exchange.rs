//! Keys as one checked file, and back: `export` and `import` of the command line, without a server.

use super::{Download, Keyspace, Rows, Snapshot};
use crate::client::{Batch, Committed, Entry, PutOptions, Query, Row, Stored, Value};
use crate::exchange::{
    Export, Exported, Import, ImportFile, Imported, Keys, KeysError, OWN_NAMESPACE, Pages, Pieces,
    Report, now,
};
use crate::model::{
    Chunk, Digest, Error, ErrorKind, Namespace, NamespaceId, Result, SnapshotId, Version,
    system_remedy,
};
use bytes::Bytes;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// What becomes of keys that are there when an import comes to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImportMode {
    /// Keys that are there are replaced by what the file has for them.
    #[default]
    Replace,
    /// Keys that are there stay as they are.
    Keep,
}

/// Whoever is told of bytes.
struct Told<F>(Arc<F>);

impl Keyspace {
    /// Writes the keys of a query's selection into a file, all of them as of one moment: of the snapshot
    /// of this keyspace, or of now. The file appears under its name when it is complete, synced and read
    /// back; an older one is replaced. `told` hears of bytes that were written since it was told last.
    ///
    /// It works on a thread of its own, to its end, whoever waits for it.
    ///
    /// # Errors
    /// `EXPORT_FILE` when the file cannot be made or named, and what backups say of one that cannot be
    /// written (`BACKUP_DISK_FULL`); else as [`Keyspace::scan`] and [`Keyspace::get`].
    pub async fn export_to(
        &self,
        path: impl AsRef<Path>,
        query: Query,
        told: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Exported> {
        let namespace = described(&*self.namespace()?);
        let (held, (id, version)) = self.held().await?;
        let keys = self.at_id(id);
        let (path, report) = (path.as_ref().to_owned(), Told(Arc::new(told)));
        apart(move |runtime| {
            let export = Export {
                keys: &keys,
                query,
                namespace,
                version,
                report,
            };
            let done = runtime.block_on(export.write_file(&path));
            drop(held);
            done
        })
        .await
    }

    /// Puts the keys of a file that an export has written into this namespace, under new versions; the
    /// namespace is made with the rules that the file tells of if it is not there. The whole file is
    /// checked before the first key is put. One that has the same value, expiry and metadata already is
    /// left alone, so that an import that an error has ended is gone on with by another. `told` hears of
    /// bytes that were gone through since it was told last, those of large values as far as they were stored.
    ///
    /// It works on a thread of its own, to its end, whoever waits for it.
    ///
    /// # Errors
    /// `NotFound` (`BACKUP_MISSING`), `Corrupt` (`EXPORT_DAMAGED` and those of backups), `Invalid`
    /// (`NOT_AN_EXPORT`) for a backup; nothing is put then. As [`Keyspace::put_with`] and [`Keyspace::commit`]; keys before are put.
    pub async fn import_from(
        &self,
        path: impl AsRef<Path>,
        mode: ImportMode,
        told: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Imported> {
        let keys = self.now();
        let (path, report) = (path.as_ref().to_owned(), Told(Arc::new(told)));
        apart(move |runtime| {
            let file = ImportFile::check(&path)?.ok_or_else(|| no_export(&path))?;
            runtime.block_on(keys.make_sure_of_namespace(file.namespace()))?;
            let mut import = Import::new(&keys, &file, mode == ImportMode::Keep, report);
            runtime.block_on(import.run(&file))?;
            Ok(import.done())
        })
        .await
    }

    /// A moment to be read from, and what holds it where nobody else does.
    async fn held(&self) -> Result<(Option<Snapshot>, (SnapshotId, Version))> {
        let Some(id) = self.snapshot else {
            let held = Snapshot::take(self.service.clone()).await?;
            let named = (held.id(), held.version());
            return Ok((Some(held), named));
        };
        let version = self.service.snapshot_of(id)?.version;
        Ok((None, (id, version)))
    }

    async fn make_sure_of_namespace(&self, theirs: Option<&Namespace>) -> Result<()> {
        match (self.namespace(), theirs) {
            (Err(error), Some(theirs)) if error.kind() == ErrorKind::NotFound => {
                let made = self
                    .service
                    .create_namespace(&self.namespace, theirs.options);
                made.await.map(drop)
            }
            (there, _) => there.map(drop),
        }
    }
}

/// Runs work that reads and writes files as it goes, on a thread that may wait for them.
async fn apart<T: Send + 'static>(
    work: impl FnOnce(&Handle) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (runtime, (done, is_done)) = (Handle::current(), oneshot::channel());
    // Not one of the runtime's, of which the work may need others.
    let thread = std::thread::Builder::new().name("exchange".to_owned());
    let begun = thread.spawn(move || done.send(work(&runtime)).map_err(drop));
    begun.map_err(|error| Error::internal("THREAD", format!("cannot start a thread: {error}")))?;
    let lost = |_| Error::internal("TASK_FAILED", "an export or import failed: it panicked");
    is_done.await.map_err(lost)?
}

/// A namespace as a file tells of it; `None` for the default one, which has the rules of its store.
fn described(namespace: &Namespace) -> Option<Namespace> {
    let namespace = Some(namespace).filter(|it| it.id != NamespaceId::DEFAULT);
    namespace.map(|it| Namespace {
        id: OWN_NAMESPACE,
        uid: 0,
        created_at: now(),
        ..it.clone()
    })
}

fn no_export(path: &Path) -> Error {
    let path = path.display();
    let message = format!("{path} is no export: a backup is taken by `restore`");
    Error::invalid("NOT_AN_EXPORT", message)
}

impl Keys for Keyspace {
    type Error = Error;
    type Rows = Rows;
    type Download = Download;

    async fn scan(&self, query: Query) -> Result<Rows> {
        Self::scan(self, query).await
    }

    async fn get_many(&self, keys: Vec<Bytes>) -> Result<Vec<Option<Value>>> {
        Self::get_many(self, keys).await
    }

    async fn heads(&self, keys: Vec<Bytes>) -> Result<Vec<Option<Entry>>> {
        Self::heads(self, keys).await
    }

    async fn download(&self, key: Bytes) -> Result<Option<Download>> {
        Self::download(self, key).await
    }

    async fn put(&self, key: Bytes, value: Bytes, options: PutOptions) -> Result<Stored> {
        self.put_with(key, value, options).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        Self::commit(self, batch).await
    }

    async fn find_missing(&self, digests: &[Digest]) -> Result<HashSet<Digest>> {
        Self::find_missing(self, digests).await
    }

    async fn upload_chunks(&self, chunks: mpsc::Receiver<(Digest, Bytes)>) -> Result<u64> {
        Self::upload_chunks(self, chunks).await
    }

    async fn put_content(
        &self,
        key: Bytes,
        digest: Digest,
        chunks: &[Chunk],
        options: PutOptions,
    ) -> Result<Stored> {
        Self::put_content(self, key, digest, chunks, options).await
    }
}

impl Pages<Error> for Rows {
    async fn next_page(&mut self) -> Result<Option<Vec<Row>>> {
        Self::next_page(self).await
    }
}

impl Pieces<Error> for Download {
    fn entry(&self) -> &Entry {
        &self.entry
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        Self::next(self).await
    }
}

impl KeysError for Error {
    fn file(action: &'static str, path: &Path, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::Denied
            }
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Internal,
        };
        let (path, remedy) = (path.display(), system_remedy(&error));
        let message = format!("cannot {action} {path}: {error}{remedy}");
        Self::new(kind, "EXPORT_FILE", message)
    }

    fn not_found(key: &[u8]) -> Self {
        let message = format!("key {} is not there", key.escape_ascii());
        Self::new(ErrorKind::NotFound, "KEY_NOT_FOUND", message)
    }

    fn reason(&self) -> &str {
        Self::reason(self)
    }

    fn is_lost(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }
}

impl<F: Fn(u64) + Send + Sync + 'static> Report for Told<F> {
    fn share(&self) -> Self {
        Self(self.0.clone())
    }

    fn begin(&self, _total: u64) {}

    fn advance(&self, bytes: u64) {
        self.0(bytes);
    }
}
