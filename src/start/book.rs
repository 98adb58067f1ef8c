//! The manifest as the book of backups.

use super::manifest::Manifest;
use crate::model::{Error, Result};
use crate::service::{ChainBook, StoreBook};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

/// The manifest of the open store; changes are durable before they count.
#[derive(Debug)]
pub(super) struct ManifestBook {
    path: PathBuf,
    manifest: Mutex<Manifest>,
}

impl ManifestBook {
    pub fn new(path: PathBuf, manifest: Manifest) -> Self {
        Self {
            path,
            manifest: Mutex::new(manifest),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Manifest> {
        self.manifest
            .lock()
            .expect("no code panics while it holds this lock")
    }
}

impl StoreBook for ManifestBook {
    fn read(&self) -> ChainBook {
        let manifest = self.lock().clone();
        ChainBook {
            store: manifest.store,
            chain: manifest.chain,
            floor: manifest.chain_floor,
            restored: manifest.restored,
            merging: manifest.merging,
        }
    }

    fn write(&self, book: ChainBook) -> Result<()> {
        let mut manifest = self.lock();
        let changed = Manifest {
            chain: book.chain,
            chain_floor: book.floor,
            restored: book.restored,
            merging: book.merging,
            ..manifest.clone()
        };
        changed
            .save(&self.path)
            .map_err(|error| Error::unavailable("MANIFEST", error.to_string()))?;
        *manifest = changed;
        Ok(())
    }
}
