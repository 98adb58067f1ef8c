//! A file that appears under its name whole or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file under another name in the same folder; it goes when this does.
#[derive(Debug)]
pub struct PartialFile {
    path: PathBuf,
    target: PathBuf,
    is_named: bool,
}

impl PartialFile {
    /// Makes the file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(target: &Path) -> io::Result<(Self, File)> {
        // Through a link, the file that it leads to is replaced, and not the link.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        if target.file_name().is_none() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let path = target.with_file_name(temporary_name()?);
        let file = File::create_new(&path)?;
        let partial = Self {
            path,
            target,
            is_named: false,
        };
        Ok((partial, file))
    }

    /// Makes a file in the folder for temporary ones that nobody else may read, to be used and dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create_passing() -> io::Result<(Self, File)> {
        let path = std::env::temp_dir().join(temporary_name()?);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true);
        let file = file.mode(0o600).open(&path)?;
        let partial = Self {
            target: path.clone(),
            path,
            is_named: false,
        };
        Ok((partial, file))
    }

    /// Where it is meanwhile.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// It cannot be renamed; there is no new file then.
    pub fn keep(mut self) -> io::Result<()> {
        self.rename()
    }

    /// Syncs it, gives it its name, and syncs that.
    ///
    /// # Errors
    /// As [`PartialFile::keep`], and what the disk answers.
    pub fn keep_durably(mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        self.rename()?;
        let folder = self.target.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn rename(&mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.target)?;
        self.is_named = true;
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.is_named {
            // What is left over is ours; why the file is not there was told.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A name that no other file has and nobody can guess, and that fits into every folder. Whoever makes
/// the file takes none that is there, so that what others put in its way is not written through.
///
/// # Errors
/// The system's random source fails.
pub fn temporary_name() -> io::Result<String> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(format!(
        ".shardkeep-{}-{random:016x}.tmp",
        std::process::id()
    ))
}
