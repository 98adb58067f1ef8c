//! A file that `get` writes: under another name until it is whole.

use super::exit::CliError;
use cap_std::fs::Dir;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// A file on its way. Dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub struct Emerging {
    file: File,
    /// For messages.
    shown: PathBuf,
    /// Where it goes when it is whole; `None` for what is written to as it is, such as a pipe.
    rename: Option<Rename>,
}

#[derive(Debug)]
struct Rename {
    /// The folder that it stays in, where that matters.
    dir: Option<Dir>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Emerging {
    /// Begins a file at a path below a folder. Links that lead out of it are refused.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn below(root: &Path, dir: &Dir, path: &Path) -> Result<Self, CliError> {
        let shown = root.join(path);
        let begin = || -> io::Result<(File, Rename)> {
            if let Some(parent) = path.parent() {
                dir.create_dir_all(parent)?;
            }
            let temporary = path.with_file_name(temporary_name());
            let file = dir.create(&temporary)?.into_std();
            let rename = Rename {
                dir: Some(dir.try_clone()?),
                temporary,
                path: path.to_owned(),
            };
            Ok((file, rename))
        };
        let (file, rename) = begin().map_err(|error| CliError::file("write", &shown, error))?;
        Ok(Self {
            file,
            shown,
            rename: Some(rename),
        })
    }

    /// Begins a file anywhere, as the user asked. What is not an ordinary file is written to as it is.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn at(path: &Path) -> Result<Self, CliError> {
        let begin = || -> io::Result<(File, Option<Rename>)> {
            if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
                return Ok((File::create(path)?, None));
            }
            // Through a link, the file that it leads to is replaced, and not the link.
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let temporary = path.with_file_name(temporary_name());
            let file = File::create(&temporary)?;
            let dir = None;
            let rename = Rename {
                dir,
                temporary,
                path,
            };
            Ok((file, Some(rename)))
        };
        let (file, rename) = begin().map_err(|error| CliError::file("write", path, error))?;
        let shown = path.to_owned();
        Ok(Self {
            file,
            shown,
            rename,
        })
    }

    /// Writes the next bytes. Blocks.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, data: &[u8]) -> Result<(), CliError> {
        let written = self.file.write_all(data);
        written.map_err(|error| CliError::file("write", &self.shown, error))
    }

    /// Gives it its name. Blocks.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn finish(mut self) -> Result<(), CliError> {
        let Some(rename) = &self.rename else {
            return Ok(());
        };
        let renamed = match &rename.dir {
            Some(dir) => dir.rename(&rename.temporary, dir, &rename.path),
            None => fs::rename(&rename.temporary, &rename.path),
        };
        renamed.map_err(|error| CliError::file("write", &self.shown, error))?;
        self.rename = None;
        Ok(())
    }
}

impl Drop for Emerging {
    fn drop(&mut self) {
        // What is left over is ours; why the file is not there was told.
        let _ = match &self.rename {
            Some(Rename {
                dir: Some(dir),
                temporary,
                ..
            }) => dir.remove_file(temporary),
            Some(rename) => fs::remove_file(&rename.temporary),
            None => Ok(()),
        };
    }
}

fn temporary_name() -> String {
    let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
    format!(".shardkeep-{}-{number}.tmp", std::process::id())
}
