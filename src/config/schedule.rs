//! When scheduled backups run: cron expressions, and `@every` with a duration in Go's spelling.

use super::error::Fault;
use super::value::Schedule;
use std::str::FromStr;
use std::time::Duration;

const REMEDY: &str =
    "write \"@every 1h30m\", \"@daily\" or a cron expression such as \"0 3 * * *\"";

/// The shortest pause: a backup every few milliseconds can only be a typing error.
const PAUSE_MIN: Duration = Duration::from_secs(1);

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map_err(|fault| format!("{}; {}", fault.reason, fault.remedy))
    }
}

pub(super) fn parse(text: &str) -> Result<Schedule, Fault> {
    let text = text.trim();
    if let Some(pause) = text.strip_prefix("@every") {
        let pause = go_duration(pause.trim())
            .ok_or_else(|| Fault::new(format!("not a time: {:?}", pause.trim()), REMEDY))?;
        if pause < PAUSE_MIN {
            return Err(Fault::new("shorter than a second", REMEDY));
        }
        return Ok(Schedule::Every(pause));
    }
    // The one nickname of Go's cron library that croner does not know.
    let text = if text == "@midnight" { "@daily" } else { text };
    croner::Cron::from_str(text)
        .map(|cron| Schedule::Cron(Box::new(cron)))
        .map_err(|error| Fault::new(format!("not a schedule: {error}"), REMEDY))
}

/// A duration as Go's `time.ParseDuration` reads it, but not negative: `1h30m`, `1.5h`, `300ms`.
fn go_duration(mut text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(digits);
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(letters);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        text = rest;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_takes_durations_in_gos_spelling() {
        for (text, seconds) in [
            ("@every 1h30m", 5400),
            ("@every 1.5h", 5400),
            ("@every 90s", 90),
            ("@every 1m0.5s500ms", 61),
        ] {
            match text.parse() {
                Ok(Schedule::Every(pause)) => assert_eq!(pause.as_secs(), seconds, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn cron_expressions_and_their_nicknames_are_taken() {
        for text in [
            "0 3 * * *",
            "*/10 0 3 * * *",
            "@daily",
            "@midnight",
            "@hourly",
        ] {
            assert!(matches!(text.parse(), Ok(Schedule::Cron(_))), "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "@every",
            "@every 1",
            "@every 5 parsecs",
            "@every 1ms",
            "61 * * * *",
            "x",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
