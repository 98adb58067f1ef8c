//! `key  path` lists, as `b3sum` and `sha256sum` write them.
//!
//! A line is the key, two spaces and the path. When the path holds a backslash, a newline or a
//! carriage return, the line begins with a backslash and these stand as `\\`, `\n` and `\r`; so a
//! list of any paths has one line each. [`parse_line`] reads what [`format_line`] writes, and the
//! ` *` of checksum tools in binary mode.

use std::fmt;

/// Why a line is not one of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLine {
    /// There is no key, or no path after it.
    Shape,
    /// A backslash is followed by something unknown.
    Escape,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "expected a key, two spaces and a path",
            Self::Escape => r"expected \\, \n or \r after the backslash of an escaped line",
        })
    }
}

/// A line without its newline.
#[must_use]
pub fn format_line(key: &[u8], path: &[u8]) -> Vec<u8> {
    escaped(&[key, b"  ", path].concat())
}

/// Text as one line: unchanged, or with the escapes and the backslash in front that says so.
#[must_use]
pub fn escaped(text: &[u8]) -> Vec<u8> {
    if !text
        .iter()
        .any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'))
    {
        return text.to_vec();
    }
    let mut line = vec![b'\\'];
    for &byte in text {
        match byte {
            b'\\' => line.extend(br"\\"),
            b'\n' => line.extend(br"\n"),
            b'\r' => line.extend(br"\r"),
            _ => line.push(byte),
        }
    }
    line
}

/// The key and the path of a line that stands without its newline.
///
/// # Errors
/// What is wrong with it.
pub fn parse_line(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), BadLine> {
    // A raw carriage return at the end is no part of a path: it would have been escaped.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = match line.strip_prefix(b"\\") {
        Some(escaped) => unescaped(escaped)?,
        None => line.to_vec(),
    };
    let gap = text
        .windows(2)
        .position(|pair| pair == b"  " || pair == b" *")
        .ok_or(BadLine::Shape)?;
    let (key, path) = (&text[..gap], &text[gap + 2..]);
    if key.is_empty() || path.is_empty() {
        return Err(BadLine::Shape);
    }
    Ok((key.to_vec(), path.to_vec()))
}

fn unescaped(text: &[u8]) -> Result<Vec<u8>, BadLine> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => return Err(BadLine::Escape),
            },
            _ => byte,
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &[u8] = b"1c77b749088b9a817e95df08f055b370da25244ca96c469bd7f210b7c3ea9451";

    #[test]
    fn a_plain_line_is_what_b3sum_writes() {
        let line = format_line(KEY, b"a dir/b  c.txt");
        assert_eq!(line, [KEY, b"  a dir/b  c.txt"].concat());
    }

    #[test]
    fn a_line_of_sha256sum_in_binary_mode_is_read() {
        let line = [KEY, b" *file"].concat();
        assert_eq!(parse_line(&line), Ok((KEY.to_vec(), b"file".to_vec())));
    }

    #[test]
    fn a_line_with_windows_ending_is_read() {
        let line = [KEY, b"  file\r"].concat();
        assert_eq!(parse_line(&line), Ok((KEY.to_vec(), b"file".to_vec())));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in [&b""[..], b"key", b"key ", b"key  ", b"  path"] {
            assert_eq!(parse_line(bad), Err(BadLine::Shape), "{bad:?}");
        }
        for bad in [&br"\key  pa\th"[..], br"\key  path\"] {
            assert_eq!(parse_line(bad), Err(BadLine::Escape), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_path_survives_a_list_on_one_line(path in prop::collection::vec(any::<u8>(), 1..60)) {
            let line = format_line(KEY, &path);
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(parse_line(&line), Ok((KEY.to_vec(), path)));
        }
    }
}
