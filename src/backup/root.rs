//! The one folder that backups are written to and read from. Every path of a request passes here.
//!
//! The rules over text are `path`'s; this file opens what is left through a capability for the
//! root (`cap-std`), so that neither a link nor a folder that is swapped in the meantime leads out.

use super::fault::{Fault, Result};
use super::file::BackupFile;
use super::name::SUFFIX;
use super::path::RootedPath;
use crate::model;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};

/// An open backup root.
#[derive(Debug)]
pub struct BackupRoot {
    dir: Dir,
    /// As configured, made absolute.
    path: PathBuf,
    /// With links resolved.
    canonical: PathBuf,
}

impl BackupRoot {
    /// Opens the root, makes it if it is missing, and removes what a crash left half written in it.
    /// Leftovers in folders below go when the next backup is written there.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn open(path: &Path) -> model::Result<Self> {
        let fail = |source| Fault::Io {
            action: "open backup root",
            file: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(path).map_err(fail)?;
        let canonical = path.canonicalize().map_err(fail)?;
        let absolute = std::path::absolute(path).map_err(fail)?;
        let dir = Dir::open_ambient_dir(&canonical, ambient_authority()).map_err(fail)?;
        remove_leftovers(&dir, &canonical);
        // A root that climbs cannot be named by a request, which may not climb.
        let climbs = absolute.components().any(|part| part.as_os_str() == "..");
        Ok(Self {
            dir,
            path: if climbs { canonical.clone() } else { absolute },
            canonical,
        })
    }

    /// The root's absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a backup to read. `path` is its exact name, below the root or absolute within it.
    ///
    /// # Errors
    /// `Invalid` for a path that leads out of the root or names no regular file, `NotFound` with
    /// the names that come near.
    pub fn open_file(&self, path: &str) -> model::Result<BackupFile> {
        let rooted = self.parse(path)?;
        let relative = rooted.relative();
        let shown = self.path.join(&relative);
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Fault::Missing {
                file: shown.clone(),
                near: self.near(&rooted),
            },
            _ => self.refuse(path, "read", source),
        };
        // Looked at before it is opened: opening a fifo would wait for a writer.
        let found = self.dir.metadata(&relative).map_err(fail)?;
        if !found.is_file() {
            return Err(self.refused(path, "it is not a regular file").into());
        }
        let file = self.dir.open(&relative).map_err(fail)?;
        BackupFile::from_open(file.into_std(), shown.clone())
    }

    /// The folder that a new backup goes to, made if it is missing, and its path.
    pub(super) fn place(&self, path: &str) -> Result<Place> {
        let rooted = self.parse(path)?;
        let folder = rooted.folder();
        let fail = |source| self.refuse(path, "create", source);
        if !folder.as_os_str().is_empty() {
            self.dir.create_dir_all(&folder).map_err(fail)?;
        }
        let folders = rooted
            .folders()
            .map(|folder| match folder.as_os_str().is_empty() {
                true => self.dir.try_clone(),
                false => self.dir.open_dir(&folder),
            })
            .collect::<io::Result<Vec<Dir>>>()
            .map_err(fail)?;
        let shown = self.path.join(&folder);
        let place = Place {
            folders,
            path: shown,
            name: rooted.name().to_owned(),
        };
        remove_leftovers(place.dir(), &place.path);
        Ok(place)
    }

    /// Takes the name of a file away, so that it stays away after a power cut.
    pub(super) fn unlink(&self, path: &str) -> Result<()> {
        let rooted = self.parse(path)?;
        let fail = |source| self.refuse(path, "remove", source);
        self.dir.remove_file(rooted.relative()).map_err(fail)?;
        let folder = Path::new(".").join(rooted.folder());
        let folder = self.dir.open(folder).map_err(fail)?;
        folder.sync_all().map_err(fail)
    }

    /// A path as it is below the root.
    pub(super) fn relative(&self, path: &str) -> Result<String> {
        let relative = self.parse(path)?.relative();
        Ok(relative.to_string_lossy().into_owned())
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    fn parse(&self, path: &str) -> Result<RootedPath> {
        RootedPath::parse(path, &[&self.path, &self.canonical])
            .map_err(|why| self.refused(path, why))
    }

    pub(super) fn refused(&self, path: &str, why: &'static str) -> Fault {
        Fault::Path {
            path: path.to_owned(),
            why,
            root: self.path.clone(),
        }
    }

    /// An escape that only the file system could see is the requester's fault, the rest is not.
    fn refuse(&self, path: &str, action: &'static str, source: io::Error) -> Fault {
        let escapes =
            source.kind() == io::ErrorKind::PermissionDenied && source.raw_os_error().is_none();
        match source.kind() {
            _ if escapes => self.refused(path, "a link on the way leads out of the root"),
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                self.refused(path, "what should be a folder is not one")
            }
            io::ErrorKind::InvalidFilename => self.refused(path, "it is too long"),
            _ => Fault::Io {
                action,
                file: self.path.join(path),
                source,
            },
        }
    }

    /// The names in the same folder that begin most like the one that is missing.
    fn near(&self, rooted: &RootedPath) -> String {
        const SHOWN: usize = 3;
        let folder = rooted.folder();
        let listed = match folder.as_os_str().is_empty() {
            true => self.dir.entries(),
            false => self.dir.read_dir(&folder),
        };
        let mut names: Vec<(usize, String)> = listed
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(SUFFIX))
            .map(|name| (common_prefix(&name, rooted.name()), name))
            .filter(|(common, _)| *common > 0)
            .collect();
        names.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        names.truncate(SHOWN);
        if names.is_empty() {
            return String::new();
        }
        let names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
        format!("; near it are: {}", names.join(", "))
    }
}

/// Where a new backup goes.
pub(super) struct Place {
    /// From the root down.
    folders: Vec<Dir>,
    /// Of the last folder, for people.
    pub path: PathBuf,
    /// What the request calls the backup.
    pub name: String,
}

impl Place {
    /// The folder itself.
    pub fn dir(&self) -> &Dir {
        self.folders.last().expect("the root is always the first")
    }

    /// Makes the names in it, and the folders that lead to it, outlive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        for folder in self.folders.iter().rev() {
            // The capability itself may be a mere place (`O_PATH`), which cannot be synced.
            folder.open(".")?.sync_all()?;
        }
        Ok(())
    }
}

const PARTIAL_SUFFIX: &str = ".partial";
const PARTIAL_DIGITS: usize = 16;
/// Of the backup's own name, so that the partial name fits whatever that is.
const PARTIAL_NAME_MAX: usize = 100;

/// The name that a backup has while it is written.
pub(super) fn partial_name(name: &str, random: u64) -> String {
    let shown = &name[..name.floor_char_boundary(PARTIAL_NAME_MAX)];
    format!(".{shown}.{random:016x}{PARTIAL_SUFFIX}")
}

fn is_partial_name(name: &str) -> bool {
    let Some((rest, digits)) = name
        .strip_suffix(PARTIAL_SUFFIX)
        .and_then(|rest| rest.rsplit_once('.'))
    else {
        return false;
    };
    rest.starts_with('.')
        && digits.len() == PARTIAL_DIGITS
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Removes half-written backups whose writers are gone. A writer holds a lock on its file for as
/// long as it lives, so that another process's backup under the same root is left alone.
fn remove_leftovers(dir: &Dir, shown: &Path) {
    let entries = dir.entries().into_iter().flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        if !is_partial_name(&name) {
            continue;
        }
        match remove_leftover(dir, &name) {
            Ok(true) => {
                tracing::info!(folder = %shown.display(), name, "removed a backup that was never finished")
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(folder = %shown.display(), name, %error, "cannot remove a backup that was never finished");
            }
        }
    }
}

fn remove_leftover(dir: &Dir, name: &str) -> io::Result<bool> {
    if !dir.symlink_metadata(name)?.is_file() {
        return Ok(false);
    }
    let file = dir
        .open_with(name, OpenOptions::new().write(true))?
        .into_std();
    match file.try_lock() {
        Ok(()) => dir.remove_file(name).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
