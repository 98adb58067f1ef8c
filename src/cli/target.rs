//! Where `get` writes: files that appear whole, in a folder that nothing leaves.

use super::exit::CliError;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static TEMPORARY: AtomicU64 = AtomicU64::new(0);

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
        let written = self.write_whole(path, data);
        written.map_err(|error| CliError::file("write", &self.root.join(path), error))
    }

    fn write_whole(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            self.dir.create_dir_all(parent)?;
        }
        let temporary = path.with_file_name(temporary_name());
        let mut file = self.dir.create(&temporary)?;
        let renamed = file
            .write_all(data)
            .and_then(|()| self.dir.rename(&temporary, &self.dir, path));
        if renamed.is_err() {
            // What is left over is ours; why the file is not there is the news.
            let _ = self.dir.remove_file(&temporary);
        }
        renamed
    }

    /// Makes a file anywhere, as the user asked: whole or not at all, but for what is not an
    /// ordinary file, such as a pipe or `/dev/null`, which is written to. Blocks.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_file(path: &Path, data: &[u8]) -> Result<(), CliError> {
        let written = match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                File::create(path).and_then(|mut file| file.write_all(data))
            }
            _ => write_renamed(path, data),
        };
        written.map_err(|error| CliError::file("write", path, error))
    }
}

fn write_renamed(path: &Path, data: &[u8]) -> io::Result<()> {
    // Through a link, the file that it leads to is replaced, and not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let temporary = path.with_file_name(temporary_name());
    let renamed = fs::write(&temporary, data).and_then(|()| fs::rename(&temporary, &path));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

fn temporary_name() -> String {
    let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
    format!(".shardkeep-{}-{number}.tmp", std::process::id())
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
