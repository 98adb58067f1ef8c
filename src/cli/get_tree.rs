//! `get -r`: many values into a folder, several in flight.
//!
//! A value's size is asked for before the value, so that the bytes in memory stay bounded whatever
//! the server holds.

use super::budget::{Budget, LARGE_IN_MEMORY};
use super::confine::confined;
use super::download::{Check, Downloader};
use super::exit::{CliError, Exit};
use super::interrupt::Interrupt;
use super::list_file::parse_line;
use super::progress::Progress;
use super::session::Session;
use super::target::Target;
use super::terminal::Terminal;
use super::upload_large::is_large;
use crate::client::{Client, ClientError};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const ITEMS_AHEAD: usize = 1024;

/// Which values.
#[derive(Debug)]
pub enum Wanted {
    /// Those of a list file; `-` is standard input.
    List(PathBuf),
    /// Those whose keys begin with this.
    Prefix(String),
}

/// What to read, and where to.
#[derive(Debug)]
pub struct GetTree {
    /// Which values.
    pub wanted: Wanted,
    /// The folder.
    pub dir: PathBuf,
    /// Requests in flight.
    pub jobs: u16,
    /// What values are verified by.
    pub check: Check,
}

/// One file to make.
struct Item {
    key: Vec<u8>,
    path: PathBuf,
}

type Items = mpsc::Receiver<Result<Item, CliError>>;

/// The numbers of one run.
#[derive(Debug, Default, Serialize)]
struct GetSummary {
    files: u64,
    bytes: u64,
    failed_files: u64,
    missing_files: u64,
    damaged_files: u64,
    elapsed_ms: u64,
    interrupted: bool,
}

impl GetTree {
    /// Runs it.
    ///
    /// # Errors
    /// What ended it early.
    pub async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let client = session.connect_bulk().await?;
        let fetcher = Arc::new(Fetcher {
            downloader: Downloader::new(client.clone(), self.check),
            target: Target::open(&self.dir)?,
            budget: Budget::new(self.jobs),
            progress: Progress::bytes(session.terminal, None),
        });
        let items = items(self.wanted, client)?;
        let mut report = Report {
            terminal: session.terminal,
            progress: fetcher.progress.share(),
            summary: GetSummary::default(),
            end: None,
            began: Instant::now(),
        };
        report.fetch_all(&fetcher, items, &session.interrupt).await;
        report.summary.interrupted = session.interrupt.is_set();
        report.end()
    }
}

/// Where the list comes from.
fn items(wanted: Wanted, client: Client) -> Result<Items, CliError> {
    let (found, items) = mpsc::channel(ITEMS_AHEAD);
    match wanted {
        Wanted::List(path) => {
            let list: Box<dyn io::Read + Send> = match path == Path::new("-") {
                true => Box::new(io::stdin()),
                false => Box::new(
                    File::open(&path).map_err(|error| CliError::file("read", &path, error))?,
                ),
            };
            tokio::task::spawn_blocking(move || read_list(&path, BufReader::new(list), &found));
        }
        Wanted::Prefix(prefix) => {
            tokio::spawn(async move {
                let listed = list_keys(&client, &prefix, &found).await;
                if let Err(error) = listed {
                    // Nobody listens any more when this fails.
                    let _ = found.send(Err(error)).await;
                }
            });
        }
    }
    Ok(items)
}

fn read_list(path: &Path, list: impl BufRead, found: &mpsc::Sender<Result<Item, CliError>>) {
    for (index, line) in list.split(b'\n').enumerate() {
        let item = match line {
            Ok(line) if line.is_empty() => continue,
            Ok(line) => parse_line(&line)
                .map_err(|error| error.to_string())
                .and_then(|(key, path)| Ok((key, confined(&path).map_err(|why| why.to_string())?)))
                .map(|(key, path)| Item { key, path })
                .map_err(|why| {
                    CliError::Failed(format!("{}:{}: {why}", path.display(), index + 1))
                }),
            Err(error) => Err(CliError::file("read", path, error)),
        };
        if found.blocking_send(item).is_err() {
            return;
        }
    }
}

async fn list_keys(
    client: &Client,
    prefix: &str,
    found: &mpsc::Sender<Result<Item, CliError>>,
) -> Result<(), CliError> {
    for page in 1.. {
        let keys = client.list(prefix, page).await?;
        if keys.is_empty() {
            return Ok(());
        }
        for listed in keys {
            let item = path_of_key(&listed.key, prefix)
                .map(|path| Item {
                    key: listed.key.clone().into_bytes(),
                    path,
                })
                .map_err(|why| CliError::Failed(format!("{}: {why}", listed.key)));
            if found.send(item).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What follows the prefix; of the prefix itself, its last name.
fn path_of_key(key: &str, prefix: &str) -> Result<PathBuf, super::confine::Unconfined> {
    let below = key.strip_prefix(prefix).unwrap_or(key);
    let below = match prefix.is_empty() || prefix.ends_with('/') {
        true => below,
        // `photos` and `photos/` mean the same folder.
        false => below.strip_prefix('/').unwrap_or(below),
    };
    match below {
        "" => confined(key.rsplit('/').next().unwrap_or(key).as_bytes()),
        below => confined(below.as_bytes()),
    }
}

struct Fetcher {
    downloader: Downloader,
    target: Target,
    budget: Budget,
    progress: Progress,
}

impl Fetcher {
    async fn fetch(self: Arc<Self>, item: Item) -> Result<u64, (Item, CliError)> {
        match Arc::clone(&self).fetch_checked(&item).await {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err((item, error)),
        }
    }

    async fn fetch_checked(self: Arc<Self>, item: &Item) -> Result<u64, CliError> {
        let missing = || ClientError::NotFound {
            key: item.key.escape_ascii().to_string(),
        };
        let size = self.downloader.size(&item.key).await?;
        let size = size.ok_or_else(missing)?;
        if is_large(size) {
            let _memory = self.budget.memory(LARGE_IN_MEMORY).await;
            let file = self.target.begin(&item.path)?;
            let bytes = self.downloader.fetch_into(&item.key, file).await?.len;
            self.progress.advance(bytes);
            return Ok(bytes);
        }
        let memory = self.budget.memory(size).await;
        let found = self.downloader.fetch(&item.key).await?;
        let (fetcher, path) = (Arc::clone(&self), item.path.clone());
        let write = tokio::task::spawn_blocking(move || {
            let bytes = found.data.len() as u64;
            fetcher.target.write(&path, &found.data).map(|()| bytes)
        });
        let bytes = write.await.expect("writing does not panic")?;
        self.progress.advance(bytes);
        drop(memory);
        Ok(bytes)
    }
}

struct Report {
    terminal: Terminal,
    progress: Progress,
    summary: GetSummary,
    end: Option<CliError>,
    began: Instant,
}

impl Report {
    async fn fetch_all(&mut self, fetcher: &Arc<Fetcher>, mut items: Items, interrupt: &Interrupt) {
        let mut running = JoinSet::new();
        while self.end.is_none() && !interrupt.is_set() {
            tokio::select! {
                biased;
                () = interrupt.wait() => break,
                Some(done) = running.join_next() => {
                    self.take(done.expect("fetching does not panic"));
                }
                next = async { (fetcher.budget.job().await, items.recv().await) } => {
                    let (job, Some(item)) = next else { break };
                    match item {
                        Ok(item) => {
                            let fetch = Arc::clone(fetcher).fetch(item);
                            running.spawn(async move {
                                let done = fetch.await;
                                drop(job);
                                done
                            });
                        }
                        Err(error) => self.failed(None, error),
                    }
                }
            }
        }
        drop(items);
        while let Some(done) = running.join_next().await {
            self.take(done.expect("fetching does not panic"));
        }
    }

    fn take(&mut self, done: Result<u64, (Item, CliError)>) {
        match done {
            Ok(bytes) => {
                self.summary.files += 1;
                self.summary.bytes += bytes;
                let files = HumanCount(self.summary.files);
                self.progress.message(format!("{files} files"));
            }
            Err((item, error)) => self.failed(Some(&item), error),
        }
    }

    fn failed(&mut self, item: Option<&Item>, error: CliError) {
        self.summary.failed_files += 1;
        match error.exit() {
            Exit::NotFound => self.summary.missing_files += 1,
            Exit::Damaged => self.summary.damaged_files += 1,
            _ => {}
        }
        if error.is_final() {
            self.end.get_or_insert(error);
            return;
        }
        let message = match item {
            Some(item) => format!("{}: {error}", item.path.display()),
            None => error.to_string(),
        };
        self.progress.suspend(|| self.terminal.warn(&message));
    }

    fn end(mut self) -> Result<Exit, CliError> {
        self.progress.clear();
        let elapsed = self.began.elapsed();
        self.summary.elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.terminal.note(&self.summary.text(elapsed));
        if let Some(error) = self.end {
            return Err(error);
        }
        if self.terminal.is_json() {
            let value = json!({ "summary": self.summary });
            self.terminal.result("", &value)?;
        }
        Ok(self.summary.exit())
    }
}

impl GetSummary {
    /// The worst of what happened; when only missing values failed, that they were not found.
    fn exit(&self) -> Exit {
        match self {
            Self {
                interrupted: true, ..
            } => Exit::Interrupted,
            Self {
                damaged_files: 1.., ..
            } => Exit::Damaged,
            Self {
                failed_files: 0, ..
            } => Exit::Ok,
            summary if summary.failed_files == summary.missing_files => Exit::NotFound,
            _ => Exit::Failure,
        }
    }

    fn text(&self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let speed = self.bytes.saturating_mul(1000) / self.elapsed_ms.max(1);
        let mut text = format!(
            "{} files, {} in {seconds:.1} s ({}/s)",
            HumanCount(self.files),
            HumanBytes(self.bytes),
            HumanBytes(speed)
        );
        for (count, what) in [
            (self.failed_files, "failed"),
            (self.missing_files, "of them not found"),
            (self.damaged_files, "of them damaged"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {} {what}", HumanCount(count)));
            }
        }
        if self.interrupted {
            text.push_str(", interrupted");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_key_is_what_follows_the_prefix() {
        for (key, prefix, path) in [
            ("photos/2024/a.jpg", "photos/", Some("2024/a.jpg")),
            ("photos/2024/a.jpg", "photos", Some("2024/a.jpg")),
            ("photos/a.jpg", "", Some("photos/a.jpg")),
            ("photos/a.jpg", "photos/a.jpg", Some("a.jpg")),
            ("/etc/passwd", "", None),
            ("photos//etc/passwd", "photos/", None),
            ("photos/../x", "photos/", None),
        ] {
            let found = path_of_key(key, prefix).ok();
            assert_eq!(found.as_deref(), path.map(Path::new), "{key} {prefix}");
        }
    }
}
