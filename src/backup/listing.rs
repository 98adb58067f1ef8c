//! What backups a root holds, by what both ends of each file say of it.

use super::archive::ArchiveHeader;
use super::fault::{Fault, Result};
use super::file::{BackupFile, Kind};
use super::name::{NamedRange, SUFFIX};
use super::reader::ArchiveReader;
use super::root::BackupRoot;
use crate::model;
use cap_std::fs::Dir;
use std::path::Path;
use std::time::SystemTime;

/// Folders below each other that are looked into.
const DEPTH_MAX: usize = 16;

/// A file in a backup root whose name is a backup's.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Relative to the root, as requests name it.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub modified: Option<SystemTime>,
    /// What it says of itself.
    pub content: model::Result<Content>,
}

/// What a backup says of itself; its entries are not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// An archive of ours, with its entries that name a key.
    Own(ArchiveHeader, u64),
    /// A backup that zstdb wrote, with the range of its name.
    Zstdb(Option<NamedRange>),
}

impl Content {
    /// What an open file says of itself.
    ///
    /// # Errors
    /// `Corrupt` and `Invalid` for what cannot be restored.
    pub fn of(file: BackupFile) -> model::Result<Self> {
        match file.recognise()? {
            Kind::Own => {
                let reader = ArchiveReader::open(file)?;
                Ok(Self::Own(*reader.header(), reader.counts().records()))
            }
            Kind::Zstdb => Ok(Self::Zstdb(file.named_range())),
        }
    }
}

impl BackupRoot {
    /// All backups, in order of their paths. Links are not followed; names that are not UTF-8, which
    /// no request could name, are left out.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn list(&self) -> model::Result<Vec<Listed>> {
        let mut found = Vec::new();
        self.list_folder(self.dir(), String::new(), DEPTH_MAX, &mut found)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn list_folder(
        &self,
        dir: &Dir,
        prefix: String,
        depth: usize,
        found: &mut Vec<Listed>,
    ) -> Result<()> {
        let fail = |source| Fault::Io {
            action: "list backups",
            file: self.path().join(&prefix),
            source,
        };
        for entry in dir.entries().map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // What goes meanwhile is not there any more.
            let Ok(metadata) = dir.symlink_metadata(&name) else {
                continue;
            };
            let path = format!("{prefix}{name}");
            if metadata.is_dir() && depth > 0 {
                let inner = dir.open_dir(&name).map_err(fail)?;
                self.list_folder(&inner, format!("{path}/"), depth - 1, found)?;
            } else if metadata.is_file() && is_backup_name(&name) {
                let modified = metadata.modified().ok();
                found.push(Listed {
                    bytes: metadata.len(),
                    modified: modified.map(cap_std::time::SystemTime::into_std),
                    content: self.open_file(&path).and_then(Content::of),
                    path,
                });
            }
        }
        Ok(())
    }

    /// One backup, by its exact name.
    ///
    /// # Errors
    /// As [`BackupRoot::open_file`].
    pub fn find(&self, path: &str) -> model::Result<Listed> {
        let file = self.open_file(path)?;
        Ok(Listed {
            path: self.relative(path)?,
            bytes: file.length(),
            modified: file.modified(),
            content: Content::of(file),
        })
    }

    /// Removes a backup, for good: the folder is synced. What does not have a backup's name is not
    /// one to remove.
    ///
    /// # Errors
    /// As [`BackupRoot::open_file`]; what the file system answers.
    pub fn remove(&self, path: &str) -> model::Result<()> {
        let name = Path::new(path).file_name().and_then(|name| name.to_str());
        if !name.is_some_and(is_backup_name) {
            return Err(self.refused(path, "its name is not a backup's").into());
        }
        self.open_file(path)?;
        Ok(self.unlink(path)?)
    }
}

/// A backup that is still being written has a name of another kind.
fn is_backup_name(name: &str) -> bool {
    name.ends_with(SUFFIX) && !name.starts_with('.')
}
