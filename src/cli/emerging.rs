//! A file that `get` writes: under another name until it is whole.

use super::exit::CliError;
use crate::exchange::{PartialFile, temporary_name};
use cap_std::fs::{Dir, OpenOptions};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file on its way. Dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub struct Emerging {
    file: File,
    /// For messages.
    shown: PathBuf,
    place: Place,
}

/// Where it goes when it is whole.
#[derive(Debug)]
enum Place {
    /// Below a folder that it does not leave.
    Below(Below),
    /// Wherever the user asked.
    Anywhere(PartialFile),
    /// It is there already: what is not an ordinary file, such as a pipe, is written to as it is.
    There,
}

#[derive(Debug)]
struct Below {
    dir: Dir,
    temporary: PathBuf,
    path: PathBuf,
    is_named: bool,
}

impl Emerging {
    /// Begins a file at a path below a folder. Links that lead out of it are refused.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn below(root: &Path, dir: &Dir, path: &Path) -> Result<Self, CliError> {
        let shown = root.join(path);
        let begun = Below::create(dir, path);
        let (file, below) = begun.map_err(|error| CliError::file("write", &shown, error))?;
        let place = Place::Below(below);
        Ok(Self { file, shown, place })
    }

    /// Begins a file anywhere, as the user asked. What is not an ordinary file is written to as it is.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn at(path: &Path) -> Result<Self, CliError> {
        let begin = || -> io::Result<(File, Place)> {
            if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
                return Ok((File::create(path)?, Place::There));
            }
            let (partial, file) = PartialFile::create(path)?;
            Ok((file, Place::Anywhere(partial)))
        };
        let (file, place) = begin().map_err(|error| CliError::file("write", path, error))?;
        let shown = path.to_owned();
        Ok(Self { file, shown, place })
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
    pub fn finish(self) -> Result<(), CliError> {
        let named = match self.place {
            Place::Below(below) => below.keep(),
            Place::Anywhere(partial) => partial.keep(),
            Place::There => Ok(()),
        };
        named.map_err(|error| CliError::file("write", &self.shown, error))
    }
}

impl Below {
    fn create(dir: &Dir, path: &Path) -> io::Result<(File, Self)> {
        if let Some(parent) = path.parent() {
            dir.create_dir_all(parent)?;
        }
        let temporary = path.with_file_name(temporary_name()?);
        let mut new = OpenOptions::new();
        let file = dir.open_with(&temporary, new.write(true).create_new(true))?;
        let file = file.into_std();
        let below = Self {
            dir: dir.try_clone()?,
            temporary,
            path: path.to_owned(),
            is_named: false,
        };
        Ok((file, below))
    }

    fn keep(mut self) -> io::Result<()> {
        self.dir.rename(&self.temporary, &self.dir, &self.path)?;
        self.is_named = true;
        Ok(())
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        if !self.is_named {
            // What is left over is ours; why the file is not there was told.
            let _ = self.dir.remove_file(&self.temporary);
        }
    }
}
