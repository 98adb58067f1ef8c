//! Where log lines go: standard error always, and files that rotate by size when a directory is set.
//!
//! The rest of the program says what happened through `tracing` and knows nothing of formats, files
//! or levels. This is the only room that names `tracing_subscriber` and `tracing_appender`. Lines for
//! files pass through a bounded queue to a thread of their own: when the disk of the log is slow,
//! lines are lost rather than the time of callers.

mod rotate;

use crate::config::{Log, LogFormat};
use rotate::RotatingFile;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// What can go wrong before there is a log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log directory or file cannot be made or opened.
    #[error("cannot log to {path}: {source}; check log.dir (--log-dir) and its permissions")]
    File {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is no level.
    #[error(
        "not a log level: {text:?}; give a level, or levels by target: \"info,shardkeep=debug\""
    )]
    Level {
        /// What was given.
        text: String,
    },
    /// A process has one log.
    #[error("the log of this process is open already")]
    Twice,
    /// The subscriber is gone, so nothing can be changed in it.
    #[error("the log is closed")]
    Closed,
}

/// Keeps the log open. Dropping it writes out what is on its way to the file.
#[derive(Debug)]
pub struct Guard {
    level: Level,
    _file: Option<WorkerGuard>,
}

impl Guard {
    /// The level, to be read and changed while the program runs.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level.clone()
    }
}

/// The level of an open log. Clones are the same level.
#[derive(Debug, Clone)]
pub struct Level {
    filter: reload::Handle<Targets, Registry>,
    text: Arc<Mutex<String>>,
}

impl Level {
    /// As it was given.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().clone()
    }

    /// Changes the level.
    ///
    /// # Errors
    /// [`TelemetryError::Level`] when `level` is none; the old one stays.
    pub fn set(&self, level: &str) -> Result<(), TelemetryError> {
        let targets = parse_level(level)?;
        let mut text = self.lock();
        let reloaded = self.filter.reload(targets);
        reloaded.map_err(|_| TelemetryError::Closed)?;
        level.clone_into(&mut text);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        // A text is whole even if who changed it panicked.
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the log of this process. Keep the guard until the end of `main`.
///
/// # Errors
/// When the file cannot be opened, the level is none, or a log is open already.
pub fn init(log: &Log) -> Result<Guard, TelemetryError> {
    // Both outputs share the text of a span's fields, and a file is no place for colours.
    let with_colors = io::stderr().is_terminal() && log.dir.is_none();
    let (subscriber, guard) = build(log, BoxMakeWriter::new(io::stderr), with_colors)?;
    let opened = subscriber.try_init();
    opened.map_err(|_| TelemetryError::Twice)?;
    Ok(guard)
}

/// The log without its installation, so that tests can have one each.
fn build(
    log: &Log,
    console: BoxMakeWriter,
    with_colors: bool,
) -> Result<(impl Subscriber + Send + Sync + use<>, Guard), TelemetryError> {
    let (filter, handle) = reload::Layer::new(parse_level(&log.level)?);
    let (file, worker) = open_file(log)?.unzip();
    let file = file.map(|file| lines(log.format, BoxMakeWriter::new(file), false));
    let console = lines(log.format, console, with_colors);
    let subscriber = Registry::default().with(filter).with(console).with(file);
    let guard = Guard {
        level: Level {
            filter: handle,
            text: Arc::new(Mutex::new(log.level.clone())),
        },
        _file: worker,
    };
    Ok((subscriber, guard))
}

fn lines<S>(
    format: LogFormat,
    writer: BoxMakeWriter,
    with_colors: bool,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match format {
        LogFormat::Text => fmt::layer()
            .with_ansi(with_colors)
            .with_writer(writer)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(writer)
            .boxed(),
    }
}

/// The index's own news (a table written, a journal rotated) is for those who ask for it by name.
const QUIET: [&str; 2] = ["fjall", "lsm_tree"];

fn parse_level(text: &str) -> Result<Targets, TelemetryError> {
    let no_level = || TelemetryError::Level {
        text: text.to_owned(),
    };
    // A word alone would be a target, and switch everything else off.
    let words = text.split(',').filter(|part| !part.contains('='));
    let mut levels = words.map(|word| word.trim().parse::<LevelFilter>());
    if levels.any(|level| level.is_err()) {
        return Err(no_level());
    }
    let targets: Targets = text.parse().map_err(|_| no_level())?;
    let unnamed = QUIET.into_iter().filter(|name| !text.contains(name));
    Ok(unnamed.fold(targets, |targets, name| {
        targets.with_target(name, LevelFilter::WARN)
    }))
}

fn open_file(log: &Log) -> Result<Option<(NonBlocking, WorkerGuard)>, TelemetryError> {
    let Some(dir) = &log.dir else {
        return Ok(None);
    };
    let file = RotatingFile::open(dir, log.max_size).map_err(|source| TelemetryError::File {
        path: dir.clone(),
        source,
    })?;
    Ok(Some(tracing_appender::non_blocking(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(format: LogFormat, dir: Option<PathBuf>) -> Log {
        Log {
            level: "info".to_owned(),
            format,
            dir,
            max_size: 1 << 20,
        }
    }

    /// What stands on the console after `work` ran with this log.
    fn console(log: &Log, work: impl FnOnce(&Guard)) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let writer = BoxMakeWriter::new(move || writer.clone());
        let (subscriber, guard) = build(log, writer, false).unwrap();
        tracing::subscriber::with_default(subscriber, || work(&guard));
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_below_the_level_are_left_out_until_it_is_changed() {
        let text = console(&log(LogFormat::Text, None), |guard| {
            tracing::debug!("first");
            tracing::info!("second");
            guard.level().set("debug").unwrap();
            tracing::debug!("third");
            for wrong in ["loud=very", "loud", "info,shardkeep"] {
                assert!(guard.level().set(wrong).is_err(), "{wrong}");
            }
            assert_eq!(guard.level().text(), "debug");
        });
        assert!(!text.contains("first"), "{text}");
        assert!(text.contains("second") && text.contains("third"), "{text}");
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_of_the_event() {
        let text = console(&log(LogFormat::Json, None), |_| {
            tracing::warn!(shard = 3, "poisoned");
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["shard"], 3);
        assert_eq!(line["message"], "poisoned");
        assert_eq!(line["level"], "WARN");
    }

    #[test]
    fn with_a_directory_the_lines_are_in_a_file_too() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("made/on/the/way");
        let log = log(LogFormat::Text, Some(dir.clone()));
        let (subscriber, guard) = build(&log, BoxMakeWriter::new(io::sink), false).unwrap();
        tracing::subscriber::with_default(subscriber, || tracing::info!("kept"));
        drop(guard);
        let text = std::fs::read_to_string(dir.join("shardkeep.log")).unwrap();
        assert!(text.contains("kept"), "{text}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let log = log(LogFormat::Text, Some("/dev/null/logs".into()));
        let error = build(&log, BoxMakeWriter::new(io::sink), false)
            .err()
            .unwrap();
        assert!(error.to_string().contains("/dev/null/logs"), "{error}");
    }
}
