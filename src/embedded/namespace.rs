//! Namespaces: made, told of, changed, dropped.

use super::{Keyspace, Store};
use crate::model::{Namespace, NamespaceOptions, Result};
use crate::service::{NamespaceChange, Totals};
use std::sync::Arc;

/// What a namespace is and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its name, its rules, and since when it is there.
    pub namespace: Arc<Namespace>,
    /// Keys and bytes in it. Contents that several keys may share count with the default namespace.
    pub counts: Totals,
}

impl Store {
    /// Makes a namespace; there can be 10,000.
    ///
    /// # Errors
    /// `AlreadyExists` (`NAMESPACE_EXISTS`), `Invalid` (`NAMESPACE_NAME`), `TooLarge`
    /// (`TOO_MANY_NAMESPACES`), and what the shards answer.
    pub async fn create_namespace(
        &self,
        name: &str,
        options: NamespaceOptions,
    ) -> Result<Keyspace> {
        self.service()?.create_namespace(name, options).await?;
        Ok(self.keyspace(name))
    }

    /// The namespaces that are there, in the order of their names.
    ///
    /// # Errors
    /// What the shards answer.
    pub fn namespaces(&self) -> Result<Vec<Arc<Namespace>>> {
        self.service()?.namespaces()
    }

    /// What a namespace is and holds; the default one when the name is empty.
    ///
    /// # Errors
    /// `NotFound` (`NAMESPACE_NOT_FOUND`), and what the shards answer.
    pub async fn describe_namespace(&self, name: &str) -> Result<NamespaceInfo> {
        let service = self.service()?;
        let namespace = service.namespace(name)?;
        let counts = service.counts_of(namespace.id).await?;
        Ok(NamespaceInfo { namespace, counts })
    }

    /// Changes rules of a namespace, for what is put from then on.
    ///
    /// # Errors
    /// `Disabled` (`NAMESPACE_FIXED`) for the default one, whose rules are those of
    /// [`Options`](super::Options); `NotFound` (`NAMESPACE_NOT_FOUND`); what the shards answer.
    pub async fn update_namespace(
        &self,
        name: &str,
        change: NamespaceChange,
    ) -> Result<Arc<Namespace>> {
        self.service()?.update_namespace(name, change).await
    }

    /// Drops a namespace with everything in it.
    ///
    /// # Errors
    /// `NotFound` (`NAMESPACE_NOT_FOUND`), `Disabled` (`NAMESPACE_FIXED`) for the default one, and what
    /// the shards answer.
    pub async fn drop_namespace(&self, name: &str) -> Result<()> {
        self.service()?.drop_namespace(name).await.map(drop)
    }
}
