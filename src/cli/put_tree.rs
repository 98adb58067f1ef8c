//! `put` of many files: several in flight, results in the order of the walk.
//!
//! A thread walks, a producer admits files and starts their uploads, and the command itself takes
//! the outcomes in order and prints them. Every queue between them is bounded, and so are the
//! requests and the bytes in flight. Ctrl-C, and any error that every further file would meet too,
//! stop the producer; what is in flight is finished and told.

use super::budget::{Budget, LARGE_IN_MEMORY};
use super::exit::{CliError, Exit};
use super::interrupt::Interrupt;
use super::list_file::format_line;
use super::progress::Progress;
use super::put_summary::PutSummary;
use super::session::Session;
use super::terminal::{JsonArray, Terminal, json_bytes, json_error};
use super::upload::{Loaded, Naming, Stored, Uploader};
use super::upload_large::is_large;
use super::walk::{self, FoundFile, Source, Walked};
use indicatif::HumanCount;
use serde_json::json;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Files found ahead of the uploads.
const WALK_AHEAD: usize = 1024;
/// Outcomes waiting behind a slower file before them.
const OUTCOMES_AHEAD: usize = 4096;

/// What to store.
#[derive(Debug)]
pub struct PutTree {
    /// Folders and files.
    pub sources: Vec<Source>,
    /// Requests in flight.
    pub jobs: u16,
    /// Whether empty files are left out.
    pub skip_empty: bool,
    /// Whether `key  path` lines are printed.
    pub lists: bool,
}

/// What became of one thing that the walk met.
enum Outcome {
    Upload(FoundFile, JoinHandle<Result<Stored, CliError>>),
    Failed(CliError),
    Link,
    Special(std::path::PathBuf),
    SkippedEmpty,
}

impl PutTree {
    /// Runs it.
    ///
    /// # Errors
    /// What ended it early. The summary is told in any case.
    pub async fn run(self, session: &Session, naming: Naming) -> Result<Exit, CliError> {
        let client = session.connect_bulk().await?;
        let before = client.stats().await.ok();
        let began = Instant::now();
        let progress = Progress::bytes(session.terminal, None);
        let halt = Interrupt::never();
        let uploader = Arc::new(Uploader::new(client.clone(), naming));
        let (queue, outcomes) = mpsc::channel(OUTCOMES_AHEAD);
        let producer = Producer {
            uploader,
            progress: progress.share(),
            halt: halt.clone(),
            budget: Budget::new(self.jobs),
            skip_empty: self.skip_empty,
            queue,
        };
        count_ahead(&self.sources, &progress, &halt);
        let walked = walk_ahead(self.sources);
        let interrupt = session.interrupt.clone();
        tokio::spawn(producer.run(walked, interrupt));

        let mut report = Report::begin(session.terminal, progress, self.lists)?;
        report.take(outcomes, &halt).await;
        halt.set();
        report.summary.interrupted = session.interrupt.is_set();
        let after = match report.end {
            Some(_) => None,
            None => client.stats().await.ok(),
        };
        report.summary.finish(began.elapsed(), before.zip(after));
        report.end()
    }
}

/// Walks in a thread of its own until nobody takes what it finds.
fn walk_ahead(sources: Vec<Source>) -> mpsc::Receiver<Walked> {
    let (found, walked) = mpsc::channel(WALK_AHEAD);
    tokio::task::spawn_blocking(move || {
        for thing in sources.iter().flat_map(Source::walk) {
            if found.blocking_send(thing).is_err() {
                return;
            }
        }
    });
    walked
}

/// Finds out the total for the bar, when somebody sees it.
fn count_ahead(sources: &[Source], progress: &Progress, halt: &Interrupt) {
    if !progress.is_visible() {
        return;
    }
    let (sources, progress, halt) = (sources.to_vec(), progress.share(), halt.clone());
    tokio::task::spawn_blocking(move || {
        if let Some(total) = walk::total_bytes(&sources, || halt.is_set()) {
            progress.set_total(total);
        }
    });
}

/// Admits what the walk finds, and starts its upload.
struct Producer {
    uploader: Arc<Uploader>,
    progress: Progress,
    halt: Interrupt,
    budget: Budget,
    skip_empty: bool,
    queue: mpsc::Sender<Outcome>,
}

impl Producer {
    async fn run(self, mut walked: mpsc::Receiver<Walked>, interrupt: Interrupt) {
        while let Some(Some(thing)) = self.unless_stopped(&interrupt, walked.recv()).await {
            // Not dropped once an upload has begun: its outcome is always told.
            let Some(outcome) = self.unless_stopped(&interrupt, self.begin(thing)).await else {
                return;
            };
            if self.queue.send(outcome).await.is_err() {
                return;
            }
        }
    }

    async fn unless_stopped<T>(
        &self,
        interrupt: &Interrupt,
        step: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            () = interrupt.wait() => None,
            () = self.halt.wait() => None,
            done = step => Some(done),
        }
    }

    async fn begin(&self, thing: Walked) -> Outcome {
        let file = match thing {
            Walked::File(file) if file.len == 0 && self.skip_empty => return Outcome::SkippedEmpty,
            Walked::File(file) => file,
            Walked::Link => return Outcome::Link,
            Walked::Special(path) => return Outcome::Special(path),
            Walked::Failed(error) => return Outcome::Failed(error),
        };
        let in_memory = match is_large(file.len) {
            true => LARGE_IN_MEMORY,
            false => file.len,
        };
        let place = self.budget.place(in_memory).await;
        let upload = upload(Arc::clone(&self.uploader), file.clone());
        let (progress, halt) = (self.progress.share(), self.halt.clone());
        let len = file.len;
        let task = async move {
            let outcome = upload.await;
            if outcome.as_ref().is_err_and(CliError::is_final) {
                halt.set();
            }
            progress.advance(len);
            // Given back last: nothing more begins after an end that all would meet.
            drop(place);
            outcome
        };
        Outcome::Upload(file, tokio::spawn(task))
    }
}

async fn upload(uploader: Arc<Uploader>, file: FoundFile) -> Result<Stored, CliError> {
    if is_large(file.len) {
        let unseen = Progress::hidden();
        return uploader.store_large(&file.name, &file.path, unseen).await;
    }
    uploader.check_size(file.len)?;
    let path = file.path;
    let read = tokio::task::spawn_blocking(move || Loaded::read_file(&path));
    let loaded = read.await.expect("reading does not panic")?;
    uploader.store(&file.name, loaded).await
}

/// What the user is told.
struct Report {
    terminal: Terminal,
    progress: Progress,
    /// `None` when no list is wanted.
    list: Option<JsonArray>,
    summary: PutSummary,
    /// What ended the run early.
    end: Option<CliError>,
    unlistable: u64,
}

impl Report {
    fn begin(terminal: Terminal, progress: Progress, lists: bool) -> Result<Self, CliError> {
        let list = JsonArray::begin(terminal, "files")?;
        Ok(Self {
            terminal,
            progress,
            list: Some(list).filter(|_| lists || terminal.is_json()),
            summary: PutSummary::default(),
            end: None,
            unlistable: 0,
        })
    }

    async fn take(&mut self, mut outcomes: mpsc::Receiver<Outcome>, halt: &Interrupt) {
        while let Some(outcome) = outcomes.recv().await {
            match outcome {
                Outcome::Upload(file, upload) => {
                    let stored = upload.await.expect("uploads do not panic");
                    let told = stored.and_then(|stored| self.stored(&file, &stored));
                    if let Err(error) = told {
                        self.failed(Some(&file), error);
                    }
                }
                Outcome::Failed(error) => self.failed(None, error),
                Outcome::Link => self.summary.skipped_links += 1,
                Outcome::SkippedEmpty => self.summary.skipped_empty += 1,
                Outcome::Special(path) => {
                    self.summary.skipped_special += 1;
                    let note = format!("skipped a special file: {}", path.display());
                    self.progress.suspend(|| self.terminal.note(&note));
                }
            }
            if self.end.is_some() {
                halt.set();
            }
            let files = HumanCount(self.summary.files);
            self.progress.message(format!("{files} files"));
        }
    }

    fn stored(&mut self, file: &FoundFile, stored: &Stored) -> Result<(), CliError> {
        self.summary.count(stored);
        if std::str::from_utf8(&stored.key).is_err() {
            self.unlistable += 1;
        }
        let Some(list) = &mut self.list else {
            return Ok(());
        };
        if matches!(self.end, Some(CliError::BrokenPipe)) {
            return Ok(());
        }
        let terminal = self.terminal;
        self.progress.suspend(|| {
            if !terminal.is_json() {
                return terminal.line(&format_line(&stored.key, &file.name));
            }
            list.push(&json!({
                "key": json_bytes(&stored.key),
                "path": json_bytes(&file.name),
                "bytes": stored.len,
            }))
        })
    }

    fn failed(&mut self, file: Option<&FoundFile>, error: CliError) {
        if !matches!(error, CliError::BrokenPipe) {
            self.summary.failed_files += 1;
        }
        if error.is_final() {
            // The first says it all; the others in flight met the same.
            self.end.get_or_insert(error);
            return;
        }
        let message = match (file, &error) {
            (Some(_), CliError::File { .. }) | (None, _) => error.to_string(),
            (Some(file), _) => format!("{}: {error}", file.path.display()),
        };
        self.progress.suspend(|| self.terminal.warn(&message));
    }

    fn end(self) -> Result<Exit, CliError> {
        self.progress.clear();
        if self.unlistable > 0 {
            self.terminal.note(&format!(
                "{} keys are not UTF-8: ls and get -r --prefix do not see them, get KEY does",
                self.unlistable
            ));
        }
        self.terminal.note(&self.summary.to_string());
        let exit = match &self.end {
            Some(error) => error.exit(),
            None if self.summary.interrupted => Exit::Interrupted,
            None if self.summary.failed_files > 0 => Exit::Failure,
            None => Exit::Ok,
        };
        if matches!(self.end, Some(CliError::BrokenPipe)) {
            return Ok(exit);
        }
        let mut rest = json!({ "summary": self.summary });
        if let Some(error) = &self.end {
            self.terminal.warn(&error.to_string());
            rest["error"] = json_error(error);
        }
        if let Some(list) = self.list {
            list.end(&rest)?;
        }
        Ok(exit)
    }
}
