//! Exports and imports, for threads that wait.

use super::Keyspace;
use crate::client::Query;
use crate::embedded::{Exported, ImportMode, Imported};
use crate::model::Result;
use std::path::Path;

impl Keyspace {
    /// See [`crate::embedded::Keyspace::export_to`].
    ///
    /// # Errors
    /// As there.
    pub fn export_to(
        &self,
        path: impl AsRef<Path>,
        query: Query,
        told: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Exported> {
        self.runtime
            .block_on(self.keys.export_to(path, query, told))
    }

    /// See [`crate::embedded::Keyspace::import_from`].
    ///
    /// # Errors
    /// As there.
    pub fn import_from(
        &self,
        path: impl AsRef<Path>,
        mode: ImportMode,
        told: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Imported> {
        self.runtime
            .block_on(self.keys.import_from(path, mode, told))
    }
}
