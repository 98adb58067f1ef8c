//! Namespaces, for threads that wait.

use super::{Keyspace, Store};
use crate::embedded::{NamespaceChange, NamespaceInfo};
use crate::model::{Namespace, NamespaceOptions, Result};
use std::sync::Arc;

impl Store {
    /// See [`crate::Store::create_namespace`].
    ///
    /// # Errors
    /// As there.
    pub fn create_namespace(&self, name: &str, options: NamespaceOptions) -> Result<Keyspace> {
        let made = self.store.create_namespace(name, options);
        self.runtime.block_on(made)?;
        Ok(self.keyspace(name))
    }

    /// See [`crate::Store::namespaces`].
    ///
    /// # Errors
    /// As there.
    pub fn namespaces(&self) -> Result<Vec<Arc<Namespace>>> {
        self.store.namespaces()
    }

    /// See [`crate::Store::describe_namespace`].
    ///
    /// # Errors
    /// As there.
    pub fn describe_namespace(&self, name: &str) -> Result<NamespaceInfo> {
        self.runtime.block_on(self.store.describe_namespace(name))
    }

    /// See [`crate::Store::update_namespace`].
    ///
    /// # Errors
    /// As there.
    pub fn update_namespace(&self, name: &str, change: NamespaceChange) -> Result<Arc<Namespace>> {
        self.runtime
            .block_on(self.store.update_namespace(name, change))
    }

    /// See [`crate::Store::drop_namespace`].
    ///
    /// # Errors
    /// As there.
    pub fn drop_namespace(&self, name: &str) -> Result<()> {
        self.runtime.block_on(self.store.drop_namespace(name))
    }
}
