//! Reads raw settings into types, and gathers what is wrong on the way.

use super::error::{Fault, Problem, shown};
use super::raw::RawConfig;
use super::units;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Reads keys of a [`RawConfig`]. A value that cannot be is reported, and the key's default stands
/// in for it so that the rest is checked too; it goes no further, because a reader with problems
/// yields no configuration.
pub(super) struct Reader<'a> {
    raw: &'a RawConfig,
    defaults: &'a RawConfig,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(raw: &'a RawConfig, defaults: &'a RawConfig) -> Self {
        Self {
            raw,
            defaults,
            problems: Vec::new(),
        }
    }

    /// What was wrong with what was read so far.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Whether nothing is wrong with a key so far.
    pub(super) fn is_sound(&self, key: &str) -> bool {
        self.problems.iter().all(|it| it.key != key)
    }

    /// Whether a setting is "", which stands for "none given".
    pub(super) fn is_empty(&self, key: &str) -> bool {
        self.raw.get(key).text.is_empty()
    }

    /// The value of a key with its origin, for messages about another key.
    pub(super) fn describe(&self, key: &str) -> String {
        let setting = self.raw.get(key);
        let value = shown(key, &setting.text);
        format!("{key} = {value:?} ({})", setting.origin)
    }

    pub(super) fn report(&mut self, key: &str, fault: Fault) {
        let setting = self.raw.get(key);
        self.problems.push(Problem {
            key: key.to_owned(),
            value: Some(shown(key, &setting.text)),
            origin: setting.origin.clone(),
            reason: fault.reason,
            remedy: fault.remedy,
        });
    }

    /// Reads a key with `parse`.
    pub(super) fn read<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> T {
        parse(&self.raw.get(key).text).unwrap_or_else(|fault| {
            self.report(key, fault);
            parse(&self.defaults.get(key).text).unwrap_or_else(|_| {
                unreachable!("the default of {key} is valid, which a test proves")
            })
        })
    }

    pub(super) fn number<T>(&mut self, key: &str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display,
    {
        self.read(key, |text| {
            let remedy = format!("give a number from {} to {}", range.start(), range.end());
            match text.trim().parse() {
                Ok(number) if range.contains(&number) => Ok(number),
                Ok(_) => Err(Fault::new("out of range", remedy)),
                Err(_) => Err(Fault::new("not such a number", remedy)),
            }
        })
    }

    /// A number in the range, or `auto`, which is `None`.
    pub(super) fn number_or_auto<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        self.read(key, |text| match text.trim() {
            "auto" => Ok(None),
            text => match text.parse() {
                Ok(number) if range.contains(&number) => Ok(Some(number)),
                _ => Err(Fault::new(
                    "neither \"auto\" nor a number in range",
                    format!(
                        "give \"auto\" or a number from {} to {}",
                        range.start(),
                        range.end()
                    ),
                )),
            },
        })
    }

    pub(super) fn size<T: TryFrom<u64>>(&mut self, key: &str, range: RangeInclusive<u64>) -> T {
        self.read(key, |text| size_in(units::size(text)?, &range, ""))
    }

    /// A size in the range, or 0, which is `None`.
    pub(super) fn size_or_none<T: TryFrom<u64>>(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        self.read(key, |text| match units::size(text)? {
            0 => Ok(None),
            bytes => size_in(bytes, &range, "0, or ").map(Some),
        })
    }

    pub(super) fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        self.read(key, |text| {
            let duration = units::duration(text)?;
            if range.contains(&duration) {
                return Ok(duration);
            }
            let [low, high] =
                [range.start(), range.end()].map(|it| humantime::format_duration(*it));
            Err(Fault::new(
                "out of range",
                format!("give a time from {low} to {high}"),
            ))
        })
    }

    pub(super) fn switch(&mut self, key: &str) -> bool {
        self.read(key, units::switch)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        self.read(key, |text| {
            let chosen = choices.iter().find(|(word, _)| *word == text);
            chosen.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<_> = choices
                    .iter()
                    .map(|(word, _)| format!("{word:?}"))
                    .collect();
                Fault::new("no such choice", format!("give {}", words.join(" or ")))
            })
        })
    }

    /// A text; `None` when it is empty.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.read(key, |text| {
            Ok(Some(text.to_owned()).filter(|it| !it.is_empty()))
        })
    }

    /// A path; `None` when it is empty.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.read(key, |text| {
            // What an environment variable that is not UTF-8 is read as: never a path that was meant.
            if text.contains(['\0', char::REPLACEMENT_CHARACTER]) {
                return Err(Fault::new("not a path in UTF-8", "rename the directory"));
            }
            Ok(Some(PathBuf::from(text)).filter(|_| !text.is_empty()))
        })
    }
}

fn size_in<T: TryFrom<u64>>(bytes: u64, range: &RangeInclusive<u64>, or: &str) -> Result<T, Fault> {
    let [low, high] = [range.start(), range.end()].map(|it| units::format_size(*it));
    let remedy = format!("give {or}a size from {low} to {high}");
    if !range.contains(&bytes) {
        return Err(Fault::new("out of range", remedy));
    }
    T::try_from(bytes).map_err(|_| Fault::new("too large for this machine", remedy))
}
