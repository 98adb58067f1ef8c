//! The backups that are there: listed, checked, deleted.

use super::import::Source;
use super::{Service, blocking};
use crate::backup::{ArchiveHeader, Content, Listed, superfluous};
use crate::codec::RAW_SIZE_MAX;
use crate::model::{Error, Result, Timestamp, Version};
use std::time::UNIX_EPOCH;

/// A backup in the backup root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Relative to the root.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was made; of zstdb's own, when the file was written.
    pub created: Timestamp,
    /// It holds the changes after this version, up to that one, where it says so.
    pub range: Option<(Version, Version)>,
    /// The chain that it belongs to, in hex; empty for zstdb's own.
    pub chain: String,
    /// Records of keys in it, deletes included; zstdb's own do not say.
    pub records: u64,
    /// Why it cannot be restored, as far as both its ends show; empty if it can.
    pub problem: String,
}

impl Stored {
    fn of(listed: Listed) -> Self {
        let written = listed
            .modified
            .and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        let written = written.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        let mut stored = Self {
            path: listed.path,
            bytes: listed.bytes,
            created: Timestamp(written),
            range: None,
            chain: String::new(),
            records: 0,
            problem: String::new(),
        };
        match listed.content {
            Ok(Content::Own(header, records)) => {
                stored.created = header.created_at;
                stored.range = Some((header.since, header.max));
                stored.chain = header.chain.to_string();
                stored.records = records;
            }
            Ok(Content::Zstdb(range)) => stored.range = range.map(|it| (it.since, it.max)),
            Err(error) => error.message().clone_into(&mut stored.problem),
        }
        stored
    }
}

impl Service {
    /// All backups in the backup root, in order of their paths.
    ///
    /// # Errors
    /// What the file system answers.
    pub async fn backups(&self) -> Result<Vec<Stored>> {
        let root = self.0.parts.backups.clone();
        blocking(move || Ok(root.list()?.into_iter().map(Stored::of).collect())).await
    }

    /// One backup.
    ///
    /// # Errors
    /// `Invalid` and `NotFound` about the path.
    pub async fn stored_backup(&self, path: &str) -> Result<Stored> {
        let (root, path) = (self.0.parts.backups.clone(), path.to_owned());
        blocking(move || root.find(&path).map(Stored::of)).await
    }

    /// Reads a backup whole, as a restore does before it changes anything; `progress` is told bytes
    /// done and in all.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Corrupt` about the file, as [`Service::restore`].
    pub async fn verify_backup(
        &self,
        path: &str,
        mut progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<Stored> {
        let root = self.0.parts.backups.clone();
        let named = path.to_owned();
        blocking(move || {
            let file = root.open_file(&named)?;
            Source::judge(file, RAW_SIZE_MAX, &mut progress).map(drop)
        })
        .await?;
        self.stored_backup(path).await
    }

    /// Deletes a backup. Increments that continue it cannot be restored any more.
    ///
    /// # Errors
    /// `Unavailable` while another chore runs; `Invalid` and `NotFound` about the path.
    pub async fn delete_backup(&self, path: &str) -> Result<()> {
        let (chore, root) = (self.chore()?, self.0.parts.backups.clone());
        let path = path.to_owned();
        blocking(move || {
            let _chore = chore;
            root.remove(&path)?;
            tracing::info!(path, "backup deleted by an administrator");
            Ok(())
        })
        .await
    }

    /// Deletes this store's own sound backups below a folder, all but the `keep` newest and what
    /// these need to be restored; `""` is the whole root. The paths of what is gone.
    ///
    /// # Errors
    /// `Unavailable` while another chore runs; `Invalid` (`KEEP_NOTHING`); what the file system
    /// answers, and then some may be gone.
    pub async fn purge_backups(&self, folder: &str, keep: usize) -> Result<Vec<String>> {
        if keep == 0 {
            let message = "keep is 0: keep 1 backup at least, and delete the last by its path";
            return Err(Error::invalid("KEEP_NOTHING", message).at("keep"));
        }
        let (chore, root) = (self.chore()?, self.0.parts.backups.clone());
        let (store, folder) = (self.0.parts.book.read().store, folder_prefix(folder));
        blocking(move || {
            let _chore = chore;
            let own = |listed: Listed| match listed.content {
                Ok(Content::Own(header, _)) if header.store == store => listed
                    .path
                    .starts_with(&folder)
                    .then_some((listed.path, header)),
                _ => None,
            };
            let own: Vec<(String, ArchiveHeader)> =
                root.list()?.into_iter().filter_map(own).collect();
            let headers: Vec<ArchiveHeader> = own.iter().map(|(_, header)| *header).collect();
            let mut gone = Vec::new();
            for index in superfluous(&headers, keep) {
                let path = &own[index].0;
                root.remove(path)?;
                tracing::info!(path, keep, "backup purged by an administrator");
                gone.push(path.clone());
            }
            Ok(gone)
        })
        .await
    }
}

/// What the paths of a folder begin with.
fn folder_prefix(folder: &str) -> String {
    match folder.trim_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    }
}
