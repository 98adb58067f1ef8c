//! Which paths a request may name: pure rules over text. What the file system adds, links and
//! devices, is the root's to refuse.

use std::path::{Component, Path, PathBuf};

/// A path below the backup root: plain names only, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootedPath {
    folders: Vec<String>,
    name: String,
}

impl RootedPath {
    /// Reads a path as a request gives it: relative, or absolute below one of the root's spellings.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn parse(path: &str, roots: &[&Path]) -> Result<Self, &'static str> {
        if path.is_empty() {
            return Err("it is empty");
        }
        if path.contains('\0') {
            return Err("it holds a NUL");
        }
        if path.chars().any(char::is_control) {
            return Err("it holds control characters");
        }
        let relative = match path.strip_prefix('/') {
            None => path.to_owned(),
            Some(_) => below_a_root(path, roots)?,
        };
        let mut folders = Vec::new();
        for component in relative.split('/') {
            match component {
                "" => return Err("it has an empty component, or ends with `/`"),
                "." => {}
                ".." => return Err("it climbs with `..`"),
                _ if component.len() > NAME_SIZE_MAX => return Err("a component is too long"),
                _ => folders.push(component.to_owned()),
            }
        }
        if relative.ends_with("/.") {
            return Err("it names a folder");
        }
        let name = folders.pop().ok_or("it names the root itself")?;
        Ok(Self { folders, name })
    }

    /// The last component.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that holds it, relative to the root; empty for the root itself.
    pub fn folder(&self) -> PathBuf {
        self.folders.iter().collect()
    }

    /// The whole path, relative to the root.
    pub fn relative(&self) -> PathBuf {
        self.folder().join(&self.name)
    }

    /// Every folder on the way from the root, the root first.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        (0..=self.folders.len()).map(|depth| self.folders[..depth].iter().collect())
    }
}

/// The longest name that file systems take.
pub(super) const NAME_SIZE_MAX: usize = 255;

/// The rest of an absolute path below a root. What is left is checked like a relative path, so
/// only the prefix is compared here, component by component.
fn below_a_root(path: &str, roots: &[&Path]) -> Result<String, &'static str> {
    if path.split('/').any(|component| component == "..") {
        return Err("it climbs with `..`");
    }
    let normal: Vec<&str> = path[1..].split('/').filter(|name| *name != ".").collect();
    for root in roots {
        let names: Option<Vec<&str>> = root
            .components()
            .filter(|component| *component != Component::RootDir)
            .map(|component| component.as_os_str().to_str())
            .collect();
        if let Some(names) = names
            && let Some(rest) = normal.strip_prefix(names.as_slice())
        {
            // A trailing `.` was dropped above and would turn a folder into a file.
            return match rest {
                [] => Err("it names the root itself"),
                _ if path.ends_with("/.") => Err("it names a folder"),
                _ => Ok(rest.join("/")),
            };
        }
    }
    Err("it is absolute and outside of the backup root")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<PathBuf, &'static str> {
        let roots = [Path::new("/var/backup"), Path::new("/mnt/b")];
        RootedPath::parse(path, &roots).map(|rooted| rooted.relative())
    }

    #[test]
    fn relative_and_absolute_paths_below_the_root_are_taken() {
        for (path, relative) in [
            ("a", "a"),
            ("./a", "a"),
            ("a/./b", "a/b"),
            ("a/b c/d", "a/b c/d"),
            ("...", "..."),
            ("/var/backup/a", "a"),
            ("/var/./backup/./x/a", "x/a"),
            ("/mnt/b/a", "a"),
        ] {
            assert_eq!(parse(path), Ok(PathBuf::from(relative)), "{path}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for path in [
            "",
            "/",
            "//",
            ".",
            "./",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "a//b",
            "a/",
            "a/.",
            "a\0",
            "a\nb",
            "/etc/passwd",
            "/var/backup",
            "/var/backup/",
            "/var/backup/.",
            "/var/backups/a",
            "/var/backup/../x",
            "//var/backup/a",
            "/var//backup/a",
            "/var/backup//a",
            "/var/backup/a/.",
            "/var/backup/a/",
            "/../var/backup/a",
        ] {
            assert!(parse(path).is_err(), "{path:?}");
        }
    }
}
