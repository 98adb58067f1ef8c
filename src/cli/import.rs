//! `import`: takes what `export` has written into a store, under new versions.

use super::exit::{CliError, Exit};
use super::progress::Progress;
use super::session::Session;
use crate::client::{ClientError, Namespaces};
use crate::exchange::{self, ImportFile, Imported, PartialFile};
use crate::model::{DEFAULT_NAMESPACE, Namespace};
use crate::proto::v1;
use indicatif::HumanCount;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is done with what.
#[derive(Debug)]
pub struct Import {
    /// The files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Where to; empty for where the keys were.
    pub namespace: String,
    /// Whether keys that are there stay as they are.
    pub keep: bool,
}

/// Whether a file is one that `export` has written; standard input must be one.
#[must_use]
pub fn is_export(file: &Path) -> bool {
    file == Path::new("-") || ImportFile::is_one(file)
}

/// Runs the command, file after file.
///
/// # Errors
/// A file that is not sound, before anything of it is written; what the server answers, and then it is
/// told how far the import came.
pub async fn run(session: &Session, import: Import) -> Result<Exit, CliError> {
    let database = session.database().await?;
    let mut told = Vec::new();
    for file in &import.files {
        let spooled = match file == Path::new("-") {
            true => Some(spool().await?),
            false => None,
        };
        let path = spooled.as_ref().map_or(&**file, PartialFile::path);
        let checked = check(session, path)?.ok_or_else(|| {
            let file = file.display();
            CliError::Usage(format!(
                "{file} is no export: a backup is taken by `restore`"
            ))
        })?;
        let name = target(session, &import.namespace, checked.namespace()).await?;
        let progress = Progress::bytes(session.terminal, None);
        let keys = database.keyspace(&name);
        let mut work = exchange::Import::new(&keys, &checked, import.keep, progress.share());
        let outcome = work.run(&checked).await;
        progress.clear();
        let done = work.done();
        if let Err(error) = outcome {
            session.terminal.warn(&format!(
                "{} of {} keys are in: run it again, and it goes on behind them",
                HumanCount(done.all()),
                HumanCount(checked.keys())
            ));
            return Err(error);
        }
        let note = format!("{}: {}", file.display(), words(&done));
        session.terminal.note(&note);
        told.push(value(&done, file, &name));
    }
    if session.terminal.is_json() {
        session.terminal.result("", &json!({ "imported": told }))?;
    }
    Ok(Exit::Ok)
}

/// Standard input as a file, which is gone when it is dropped: its end says whether it is whole.
async fn spool() -> Result<PartialFile, CliError> {
    let copied = tokio::task::spawn_blocking(|| {
        let place = std::env::temp_dir();
        let begun = PartialFile::create_passing();
        let (partial, mut file) =
            begun.map_err(|error| CliError::file("create a file in", &place, error))?;
        let copied = std::io::copy(&mut std::io::stdin().lock(), &mut file);
        copied.map_err(|error| CliError::stream("read", "standard input", error))?;
        Ok(partial)
    });
    copied.await.expect("copying does not panic")
}

/// Reads the whole file.
fn check(session: &Session, path: &Path) -> Result<Option<ImportFile>, CliError> {
    let progress = Progress::spinner(session.terminal, "checking the file");
    let checked = ImportFile::check(path)?;
    progress.clear();
    Ok(checked)
}

/// The namespace that keys go to, made as it was where they come from if it is not there.
async fn target(
    session: &Session,
    asked: &str,
    theirs: Option<&Namespace>,
) -> Result<String, CliError> {
    let name = match (asked, theirs) {
        ("", None) => DEFAULT_NAMESPACE,
        ("", Some(theirs)) => theirs.name.as_str(),
        (asked, _) => asked,
    };
    if name == DEFAULT_NAMESPACE {
        return Ok(String::new());
    }
    let mut namespaces = Namespaces::connect(&session.server).await?;
    match (namespaces.get(name).await, theirs) {
        (Err(ClientError::NotFound { .. }), Some(theirs)) => {
            namespaces.create(name, options_of(theirs)).await?;
            session.terminal.note(&format!("namespace {name} made"));
        }
        (there, _) => drop(there?),
    }
    Ok(name.to_owned())
}

fn options_of(theirs: &Namespace) -> v1::NamespaceOptions {
    let options = &theirs.options;
    let mode = match options.by_content {
        true => v1::KeyMode::Content,
        false => v1::KeyMode::User,
    };
    let ttl = options.default_ttl_ms.map(Duration::from_millis);
    v1::NamespaceOptions {
        key_mode: mode.into(),
        overwrite: Some(options.overwrite),
        default_ttl: ttl.and_then(|ttl| ttl.try_into().ok()),
        value_size_max: options.value_size_max.unwrap_or_default(),
        compress: Some(options.compress),
        dedup: Some(options.dedup),
    }
}

/// What became of the keys, for programs.
fn value(done: &Imported, file: &Path, namespace: &str) -> serde_json::Value {
    json!({
        "file": file.display().to_string(),
        "namespace": namespace,
        "keys": done.all(),
        "written": done.written,
        "unchanged": done.unchanged,
        "kept": done.kept,
        "expired": done.expired,
    })
}

/// The same in words.
fn words(done: &Imported) -> String {
    let mut words = format!("{} keys written", done.written);
    for (count, what) in [
        (done.unchanged, "were so already"),
        (done.kept, "kept"),
        (done.expired, "expired"),
    ] {
        if count > 0 {
            words += &format!(", {count} {what}");
        }
    }
    words
}
