//! Walks what `put -r` was given, in the order of names, so that two runs list the same.
//!
//! Symbolic links are not followed and special files not read: they are told and left out.

use super::confine::slashed;
use super::exit::CliError;
use std::collections::HashSet;
use std::fs::FileType;
use std::path::{Component, Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// One folder or file of the command line.
#[derive(Debug, Clone)]
pub struct Source {
    root: PathBuf,
    /// What stands before the paths below `root`: nothing for a single source.
    under: PathBuf,
}

/// A file to store.
#[derive(Debug, Clone)]
pub struct FoundFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path relative to the given folder, with forward slashes.
    pub name: Vec<u8>,
    /// Its size when it was found.
    pub len: u64,
}

/// One thing that was met.
#[derive(Debug)]
pub enum Walked {
    /// A file.
    File(FoundFile),
    /// A symbolic link, which is not followed.
    Link,
    /// A socket, pipe or device.
    Special(PathBuf),
    /// Something that could not be looked at.
    Failed(CliError),
}

/// The sources of a command line. The paths in a list are relative to the given folder; of several
/// folders, each path begins with the folder's own name.
///
/// # Errors
/// Two of several sources have the same name, or one has none.
pub fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, CliError> {
    if let [root] = paths {
        let (root, under) = (root.clone(), PathBuf::new());
        return Ok(vec![Source { root, under }]);
    }
    named(paths, own_name)
}

/// Single files: their paths in a list are as they were given.
///
/// # Errors
/// One is a folder or standard input, or two have the same path.
pub fn files(paths: &[PathBuf]) -> Result<Vec<Source>, CliError> {
    if paths.iter().any(|path| path == Path::new("-")) {
        let message = "standard input (-) is put alone, not beside files";
        return Err(CliError::Usage(message.to_owned()));
    }
    if let Some(folder) = paths.iter().find(|path| path.is_dir()) {
        let message = format!("{} is a folder: add -r", folder.display());
        return Err(CliError::Usage(message));
    }
    named(paths, given_name)
}

fn named(
    paths: &[PathBuf],
    name: fn(&Path) -> Result<PathBuf, CliError>,
) -> Result<Vec<Source>, CliError> {
    let mut names = HashSet::new();
    let mut sources = Vec::with_capacity(paths.len());
    for root in paths {
        let under = name(root)?;
        if !names.insert(under.clone()) {
            return Err(CliError::Usage(format!(
                "two of what is given are called {}, and would get the same paths: put one after \
                 the other",
                under.display()
            )));
        }
        let root = root.clone();
        sources.push(Source { root, under });
    }
    Ok(sources)
}

/// The path as it was given, if it is below the current folder; the own name of any other.
///
/// # Errors
/// It has none.
pub fn given_name(path: &Path) -> Result<PathBuf, CliError> {
    let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    match path.file_name().is_some() && path.components().all(is_plain) {
        true => Ok(path.to_owned()),
        false => own_name(path),
    }
}

/// `.` and `..` have a name too: that of the folder they lead to.
fn own_name(root: &Path) -> Result<PathBuf, CliError> {
    let named = match root.file_name() {
        Some(name) => Some(name.to_owned()),
        None => root
            .canonicalize()
            .map_err(|error| CliError::file("read", root, error))?
            .file_name()
            .map(ToOwned::to_owned),
    };
    let nameless = || CliError::Usage(format!("{} has no name: put it alone", root.display()));
    named.map(PathBuf::from).ok_or_else(nameless)
}

impl Source {
    /// Everything in it but folders.
    pub fn walk(&self) -> impl Iterator<Item = Walked> + '_ {
        WalkDir::new(&self.root)
            .sort_by_file_name()
            .into_iter()
            .filter_map(|entry| match entry {
                Ok(entry) => match kind(&entry) {
                    kind if kind.is_dir() => None,
                    kind if kind.is_file() => Some(self.file(entry)),
                    kind if kind.is_symlink() => Some(Walked::Link),
                    _ => Some(Walked::Special(entry.into_path())),
                },
                Err(error) => Some(Walked::Failed(walk_error(&self.root, error))),
            })
    }

    fn file(&self, entry: DirEntry) -> Walked {
        let path = entry.into_path();
        let len = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) => return Walked::Failed(CliError::file("read", &path, error)),
        };
        let below = match path.strip_prefix(&self.root) {
            Ok(below) if !below.as_os_str().is_empty() => below,
            // The source is this very file: its path is its name.
            _ if !self.under.as_os_str().is_empty() => Path::new(""),
            _ => path.file_name().map_or(path.as_path(), Path::new),
        };
        let name = slashed(&self.under.join(below));
        Walked::File(FoundFile { path, name, len })
    }
}

/// A link on the command line is followed, one found below it is not.
fn kind(entry: &DirEntry) -> FileType {
    match entry.depth() {
        0 => entry
            .path()
            .metadata()
            .map_or_else(|_| entry.file_type(), |metadata| metadata.file_type()),
        _ => entry.file_type(),
    }
}

/// Bytes of all files, as far as they can be seen; `stop` ends the count early.
#[must_use]
pub fn total_bytes(sources: &[Source], stop: impl Fn() -> bool) -> Option<u64> {
    let mut total = 0;
    for walked in sources.iter().flat_map(Source::walk) {
        if stop() {
            return None;
        }
        if let Walked::File(file) = walked {
            total += file.len;
        }
    }
    Some(total)
}

fn walk_error(root: &Path, error: walkdir::Error) -> CliError {
    let path = error.path().unwrap_or(root).to_owned();
    let source = error
        .into_io_error()
        .unwrap_or_else(|| std::io::Error::other("the folders form a circle"));
    CliError::file("read", &path, source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(paths: &[PathBuf]) -> Vec<String> {
        let sources = sources(paths).expect("sources");
        let walked = sources.iter().flat_map(Source::walk);
        walked
            .map(|walked| match walked {
                Walked::File(file) => String::from_utf8(file.name).expect("ASCII"),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_folder_is_walked_in_the_order_of_names_and_links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("b")).expect("folders");
        for name in ["z", "a", "b/2", "b/10"] {
            fs::write(root.join(name), name).expect("a file");
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("/", root.join("link")).expect("a link");

        let one = names(std::slice::from_ref(&root));
        assert_eq!(one, ["a", "b/10", "b/2", "Link", "z"]);
        let file = names(&[root.join("b/2")]);
        assert_eq!(file, ["2"]);
        let several = names(&[root.join("b"), root.join("a")]);
        assert_eq!(several, ["b/10", "b/2", "a"]);
    }

    #[test]
    fn two_folders_of_one_name_are_refused() {
        let paths = [PathBuf::from("x/photos"), PathBuf::from("y/photos")];
        assert!(matches!(sources(&paths), Err(CliError::Usage(_))));
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = sources(&[folder.path().join("none")]).expect("one source");
        let met: Vec<_> = source[0].walk().collect();
        assert!(matches!(met.as_slice(), [Walked::Failed(_)]));
    }
}
