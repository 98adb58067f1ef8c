//! What may become of the files of an index: all, some or one of them gone, empty, cut, zeroed,
//! with a bit flipped, or as they were before.

use crate::support::Random;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// What is done to an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// The folder is gone.
    Gone,
    /// The folder is empty.
    Emptied,
    /// Everything is as it was.
    Older,
    /// The journals are gone.
    NoJournals,
    /// The journals are as they were.
    OlderJournals,
    /// A tree is gone.
    NoTree,
    /// A tree is as it was.
    OlderTree,
    /// Something lies there that fjall does not take.
    Litter,
    /// Some files, each in its own way.
    Files,
}

impl Harm {
    pub const ALL: [Self; 9] = [
        Self::Gone,
        Self::Emptied,
        Self::Older,
        Self::NoJournals,
        Self::OlderJournals,
        Self::NoTree,
        Self::OlderTree,
        Self::Litter,
        Self::Files,
    ];

    pub fn draw(random: &mut Random) -> Self {
        // Files have the most ways.
        let number = random.within(0..14) as usize;
        Self::ALL.get(number).copied().unwrap_or(Self::Files)
    }

    /// Whether bytes inside of a file may be spoiled, as they are too where an older copy is to be
    /// taken and there is none.
    pub fn may_spoil(self) -> bool {
        match self {
            Self::Files | Self::Older | Self::OlderJournals | Self::OlderTree => true,
            Self::Gone | Self::Emptied | Self::NoJournals | Self::NoTree | Self::Litter => false,
        }
    }

    /// Does it. `older` is a copy of the same index, or of one that was here before it. What is not
    /// there any more, because a server runs, is left out.
    pub fn happen(self, index: &Path, older: Option<&Path>, random: &mut Random) {
        let _not_there = self.try_happen(index, older, random);
    }

    fn try_happen(self, index: &Path, older: Option<&Path>, random: &mut Random) -> io::Result<()> {
        match (self, older) {
            (Self::Gone, _) => fs::remove_dir_all(index),
            (Self::Emptied, _) => children(index).iter().try_for_each(remove),
            (Self::NoJournals, _) => journals(index).iter().try_for_each(fs::remove_file),
            (Self::NoTree, _) => fs::remove_dir_all(any_tree(index, random)?),
            (Self::Litter, _) => litter(index, random),
            (Self::Older, Some(older)) => {
                fs::remove_dir_all(index)?;
                copy(older, index)
            }
            (Self::OlderJournals, Some(older)) => {
                journals(index).iter().try_for_each(fs::remove_file)?;
                let copies = journals(older);
                copies.iter().try_for_each(|path| put(path, older, index))
            }
            (Self::OlderTree, Some(older)) => {
                let path = any_tree(older, random)?;
                let target = index.join(path.strip_prefix(older).unwrap());
                let _not_there = fs::remove_dir_all(&target);
                copy(&path, &target)
            }
            (Self::Files | Self::Older | Self::OlderJournals | Self::OlderTree, older) => {
                some_files(index, older, random)
            }
        }
    }
}

/// Whether the start after it must tell of it: something is gone that is always there.
pub fn must_be_told(index: &Path) -> bool {
    let trees = children(&index.join("keyspaces"));
    let is_whole = |tree: &PathBuf| tree.join("current").exists();
    !index.join("version").exists()
        || journals(index).is_empty()
        || trees.iter().filter(|tree| is_whole(tree)).count() < 2
}

/// Copies a folder as it is, or as it changes under the eyes of whoever copies it.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for path in files(from) {
        let _gone_meanwhile = put(&path, from, to);
    }
    Ok(())
}

fn put(path: &Path, from: &Path, to: &Path) -> io::Result<()> {
    let target = to.join(path.strip_prefix(from).unwrap());
    fs::create_dir_all(target.parent().unwrap())?;
    fs::copy(path, target).map(drop)
}

fn remove(path: &PathBuf) -> io::Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|it| Some(it.ok()?.path())).collect();
    paths.sort();
    paths
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter();
    let found = entries.filter_map(Result::ok);
    let files = found.filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

fn journals(index: &Path) -> Vec<PathBuf> {
    let mut paths = children(index);
    paths.retain(|path| path.extension().is_some_and(|it| it == "jnl"));
    paths
}

/// One of them; an error where there is none, as in an index that was harmed before.
fn any_of(paths: &[PathBuf], random: &mut Random) -> io::Result<PathBuf> {
    match paths.len() as u64 {
        0 => Err(io::ErrorKind::NotFound.into()),
        count => Ok(paths[random.within(0..count) as usize].clone()),
    }
}

fn any_tree(index: &Path, random: &mut Random) -> io::Result<PathBuf> {
    any_of(&children(&index.join("keyspaces")), random)
}

fn litter(index: &Path, random: &mut Random) -> io::Result<()> {
    match random.within(0..5) {
        0 => fs::write(index.join("old.jnl"), b"?"),
        1 => fs::create_dir(index.join("99.jnl")),
        2 => fs::create_dir(index.join("keyspaces/lost+found")),
        3 => fs::write(index.join("version"), b"?"),
        _ => {
            let tree = any_tree(index, random)?;
            fs::write(tree.join("tables/none"), b"?")
        }
    }
}

/// One to four files, or each with one chance in two.
fn some_files(index: &Path, older: Option<&Path>, random: &mut Random) -> io::Result<()> {
    let files = files(index);
    if files.is_empty() {
        return Ok(());
    }
    let mut chosen = BTreeSet::new();
    if random.percent(70) {
        for _ in 0..random.within(1..5) {
            chosen.insert(any_of(&files, random)?);
        }
    } else {
        chosen.extend(files.iter().filter(|_| random.percent(50)).cloned());
    }
    for path in chosen {
        let copy = older.map(|older| older.join(path.strip_prefix(index).unwrap()));
        spoil(&path, copy.filter(|copy| copy.exists()), random)?;
    }
    Ok(())
}

fn spoil(path: &Path, copy: Option<PathBuf>, random: &mut Random) -> io::Result<()> {
    if let Some(copy) = copy.filter(|_| random.percent(40)) {
        return fs::copy(copy, path).map(drop);
    }
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    // Journals are longer than what is in them.
    let found = file.metadata()?;
    let len = found.len().min(found.blocks() * 512).max(1);
    let at = random.within(0..len);
    match random.within(0..5) {
        0 => fs::remove_file(path),
        1 => file.set_len(0),
        2 => file.set_len(at),
        3 => {
            let count = (len - at).min(random.within(1..9000)) as usize;
            file.write_all_at(&vec![0; count], at)
        }
        _ => {
            let mut byte = [0];
            file.read_at(&mut byte, at)?;
            file.write_all_at(&[byte[0] ^ 1 << random.within(0..8)], at)
        }
    }
}
