//! A small disk of its own: an ext4 in a file, mounted, whose power can be cut. Needs root; who is
//! not is told.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: from then on nothing is written, not even
/// the journal that stands in memory.
const SHUTDOWN: &str = r#"open(my $disk, "<", $ARGV[0]) or die "open: $!\n";
my $flags = pack("L", 2);
defined ioctl($disk, 0x8004587d, $flags) or die "shutdown: $!\n";"#;

/// How long a process that is gone may keep a disk busy.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);

/// Unmounted when it is dropped.
pub struct SmallDisk {
    mounted: PathBuf,
    image: PathBuf,
    dir: Option<tempfile::TempDir>,
}

impl SmallDisk {
    /// A disk of so many MiB; `None`, with a word why, where this user may not mount.
    pub fn mount(mib: u64) -> Option<Self> {
        Self::mount_in(tempfile::tempdir().unwrap(), mib)
    }

    /// The same, with its file in a folder that goes with it.
    pub fn mount_in(dir: tempfile::TempDir, mib: u64) -> Option<Self> {
        let disk = Self {
            mounted: dir.path().join("disk"),
            image: dir.path().join("image"),
            dir: Some(dir),
        };
        std::fs::create_dir(&disk.mounted).unwrap();
        std::fs::File::create(&disk.image)
            .and_then(|file| file.set_len(mib << 20))
            .unwrap();
        let mut make = Command::new("mkfs.ext4");
        let made = run(make.args(["-q", "-m", "0"]).arg(&disk.image));
        if let Err(why) = made.and_then(|()| disk.attach()) {
            eprintln!("SKIPPED: no small disk can be mounted here (it needs root): {why}");
            return None;
        }
        Some(disk)
    }

    fn attach(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        run(mount
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.mounted))
    }

    /// Cuts the power: what is not on the disk by now never will be. Every call fails until
    /// [`SmallDisk::return_power`].
    pub fn cut_power(&self) {
        let mut perl = Command::new("perl");
        run(perl.args(["-e", SHUTDOWN]).arg(&self.mounted)).unwrap();
    }

    /// Mounts it anew, as after a power loss. Nobody may hold a file of it open.
    pub fn return_power(&self) {
        let deadline = Instant::now() + UNMOUNT_PATIENCE;
        while let Err(why) = run(Command::new("umount").arg(&self.mounted)) {
            assert!(Instant::now() < deadline, "{why}");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.attach().unwrap();
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
        let unmounted = run(Command::new("umount").arg("-l").arg(&self.mounted));
        if let (Err(why), Ok(true)) = (unmounted, is_mount_point(&self.mounted)) {
            eprintln!("{} stays mounted: {why}", self.mounted.display());
            // Its folder stays too: nothing on the disk is for this test to remove.
            self.dir.take().map(tempfile::TempDir::keep);
        }
    }
}

fn is_mount_point(path: &Path) -> std::io::Result<bool> {
    let parent = path.parent().expect("it lies in a folder");
    Ok(path.metadata()?.dev() != parent.metadata()?.dev())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
