//! The end of a backup's name, `_[<since>-<max>].zstdb.bak`: written for ours, read for zstdb's.

use crate::model::Version;
use std::fmt;

/// What every backup's name ends with.
pub(super) const SUFFIX: &str = ".zstdb.bak";

/// The range of versions that a backup's name states.
///
/// zstdb's releases spell it in two ways, and the spelling tells what `max` is: before `-` stands
/// the counter as it was just before the backup began, before `_` the highest version inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedRange {
    /// Exclusive.
    pub since: Version,
    /// The version up to which the backup is complete.
    pub max: Version,
    /// Whether `max` is exactly the highest version in the file.
    pub exact: bool,
}

impl NamedRange {
    /// The range that a file name states, if it states one.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<Self> {
        let body = file_name.strip_suffix(SUFFIX)?.strip_suffix(']')?;
        let (_, range) = body.rsplit_once("_[")?;
        let split = range.find(['-', '_'])?;
        let (since, max) = (&range[..split], &range[split + 1..]);
        Some(Self {
            since: parse_version(since)?,
            max: parse_version(max)?,
            exact: range.as_bytes()[split] == b'_',
        })
    }
}

/// As an archive of ours ends.
impl fmt::Display for NamedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.exact { '_' } else { '-' };
        write!(f, "_[{}{separator}{}]{SUFFIX}", self.since, self.max)
    }
}

/// Digits only: `+5` and the empty string are numbers to some parsers.
fn parse_version(text: &str) -> Option<Version> {
    if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().map(Version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_range_are_read() {
        let range = NamedRange::parse("a_[x]_[24-27].zstdb.bak").expect("a range");
        assert_eq!((range.since, range.max), (Version(24), Version(27)));
        assert!(!range.exact);
        assert_eq!(range.to_string(), "_[24-27].zstdb.bak");
        let range = NamedRange::parse("_[0_24].zstdb.bak").expect("a range");
        assert_eq!((range.since, range.max), (Version(0), Version(24)));
        assert!(range.exact);
        assert_eq!(range.to_string(), "_[0_24].zstdb.bak");
    }

    #[test]
    fn other_names_state_no_range() {
        for name in [
            "",
            ".zstdb.bak",
            "a.zstdb.bak",
            "a_[1-2].bak",
            "a_[1-2]",
            "a_[-2].zstdb.bak",
            "a_[1-].zstdb.bak",
            "a_[1-2-3].zstdb.bak",
            "a_[+1-2].zstdb.bak",
            "a_[1-99999999999999999999].zstdb.bak",
            "a[1-2].zstdb.bak",
        ] {
            assert_eq!(NamedRange::parse(name), None, "{name}");
        }
    }
}
