//! A log file that makes place for a new one when it has reached its size.
//!
//! `shardkeep.log` is always the one being written; `shardkeep.log.1` is the one before it, up to
//! `shardkeep.log.9`. Lines are never cut in two: a file is rotated before a write, not within one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Files that are kept, the one being written included.
const FILES_MAX: usize = 10;

/// See the module's text. One write is one or more whole lines.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    size_max: u64,
}

impl RotatingFile {
    /// Goes on with `shardkeep.log` in `dir`; makes both where they are missing.
    pub(super) fn open(dir: &Path, size_max: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join("shardkeep.log");
        let file = append_to(&path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            size,
            size_max,
        })
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..FILES_MAX).rev() {
            let older = self.numbered(number);
            match fs::rename(self.numbered(number - 1), older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = append_to(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    /// The file that is `number` rotations old.
    fn numbered(&self, number: usize) -> PathBuf {
        match number {
            0 => self.path.clone(),
            number => self.path.with_extension(format!("log.{number}")),
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + lines.len() as u64 > self.size_max {
            // A file that grows past its size is better than lines that are lost.
            self.rotate().ok();
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|it| name(it).unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_makes_place_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::open(dir.path(), 10).unwrap();
        for line in ["aaaa\n", "bbbb\n", "cccc\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(names(dir.path()), ["shardkeep.log", "shardkeep.log.1"]);
        let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("shardkeep.log.1"), "aaaa\nbbbb\n");
        assert_eq!(read("shardkeep.log"), "cccc\n");
    }

    #[test]
    fn the_newest_ten_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::open(dir.path(), 1).unwrap();
        for number in 0..25 {
            log.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(names(dir.path()).len(), FILES_MAX);
        let oldest = fs::read_to_string(dir.path().join("shardkeep.log.9")).unwrap();
        assert_eq!(oldest, "15\n");
    }

    #[test]
    fn a_restart_goes_on_where_the_file_ends() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut log = RotatingFile::open(dir.path(), 100).unwrap();
            log.write_all(b"line\n").unwrap();
        }
        let text = fs::read_to_string(dir.path().join("shardkeep.log")).unwrap();
        assert_eq!(text, "line\nline\n");
    }

    #[test]
    fn a_line_larger_than_a_file_is_kept_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::open(dir.path(), 4).unwrap();
        log.write_all(b"much longer\n").unwrap();
        let text = fs::read_to_string(dir.path().join("shardkeep.log")).unwrap();
        assert_eq!(text, "much longer\n");
    }
}
