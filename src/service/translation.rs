//! The namespaces of a backup in the store that it is merged into.
//!
//! An archive names namespaces by the numbers of the store that it was taken from. One is the same
//! here if what was drawn for it is; the later word on it counts. Else it is the one of its name, and
//! where there is none, it is made anew.

use super::Service;
use super::catalogue::Known;
use crate::model::{Error, Key, Namespace, NamespaceId, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Which namespace here each one of a backup is; `None` for one that was dropped.
#[derive(Debug, Default)]
pub(super) struct Translation(HashMap<NamespaceId, Option<NamespaceId>>);

impl Translation {
    /// Takes over a namespace of the backup.
    pub async fn take(&mut self, service: &Service, theirs: Namespace) -> Result<()> {
        let id = theirs.id;
        let router = service.router();
        let change = service.catalogue().begin_change(router).await?;
        let ours = match ours_of(change.known(), theirs)? {
            Some(ours)
                if change
                    .known()
                    .get(ours.id)
                    .is_none_or(|before| **before != ours) =>
            {
                Some(change.log(router, ours).await?)
            }
            same => same.map(Arc::new),
        };
        let ours = ours.filter(|ours| !ours.dropped);
        self.0.insert(id, ours.map(|ours| ours.id));
        Ok(())
    }

    /// The key here that a key of the backup is; `None` where its namespace was dropped since.
    pub fn translate(&self, key: &Key) -> Result<Option<Key>> {
        let theirs = key.namespace();
        if theirs == NamespaceId::DEFAULT {
            return Ok(Some(key.clone()));
        }
        let ours = self.0.get(&theirs).ok_or_else(|| {
            let message = format!(
                "the backup's key {key} is of namespace {theirs}, which is not in the backup"
            );
            Error::corrupt("BACKUP_NAMESPACE", message)
        })?;
        ours.map(|ours| Key::in_namespace(ours, key.as_bytes()))
            .transpose()
    }
}

/// What a namespace of a backup is here from now on; `None` for one that was dropped there and never
/// was here.
fn ours_of(known: &Known, theirs: Namespace) -> Result<Option<Namespace>> {
    if let Some(ours) = known.of_uid(theirs.uid) {
        // What was dropped here stays so: its name may be another's by now.
        let is_later = !ours.dropped && theirs.version > ours.version;
        let later = if is_later { &theirs } else { &**ours };
        return Ok(Some(Namespace {
            id: ours.id,
            ..later.clone()
        }));
    }
    if theirs.dropped {
        return Ok(None);
    }
    if let Some(ours) = known.named(&theirs.name) {
        return Ok(Some(Namespace::clone(ours)));
    }
    let id = known.next_id()?;
    Ok(Some(Namespace { id, ..theirs }))
}
