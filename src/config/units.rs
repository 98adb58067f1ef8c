//! Sizes, times and switches as people write them.

use super::error::Fault;
use std::time::Duration;

/// Units of sizes, the most usual spelling first. Powers of 1,024 end in `iB`, powers of 1,000 in `B`.
const UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PiB", 1 << 50),
];

/// Reads `16 MiB`, `16MiB`, `10 MB` or a bare number of bytes.
///
/// # Errors
/// A text that names the remedy: a fraction, an unknown unit, or more than 2^64 - 1 bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    size(text).map_err(|fault| format!("{}; {}", fault.reason, fault.remedy))
}

pub(super) fn size(text: &str) -> Result<u64, Fault> {
    const REMEDY: &str = "write a whole number with B, KiB, MiB or GiB, such as \"16 MiB\"";
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    if number.is_empty() {
        return Err(Fault::new("not a size", REMEDY));
    }
    let factor = UNITS
        .iter()
        .find(|(name, _)| unit.is_empty() || name.eq_ignore_ascii_case(unit))
        .map(|(_, factor)| *factor)
        .ok_or_else(|| Fault::new(format!("unknown unit of size {unit:?}"), REMEDY))?;
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| Fault::new("more bytes than 64 bits can count", REMEDY))
}

/// Writes a size with the largest unit of 1,024 that divides it: `16 MiB`, `1500 B`.
pub fn format_size(bytes: u64) -> String {
    let (unit, factor) = UNITS
        .iter()
        .filter(|(name, factor)| {
            (name.ends_with("iB") || *factor == 1) && bytes > 0 && bytes.is_multiple_of(*factor)
        })
        .max_by_key(|(_, factor)| *factor)
        .unwrap_or(&UNITS[0]);
    format!("{} {unit}", bytes / factor)
}

pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    const REMEDY: &str = "write a number with a unit, such as \"10s\" or \"1h 30m\"";
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text != "0" {
        return Err(Fault::new("a time without a unit", REMEDY));
    }
    humantime::parse_duration(text)
        .map_err(|error| Fault::new(format!("not a time: {error}"), REMEDY))
}

/// Reads a switch: `true`, `false`, and what else Go's flag package takes for them.
pub fn parse_switch(text: &str) -> Option<bool> {
    switch(text).ok()
}

/// Reads a switch in all of the spellings that Go's flag package takes, since zstdb is written in Go.
pub(super) fn switch(text: &str) -> Result<bool, Fault> {
    match text {
        "true" | "True" | "TRUE" | "t" | "T" | "1" => Ok(true),
        "false" | "False" | "FALSE" | "f" | "F" | "0" => Ok(false),
        _ => Err(Fault::new("not a switch", "write true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_and_without_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1500),
            ("16 MiB", 16 << 20),
            ("16mib", 16 << 20),
            (" 2 GB ", 2_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_size_that_is_none_is_refused_with_the_remedy() {
        for text in ["", "MiB", "1.5 MiB", "-1", "16 M", "17000000 TiB"] {
            let message = parse_size(text).expect_err(text);
            assert!(message.contains("\"16 MiB\""), "{text}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_written_size_reads_back(bytes: u64) {
            proptest::prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    }
}
