//! What `put` stores: a value in memory, or a file of which no more than a piece is.

use super::exit::CliError;
use super::upload::Loaded;
use super::upload_large::is_large;
use crate::codec::CUT_MIN;
use crate::exchange::PartialFile;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

/// A value to be stored.
#[derive(Debug)]
pub enum Input {
    /// All of it.
    Whole(Loaded),
    /// One that is sent in chunks.
    Large(LargeFile),
}

/// A file that is read more than once.
#[derive(Debug)]
pub struct LargeFile {
    path: PathBuf,
    /// Bytes of it.
    pub len: u64,
    /// Goes with it, if it is only what came through a pipe.
    _spooled: Option<PartialFile>,
}

impl LargeFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Input {
    /// A file, or standard input for `-`: of that, a large one is kept in the folder for temporary files
    /// meanwhile, since its digest is needed before its first byte is sent.
    ///
    /// # Errors
    /// It cannot be read, or not kept.
    pub async fn take(path: &Path) -> Result<Self, CliError> {
        let path = path.to_owned();
        let taken = tokio::task::spawn_blocking(move || match path == Path::new("-") {
            true => Self::of_stdin(),
            false => Self::of_file(path),
        });
        taken.await.expect("reading does not panic")
    }

    fn of_file(path: PathBuf) -> Result<Self, CliError> {
        let found = std::fs::metadata(&path).ok();
        let file = found.filter(std::fs::Metadata::is_file);
        let len = file.map_or(0, |it| it.len());
        if !is_large(len) {
            return Ok(Self::Whole(Loaded::read_file(&path)?));
        }
        Ok(Self::Large(LargeFile {
            path,
            len,
            _spooled: None,
        }))
    }

    fn of_stdin() -> Result<Self, CliError> {
        let read = |error| CliError::stream("read", "standard input", error);
        let mut stdin = io::stdin().lock();
        let mut first = Vec::new();
        let begun = stdin.by_ref().take(CUT_MIN + 1).read_to_end(&mut first);
        if !is_large(begun.map_err(read)? as u64) {
            return Ok(Self::Whole(Loaded::of(first.into())));
        }
        let place = std::env::temp_dir();
        let kept = |error| CliError::file("keep standard input in", &place, error);
        let (spooled, mut file) = PartialFile::create_passing().map_err(kept)?;
        file.write_all(&first).map_err(kept)?;
        let rest = io::copy(&mut stdin, &mut file).map_err(kept)?;
        Ok(Self::Large(LargeFile {
            path: spooled.path().to_owned(),
            len: first.len() as u64 + rest,
            _spooled: Some(spooled),
        }))
    }
}
