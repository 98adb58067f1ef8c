//! `backup`, `restore` and `import` on a running server, through its Admin call.

use super::exit::{CliError, Exit};
use super::import::{Import, is_export};
use super::progress::Progress;
use super::selection::NamespaceFlag;
use super::session::Session;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

const BACKUP: &str = "\
The file is PATH_[SINCE-MAX].zstdb.bak in the server's backup root (serve --backup-dir). Its
absolute path is printed when it is complete. The next increment is made with --since MAX.";

const RESTORE: &str = "\
On a running server (the default) the files lie in the server's backup root, and are merged:
what is newer there wins. With --data-dir no server is needed: a new data directory is built.
Give a full backup first, then its increments in the order they were made.";

const IMPORT: &str = "\
Takes what `shardkeep export` has written, from a file of this machine or from standard input (-).
The whole file is checked before the first key is written; a key that is so already is left alone, so
an import that was cut short is gone on with by running it again. Keys go to the namespace that they
were of, which is made if it is not there, or to --namespace.

Takes zstdb's own backup files, the full one first and then its increments. Keys and versions
are kept. On a running server (the default) the files lie in the server's backup root. With
--data-dir no server is needed: a new data directory is built.";

/// The password of administration calls.
#[derive(Debug, clap::Args)]
pub struct Password {
    /// The server's password
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "SHARDKEEP_ADMIN_PASSWORD",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    admin_password: Option<String>,
}

/// Writes a backup file on the server's machine.
#[derive(Debug, clap::Args)]
#[command(after_long_help = BACKUP)]
pub struct BackupArgs {
    /// Where, relative to the server's backup root, without the ending
    path: String,
    /// Only what changed after this version; 0 is everything
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    since: u64,
    #[command(flatten)]
    password: Password,
}

/// Restores backups.
#[derive(Debug, clap::Args)]
#[command(after_long_help = RESTORE)]
pub struct RestoreArgs {
    /// Backup files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Build this data directory; it must not be there, or be empty
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    password: Password,
}

/// Takes in an export, or data from zstdb's own backup files.
#[derive(Debug, clap::Args)]
#[command(after_long_help = IMPORT)]
pub struct ImportArgs {
    #[command(flatten)]
    restore: RestoreArgs,
    #[command(flatten)]
    namespace: NamespaceFlag,
    /// Of an export: keys that are there stay as they are
    #[arg(long)]
    keep: bool,
}

impl ImportArgs {
    /// What to do with files that are exports; `None` when none is.
    #[must_use]
    pub fn of_exports(&self) -> Option<Import> {
        let files = &self.restore.files;
        let are_exports = self.restore.data_dir.is_none() && files.iter().any(|it| is_export(it));
        are_exports.then(|| Import {
            files: files.clone(),
            namespace: self.namespace.namespace.clone(),
            keep: self.keep,
        })
    }
}

impl RestoreArgs {
    /// The data directory to build, for the offline way.
    #[must_use]
    pub fn offline(&self) -> Option<(PathBuf, Vec<PathBuf>)> {
        Some((self.data_dir.clone()?, self.files.clone()))
    }
}

impl From<ImportArgs> for RestoreArgs {
    fn from(args: ImportArgs) -> Self {
        args.restore
    }
}

/// Runs `backup`.
///
/// # Errors
/// The server's.
pub async fn backup(session: &Session, args: BackupArgs) -> Result<Exit, CliError> {
    let spinner = Progress::spinner(session.terminal, "writing the backup");
    let began = Instant::now();
    let argument = json!({ "path": args.path, "since": args.since.to_string() });
    let password = args.password.admin_password.as_deref();
    let answer = session.admin("backup", &argument, password).await;
    spinner.clear();
    let answer = answer?;
    let target = answer["target"].as_str().unwrap_or_default();
    let seconds = began.elapsed().as_secs_f64();
    session.terminal.result(
        target,
        &json!({ "target": target, "since": args.since, "seconds": seconds }),
    )?;
    session
        .terminal
        .note(&format!("complete after {seconds:.1} s"));
    Ok(Exit::Ok)
}

/// Runs `restore` and `import` on a running server, file after file.
///
/// # Errors
/// The server's. The files before the one that failed are merged.
pub async fn restore(session: &Session, args: RestoreArgs) -> Result<Exit, CliError> {
    let mut restored = Vec::<Value>::new();
    for file in &args.files {
        let shown = file.display().to_string();
        let Some(path) = file.to_str() else {
            let message = format!("{shown}: the path is not UTF-8, and the protocol needs it so");
            return Err(CliError::Usage(message));
        };
        let spinner = Progress::spinner(session.terminal, format!("restoring {shown}"));
        let began = Instant::now();
        let argument = json!({ "path": path });
        let password = args.password.admin_password.as_deref();
        let answer = session.admin("restore", &argument, password).await;
        spinner.clear();
        let answer = answer?;
        if answer["target"].as_str() != Some("ok") {
            let message = format!("{shown}: not restored: {answer}");
            return Err(CliError::Failed(message));
        }
        let seconds = began.elapsed().as_secs_f64();
        let note = format!("{shown}: restored after {seconds:.1} s");
        session.terminal.note(&note);
        restored.push(json!({ "file": shown, "seconds": seconds }));
    }
    if session.terminal.is_json() {
        let value = json!({ "restored": restored });
        session.terminal.result("", &value)?;
    }
    Ok(Exit::Ok)
}
