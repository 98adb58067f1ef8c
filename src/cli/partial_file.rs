//! A file that appears under its name whole or not at all.

use super::exit::CliError;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A file under another name in the same folder; it goes when this does.
#[derive(Debug)]
pub struct PartialFile {
    path: PathBuf,
    target: Option<PathBuf>,
}

impl PartialFile {
    /// Makes the file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(target: &Path) -> Result<(Self, File), CliError> {
        let failed = |error| CliError::file("create", target, error);
        // Through a link, the file that it leads to is replaced, and not the link.
        let whole = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let name = whole
            .file_name()
            .ok_or_else(|| failed(io::Error::from(io::ErrorKind::IsADirectory)))?;
        let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        let path = whole.with_file_name(name);
        let file = File::create(&path).map_err(failed)?;
        let target = Some(whole);
        Ok((Self { path, target }, file))
    }

    /// Where it is meanwhile.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs it and gives it its name.
    ///
    /// # Errors
    /// It cannot be synced or renamed; there is no new file then.
    pub fn keep(mut self) -> Result<(), CliError> {
        let Some(target) = self.target.take() else {
            return Ok(());
        };
        let named = File::open(&self.path)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.path, &target))
            .and_then(|()| {
                let folder = target.parent().filter(|it| !it.as_os_str().is_empty());
                File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
            });
        named.map_err(|error| {
            // What is left over is ours; why the file is not there is the news.
            let _ = fs::remove_file(&self.path);
            CliError::file("write", &target, error)
        })
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.target.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
