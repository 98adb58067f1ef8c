//! Where `get` writes: files that appear whole, in a folder that nothing leaves.

use super::emerging::Emerging;
use super::exit::CliError;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder to make files in. Links in it that lead out of it are refused by the system itself.
#[derive(Debug)]
pub struct Target {
    root: PathBuf,
    dir: Dir,
}

impl Target {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn open(root: &Path) -> Result<Self, CliError> {
        fs::create_dir_all(root).map_err(|error| CliError::file("create", root, error))?;
        let dir = Dir::open_ambient_dir(root, ambient_authority())
            .map_err(|error| CliError::file("open", root, error))?;
        let root = root.to_owned();
        Ok(Self { root, dir })
    }

    /// Makes a file at a path below the folder: written under another name, then renamed. Blocks.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path, data: &[u8]) -> Result<(), CliError> {
        let mut file = self.begin(path)?;
        file.write(data)?;
        file.finish()
    }

    /// Begins a file at a path below the folder. Blocks.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn begin(&self, path: &Path) -> Result<Emerging, CliError> {
        Emerging::below(&self.root, &self.dir, path)
    }

    /// Makes a file anywhere, as the user asked: whole or not at all, but for what is not an
    /// ordinary file, such as a pipe or `/dev/null`, which is written to. Blocks.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_file(path: &Path, data: &[u8]) -> Result<(), CliError> {
        let mut file = Emerging::at(path)?;
        file.write(data)?;
        file.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = Target::open(&folder.path().join("new")).expect("a target");
        for data in [&b"first"[..], b"second"] {
            target.write(Path::new("a/b/c"), data).expect("written");
        }
        let made = folder.path().join("new/a/b");
        assert_eq!(fs::read(made.join("c")).expect("the file"), b"second");
        assert_eq!(fs::read_dir(made).expect("the folder").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_out_of_the_folder_is_not_followed() {
        let outside = tempfile::tempdir().expect("a folder");
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(outside.path(), link).expect("a link");
        let target = Target::open(folder.path()).expect("a target");
        assert!(target.write(Path::new("link/file"), b"data").is_err());
        assert_eq!(fs::read_dir(outside.path()).expect("outside").count(), 0);
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let device = Path::new("/dev/null");
        Target::write_file(device, b"data").expect("written");
        assert!(!fs::metadata(device).expect("still there").is_file());
    }
}
