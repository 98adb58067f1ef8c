//! Compares what a command prints with what the README shows of it.
//!
//! All must be as it is shown but what differs from run to run: times, rates, moments, ids of 32 hex
//! digits, and sizes on the lines of [`ON_DISK`], which follow the layout of files. `...` stands for
//! any lines. Where a block is of measured figures ([`Figures::Aside`]), no number is compared.

/// Words of the lines whose sizes are those of files on the disk.
const ON_DISK: [&str; 4] = ["log ", "index ", "on disk ", "(the store grew by "];

/// Whether numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figures {
    Exact,
    Aside,
}

impl Figures {
    /// What is compared of a line.
    fn told(self, line: &str) -> String {
        match self {
            Self::Exact => settled(line),
            Self::Aside => shape(line),
        }
    }
}

/// Compares lines; gives the ids that are shown and what they are here.
///
/// # Errors
/// What differs.
pub fn compare(
    shown: &[String],
    printed: &str,
    figures: Figures,
) -> Result<Vec<(String, String)>, String> {
    let mut ids = Vec::new();
    let mut lines = printed.lines();
    let mut may_skip = false;
    for shown in shown {
        if shown == "..." {
            may_skip = true;
            continue;
        }
        let expected = figures.told(shown);
        let found = lines.find(|line| !may_skip || figures.told(line) == expected);
        let found = found.ok_or_else(|| format!("no line {shown:?}"))?;
        if figures.told(found) != expected {
            return Err(format!("{found:?} is shown as {shown:?}"));
        }
        if is_id(shown) {
            ids.push((shown.clone(), found.to_owned()));
        }
        may_skip = false;
    }
    match lines.next().filter(|_| !may_skip) {
        Some(more) => Err(format!("{more:?} is not shown")),
        None => Ok(ids),
    }
}

/// A line without what differs from run to run.
fn settled(line: &str) -> String {
    let on_disk = ON_DISK.iter().any(|it| line.contains(it));
    let varies = |unit: &&str| match unit.trim_end_matches([',', ')']) {
        "us" | "ms" | "s" | "B/s" | "KiB/s" | "MiB/s" | "GiB/s" => true,
        "B" | "KiB" | "MiB" | "GiB" => on_disk,
        _ => false,
    };
    let mut told = Vec::new();
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let is_number = word.trim_start_matches('(').parse::<f64>().is_ok();
        let is_figure = is_number && words.next_if(varies).is_some();
        match is_figure || is_id(word) || is_moment(word) {
            true => told.push("~"),
            false => told.push(word),
        }
    }
    told.join(" ")
}

fn is_id(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|it| it.is_ascii_hexdigit())
}

/// As in 2026-11-29T09:20:00Z.
fn is_moment(word: &str) -> bool {
    let is_part = |it: u8| it.is_ascii_digit() || b"-:TZ".contains(&it);
    word.len() == 20 && word.ends_with('Z') && word.bytes().all(is_part)
}

/// What a line says, without its numbers, digests, units and spaces.
fn shape(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let of = |is: fn(char) -> bool| rest.find(|it| !is(it)).unwrap_or(rest.len());
        let number = of(|it| it.is_ascii_digit() || it == ',' || it == '.');
        let len = match first {
            '0'..='9' => {
                out.push('N');
                rest[..number].trim_end_matches([',', '.']).len()
            }
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    let unit = |word: &str| match word.trim_end_matches([',', ')']) {
        bare @ ("B" | "KiB" | "MiB" | "GiB" | "us" | "ms" | "s") => {
            format!("U{}", &word[bare.len()..])
        }
        _ => word.to_owned(),
    };
    let words: Vec<String> = out.split_whitespace().map(unit).collect();
    words.join(" ")
}

/// What a block shows and a run printed that is the same but for what may differ.
const SHOWN: &str = "\
3 files, 1.40 MiB in 0.0 s (60.81 MiB/s)
  sent                   2 files   857.22 KiB
 log              121.41 KiB
...
version 4, held until 2026-11-29T09:20:00Z
a22de2f2f4ae7e2a1f0f34b1b3a6fbd5
8dd67963c0706cbdc5339e81509173716d7eb42fe107a8d1e2c21d790b35eb1b  numbers";
const PRINTED: &str = "\
3 files, 1.40 MiB in 1.2 s (800 KiB/s)
  sent    2 files   857.22 KiB
 log              119 B
 anything
version 4, held until 2027-01-01T00:00:00Z
ffffffffffffffffffffffffffffffff
8dd67963c0706cbdc5339e81509173716d7eb42fe107a8d1e2c21d790b35eb1b  numbers
";

fn shown(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn only_what_differs_from_run_to_run_may_differ() {
    let ids = compare(&shown(SHOWN), PRINTED, Figures::Exact).unwrap();
    assert_eq!(ids.len(), 1);
    assert_eq!(ids[0].1, "f".repeat(32));
}

#[test]
fn a_changed_line_is_found() {
    let planted = [
        ("3 files", "4 files"),
        ("1.40 MiB in", "1.41 MiB in"),
        ("857.22 KiB", "857.23 KiB"),
        ("version 4", "version 5"),
        ("held until", "held till"),
        ("8dd67963", "9dd67963"),
        ("  numbers", "  numbers\nand more"),
        ("  sent                   2 files   857.22 KiB\n", ""),
    ];
    for (right, wrong) in planted {
        assert!(SHOWN.contains(right), "{right:?} is not there");
        let wrong = shown(&SHOWN.replacen(right, wrong, 1));
        let found = compare(&wrong, PRINTED, Figures::Exact);
        assert!(found.is_err(), "{right:?} was changed and nobody saw it");
    }
}

#[test]
fn of_measured_figures_the_words_are_compared() {
    let line = shown(" sync of the log         1.2 ms    767 us    12.8 ms");
    let here = " sync of the log   90 us   1,023 us    2 ms\n";
    assert!(compare(&line, here, Figures::Aside).is_ok());
    let other = here.replace("sync", "syncs");
    assert!(compare(&line, &other, Figures::Aside).is_err());
}
