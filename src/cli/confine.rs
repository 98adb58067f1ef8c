//! Paths that come from a list or from a server's keys: never out of the folder they are for.
//!
//! This is the check of the words. The files themselves are opened through a `cap_std` directory,
//! which also refuses symbolic links that lead out.

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// Why a path is not one inside a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unconfined {
    /// It names nothing.
    Empty,
    /// It begins at the root.
    Absolute,
    /// It climbs with `..`.
    Climbs,
    /// It holds a zero byte, or cannot be a path on this system.
    Impossible,
}

impl fmt::Display for Unconfined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the path names no file",
            Self::Absolute => "the path is absolute, and would leave the folder",
            Self::Climbs => "the path has .. in it, and could leave the folder",
            Self::Impossible => "the path cannot exist on this system",
        })
    }
}

/// The path as one below a folder, without `.` and doubled slashes.
///
/// # Errors
/// Why it is not.
pub fn confined(path: &[u8]) -> Result<PathBuf, Unconfined> {
    if path.contains(&0) {
        return Err(Unconfined::Impossible);
    }
    let path = path_of(path).ok_or(Unconfined::Impossible)?;
    let mut below = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err(Unconfined::Climbs),
            Component::RootDir | Component::Prefix(_) => return Err(Unconfined::Absolute),
        }
    }
    if below.as_os_str().is_empty() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Unconfined::Empty);
    }
    Ok(below)
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> Option<&Path> {
    use std::os::unix::ffi::OsStrExt as _;
    Some(Path::new(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> Option<&Path> {
    std::str::from_utf8(bytes).ok().map(Path::new)
}

/// A relative path as a key: its names with forward slashes between them.
#[must_use]
pub fn slashed(path: &Path) -> Vec<u8> {
    let names: Vec<&[u8]> = path
        .components()
        .filter(|component| !matches!(component, Component::CurDir))
        .map(|component| component.as_os_str().as_encoded_bytes())
        .collect();
    names.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_below_the_folder_is_cleaned() {
        for (given, path) in [("a/b.txt", "a/b.txt"), ("./a//b", "a/b"), ("..a", "..a")] {
            assert_eq!(confined(given.as_bytes()), Ok(PathBuf::from(path)));
        }
    }

    #[test]
    fn a_path_that_could_leave_the_folder_is_refused() {
        for (given, why) in [
            ("/etc/passwd", Unconfined::Absolute),
            ("..", Unconfined::Climbs),
            ("a/../../b", Unconfined::Climbs),
            ("a/..", Unconfined::Climbs),
            ("", Unconfined::Empty),
            (".", Unconfined::Empty),
            ("folder/", Unconfined::Empty),
            ("a\0b", Unconfined::Impossible),
        ] {
            assert_eq!(confined(given.as_bytes()), Err(why), "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_confined_stays_below_the_folder(path in prop::collection::vec(
            prop::sample::select(b"./ab\0\\".to_vec()), 0..12,
        )) {
            if let Ok(path) = confined(&path) {
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(confined(&slashed(&path)), Ok(path));
            }
        }
    }
}
