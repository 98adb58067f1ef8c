//! The composition root (a stand-in until the real one is merged).

/// Runs the server.
///
/// # Errors
/// Always, here.
pub fn run(_config: crate::config::Config) -> Result<(), crate::model::Error> {
    Err(crate::model::Error::internal(
        "NOT_MERGED",
        "not merged yet",
    ))
}

pub mod offline {
    //! What works on a data directory without a server.

    use crate::model::{Error, RestoreReport, VerifyReport};
    use std::path::{Path, PathBuf};

    /// Progress: bytes done, bytes in all.
    pub type OnProgress<'a> = &'a mut dyn FnMut(u64, u64);

    /// Builds a new data directory from backups.
    ///
    /// # Errors
    /// Always, here.
    pub fn restore(
        _dir: &Path,
        _files: &[PathBuf],
        _progress: OnProgress<'_>,
    ) -> Result<RestoreReport, Error> {
        Err(Error::internal("NOT_MERGED", "not merged yet"))
    }

    /// Checks a data directory.
    ///
    /// # Errors
    /// Always, here.
    pub fn verify(
        _dir: &Path,
        _repair: bool,
        _progress: OnProgress<'_>,
    ) -> Result<VerifyReport, Error> {
        Err(Error::internal("NOT_MERGED", "not merged yet"))
    }
}
