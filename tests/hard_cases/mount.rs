//! A small disk of its own: an ext4 in a file, mounted. Needs root; who is not is told.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounted when it is dropped.
pub struct SmallDisk {
    mounted: PathBuf,
    image: PathBuf,
    _dir: tempfile::TempDir,
}

impl SmallDisk {
    /// A disk of so many MiB; `None`, with a word why, where this user may not mount.
    pub fn mount(mib: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, mounted) = (dir.path().join("image"), dir.path().join("disk"));
        std::fs::create_dir(&mounted).unwrap();
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(mib << 20))
            .unwrap();
        let made = run(Command::new("mkfs.ext4")
            .args(["-q", "-m", "0"])
            .arg(&image));
        let mount = |()| {
            let mut command = Command::new("mount");
            run(command.args(["-o", "loop"]).arg(&image).arg(&mounted))
        };
        if let Err(why) = made.and_then(mount) {
            eprintln!("SKIPPED: no small disk can be mounted here (it needs root): {why}");
            return None;
        }
        Some(Self {
            mounted,
            image,
            _dir: dir,
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// The file that it lies in.
    pub fn image(&self) -> &Path {
        &self.image
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that fails may hold files open still.
        if let Err(why) = run(Command::new("umount").arg("-l").arg(&self.mounted)) {
            eprintln!("{} stays mounted: {why}", self.mounted.display());
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
