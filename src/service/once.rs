//! Requests that are run once, however often they are sent.
//!
//! A client that loses an answer cannot know whether its request was run. It sends the same request
//! again under the same id, and gets the answer of the first. The first may still be running: then
//! the second waits for it. What failed and changed nothing is forgotten, so that sending it again
//! is another try; what may have changed something and is not known to stays unknown.
//!
//! The answers are kept in memory, so a server that starts anew has forgotten them and runs the
//! request again: clients that must not count twice over a restart put a condition on their writes,
//! and send those again only to the run of the server that may know them ([`Service::run_id`]).
//! To survive it, the id would have to stand in the record that the request makes, with a row that
//! leads from the id to the record's version, both for as long as answers are kept.

use super::Service;
use crate::model::{Clock, Error, ErrorKind, Result};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Answers that are kept, their bytes together, and for how long.
const ANSWERS_MAX: usize = 100_000;
const BYTES_MAX: usize = 32 << 20;
const KEPT_FOR: Duration = Duration::from_secs(600);
/// What an answer takes in memory beside its bytes, about.
const ENTRY_SIZE: usize = 256;

/// A request that names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name that the client gave it.
    pub id: Arc<str>,
    /// A fingerprint of all that it says, its method too.
    pub print: u64,
}

/// The answers of requests with a name.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    table: Arc<Mutex<Table>>,
    run: u64,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Arc<str>, Entry>,
    /// The names of finished requests, the oldest first, with the bytes that each takes.
    finished: VecDeque<(Instant, Arc<str>, usize)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    print: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It runs, and these wait for its answer too.
    Runs(Vec<oneshot::Sender<Result<Bytes>>>),
    Answered(Result<Bytes>),
}

/// What is to be done about a request.
#[derive(Debug)]
enum Begun {
    /// It is the first of its name: run it, and let this go with its answer.
    First(Running),
    /// It runs.
    Runs(oneshot::Receiver<Result<Bytes>>),
    Answered(Result<Bytes>),
}

/// A request that runs. Dropped without an answer, by a panic or the end of all, it has failed.
#[derive(Debug)]
struct Running {
    answers: Answers,
    id: Arc<str>,
    answer: Option<Result<Bytes>>,
}

impl Running {
    fn end(mut self, answer: Result<Bytes>) {
        self.answer = Some(answer);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let lost = || match std::thread::panicking() {
            true => Error::internal("TASK_FAILED", "a task failed: it panicked"),
            false => stops(),
        };
        let answer = self.answer.take().unwrap_or_else(|| Err(lost()));
        self.answers.end(&self.id, answer);
    }
}

impl Table {
    fn forget_old(&mut self, now: Instant) {
        while let Some((since, id, size)) = self.finished.front() {
            let is_full = self.finished.len() > ANSWERS_MAX || self.bytes > BYTES_MAX;
            if !is_full && now.duration_since(*since) < KEPT_FOR {
                return;
            }
            self.entries.remove(id);
            self.bytes -= size;
            self.finished.pop_front();
        }
    }

    fn keep(&mut self, id: Arc<str>, answer_size: usize) {
        let size = id.len() + answer_size + ENTRY_SIZE;
        self.bytes += size;
        self.finished.push_back((Instant::now(), id, size));
    }
}

impl Default for Answers {
    /// None yet, of a run that nobody has seen before.
    fn default() -> Self {
        // Where there are no random numbers, runs are told apart by when they began.
        let run = getrandom::u64().unwrap_or_else(|_| Clock::default().now().0);
        Self {
            table: Arc::default(),
            run: run.max(1),
        }
    }
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, Table> {
        let table = self.table.lock();
        table.expect("no code panics while it holds this lock")
    }

    /// Where the answer to a request comes from, or that the caller is the first and has to run it.
    fn begin(&self, named: &Named) -> Result<Begun> {
        let mut table = self.lock();
        table.forget_old(Instant::now());
        let Some(entry) = table.entries.get_mut(&named.id) else {
            let entry = Entry {
                print: named.print,
                state: State::Runs(Vec::new()),
            };
            table.entries.insert(named.id.clone(), entry);
            return Ok(Begun::First(Running {
                answers: self.clone(),
                id: named.id.clone(),
                answer: None,
            }));
        };
        if entry.print != named.print {
            let message = format!(
                "request_id {} is of another request: draw a new one for each request, and send it again only with the same",
                named.id
            );
            return Err(Error::invalid("REQUEST_ID_REUSED", message).at("request_id"));
        }
        match &mut entry.state {
            State::Answered(answer) => Ok(Begun::Answered(answer.clone())),
            State::Runs(waiting) => {
                let (sender, answer) = oneshot::channel();
                waiting.push(sender);
                Ok(Begun::Runs(answer))
            }
        }
    }

    /// Keeps an answer, or forgets a request that changed nothing; who waits for it is told.
    fn end(&self, id: &Arc<str>, answer: Result<Bytes>) {
        let mut table = self.lock();
        let kept_size = match &answer {
            Ok(bytes) => Some(bytes.len()),
            Err(error) => is_unknown(error).then_some(0),
        };
        let state = match kept_size {
            Some(size) => {
                table.keep(id.clone(), size);
                let entry = table.entries.get_mut(id);
                entry.map(|it| std::mem::replace(&mut it.state, State::Answered(answer.clone())))
            }
            None => table.entries.remove(id).map(|entry| entry.state),
        };
        drop(table);
        let Some(State::Runs(waiting)) = state else {
            return;
        };
        for sender in waiting {
            let _has_gone = sender.send(answer.clone());
        }
    }
}

/// Whether a request that failed so may have changed something.
fn is_unknown(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Timeout | ErrorKind::Internal => true,
        ErrorKind::Unavailable => error.reason() == "OUTCOME_UNKNOWN",
        _ => false,
    }
}

/// That the runtime went before the request was done.
fn stops() -> Error {
    Error::unavailable("OUTCOME_UNKNOWN", "the server stops; read before you retry")
}

impl Service {
    /// Which run of the store this is: what it remembers of requests goes with it. Never 0.
    #[must_use]
    pub fn run_id(&self) -> u64 {
        self.0.answers.run
    }

    /// Runs `work` unless a request of that name was run or runs; its answer either way. The work is
    /// done even if nobody waits for it any more.
    ///
    /// # Errors
    /// `Invalid` (`REQUEST_ID_REUSED`); the work's.
    pub async fn once(
        &self,
        named: Named,
        work: impl Future<Output = Result<Bytes>> + Send + 'static,
    ) -> Result<Bytes> {
        match self.0.answers.begin(&named)? {
            Begun::Answered(answer) => answer,
            Begun::Runs(answer) => answer.await.map_err(|_| stops())?,
            Begun::First(running) => {
                let task = tokio::spawn(async move {
                    let answer = work.await;
                    running.end(answer.clone());
                    answer
                });
                task.await.map_err(|error| match error.is_panic() {
                    true => Error::internal("TASK_FAILED", format!("a task failed: {error}")),
                    false => stops(),
                })?
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str) -> Named {
        let id = id.into();
        Named { id, print: 7 }
    }

    fn first(answers: &Answers, id: &str) -> Running {
        match answers.begin(&named(id)).unwrap() {
            Begun::First(running) => running,
            other => panic!("{id} is known: {other:?}"),
        }
    }

    fn finish(answers: &Answers, id: &str, answer: Result<Bytes>) {
        first(answers, id).end(answer);
    }

    fn is_known(answers: &Answers, id: &str) -> bool {
        let begun = answers.begin(&named(id)).unwrap();
        matches!(begun, Begun::Answered(_))
    }

    #[tokio::test]
    async fn who_comes_while_it_runs_gets_the_same_answer() {
        let answers = Answers::default();
        let running = first(&answers, "a");
        let Begun::Runs(second) = answers.begin(&named("a")).unwrap() else {
            panic!("it runs");
        };
        running.end(Ok(Bytes::from_static(b"done")));
        assert_eq!(second.await.unwrap().unwrap(), "done");
    }

    #[test]
    fn a_request_that_ends_without_an_answer_has_an_unknown_outcome() {
        let answers = Answers::default();
        drop(first(&answers, "stopped"));
        let running = first(&answers, "panicked");
        let panics = std::panic::AssertUnwindSafe(move || {
            let _running = running;
            panic!("planted");
        });
        std::panic::catch_unwind(panics).unwrap_err();
        for (id, reason) in [("stopped", "OUTCOME_UNKNOWN"), ("panicked", "TASK_FAILED")] {
            let begun = answers.begin(&named(id)).unwrap();
            let Begun::Answered(Err(error)) = begun else {
                panic!("{id}: {begun:?}");
            };
            assert_eq!(error.reason(), reason);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_for_ten_minutes() {
        let answers = Answers::default();
        finish(&answers, "a", Ok(Bytes::from_static(b"done")));
        tokio::time::advance(KEPT_FOR - Duration::from_secs(1)).await;
        assert!(is_known(&answers, "a"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!is_known(&answers, "a"));
    }

    #[tokio::test]
    async fn a_full_table_forgets_the_oldest() {
        let answers = Answers::default();
        let large = Bytes::from(vec![0; BYTES_MAX / 4]);
        for id in ["a", "b", "c", "d", "e"] {
            finish(&answers, id, Ok(large.clone()));
        }
        assert!(!is_known(&answers, "a") && !is_known(&answers, "b"));
        assert!(is_known(&answers, "c") && is_known(&answers, "e"));
    }

    #[tokio::test]
    async fn only_what_may_have_changed_something_stays_failed() {
        let answers = Answers::default();
        for (kind, reason, stays) in [
            (ErrorKind::Timeout, "TIMEOUT", true),
            (ErrorKind::Unavailable, "OUTCOME_UNKNOWN", true),
            (ErrorKind::Unavailable, "SHARD_OPENING", false),
            (ErrorKind::Conflict, "VERSION_MISMATCH", false),
            (ErrorKind::DiskFull, "DISK_FULL", false),
        ] {
            finish(&answers, reason, Err(Error::new(kind, reason, "text")));
            assert_eq!(is_known(&answers, reason), stays, "{reason}");
        }
    }

    #[test]
    fn another_request_under_the_same_name_is_refused() {
        let answers = Answers::default();
        let _first = first(&answers, "a");
        let other = Named {
            print: 8,
            ..named("a")
        };
        let refused = answers.begin(&other).unwrap_err();
        assert_eq!(refused.reason(), "REQUEST_ID_REUSED");
    }
}
