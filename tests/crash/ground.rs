//! What a store stands on, and how it falls.

use crate::support::files::copy_dir;
use crate::support::{Random, SmallDisk};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How long after the power is gone a server may go on, in milliseconds.
const AFTERLIFE_MAX: u64 = 50;

/// See the module's text.
pub enum Ground {
    /// A folder: the process is killed, and all that it wrote is there.
    Folder(TempDir),
    /// A disk: its power is cut, and what was not synced is gone.
    Disk(SmallDisk),
    /// Planted: a folder that comes back as it was after the first fall.
    Forgetful { dir: TempDir, kept: TempDir },
}

impl Ground {
    /// The data directory.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Folder(dir) | Self::Forgetful { dir, .. } => dir.path().to_owned(),
            Self::Disk(disk) => disk.path().join("data"),
        }
    }

    /// The power goes; the process goes on for a moment, and is then to be killed.
    pub async fn fall(&self, random: &mut Random) {
        if let Self::Disk(disk) = self {
            disk.cut_power();
            let moment = random.within(0..AFTERLIFE_MAX);
            tokio::time::sleep(Duration::from_millis(moment)).await;
        }
    }

    /// The power comes back. Nobody holds a file of it open.
    pub fn rise(&self) {
        match self {
            Self::Folder(_) => {}
            Self::Disk(disk) => disk.return_power(),
            Self::Forgetful { dir, kept } => forget(dir.path(), &kept.path().join("first")),
        }
    }
}

fn forget(dir: &Path, first: &Path) {
    if !first.exists() {
        copy_dir(dir, first);
        return;
    }
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let removed = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
        removed.unwrap();
    }
    copy_dir(first, dir);
}
