//! Values that are each possible but contradict another.

use super::error::Fault;
use super::reader::Reader;
use super::value::Config;
use std::path::{Component, Path, PathBuf};

/// Checks every pair, and brings `backup.auto_dir` into its one form: relative to `backup.dir`, which
/// it sets if it is absolute and nobody else does.
pub(super) fn check(r: &mut Reader, config: &mut Config) {
    at_least(
        r,
        ("storage.segment_size", config.storage.segment_size),
        ("server.max_upload_size", config.server.max_upload_size),
        "a segment must hold the largest value",
    );
    at_least(
        r,
        (
            "admission.bytes_in_flight",
            config.admission.bytes_in_flight,
        ),
        ("server.max_upload_size", config.server.max_upload_size),
        "the largest value would never be let in",
    );
    at_least(
        r,
        (
            "server.connection_window",
            config.server.connection_window.into(),
        ),
        ("server.stream_window", config.server.stream_window.into()),
        "a stream could never fill its window",
    );
    auto_backup(r, config);
}

/// Reports `larger` when it is under `smaller`, unless one of them is wrong by itself.
fn at_least(r: &mut Reader, larger: (&str, u64), smaller: (&str, u64), why: &str) {
    let sound = r.is_sound(larger.0) && r.is_sound(smaller.0);
    if sound && larger.1 < smaller.1 {
        let other = r.describe(smaller.0);
        let remedy = format!("raise it, or lower {}", smaller.0);
        r.report(
            larger.0,
            Fault::new(format!("{why}: below {other}"), remedy),
        );
    }
}

fn auto_backup(r: &mut Reader, config: &mut Config) {
    const DIR: &str = "backup.auto_dir";
    const EVERY: &str = "backup.auto_every";
    if !(r.is_sound(DIR) && r.is_sound(EVERY) && r.is_sound("backup.dir")) {
        return;
    }
    match (&config.backup.auto_dir, &config.backup.auto_every) {
        (Some(_), None) => r.report(
            DIR,
            Fault::new(
                format!("no time for these backups: {EVERY} is empty"),
                format!("set {EVERY} (--auto-backup-every) to, say, \"@every 1h30m\""),
            ),
        ),
        (None, Some(_)) => r.report(
            EVERY,
            Fault::new(
                format!("no place for these backups: {DIR} is empty"),
                format!("set {DIR} (--auto-backup-dir)"),
            ),
        ),
        // zstdb knows this directory only. It is then the one that backups are confined to.
        (Some(dir), Some(_)) if dir.is_absolute() && r.is_empty("backup.dir") => {
            config.backup.dir.clone_from(dir);
            config.backup.auto_dir = Some(PathBuf::from("."));
        }
        (Some(dir), Some(_)) => match under_root(dir, &config.backup.dir) {
            Ok(dir) => config.backup.auto_dir = Some(dir),
            Err(fault) => r.report(DIR, fault),
        },
        (None, None) => {}
    }
}

/// `dir` as a path relative to `root`. This compares names only; links that lead out are refused
/// when the directory is opened.
fn under_root(dir: &Path, root: &Path) -> Result<PathBuf, Fault> {
    let remedy =
        "set backup.dir (--backup-dir) to a directory that contains it, or give a relative path";
    if dir.components().any(|it| it == Component::ParentDir) {
        return Err(Fault::new("a path with \"..\"", remedy));
    }
    if dir.is_relative() {
        return Ok(dir.to_owned());
    }
    let outside = || {
        let reason = format!("not inside the backup directory {}", root.display());
        Fault::new(reason, remedy)
    };
    let root = std::path::absolute(root).map_err(|_| outside())?;
    let inside = dir.strip_prefix(root).map_err(|_| outside())?;
    Ok(Path::new(".").join(inside))
}
