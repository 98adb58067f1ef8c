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
use tokio::sync::watch;
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
    pub id: String,
    /// A fingerprint of all that it says, its method too.
    pub print: u64,
}

type Answer = Option<Result<Bytes>>;

/// The answers of requests with a name.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    table: Arc<Mutex<Table>>,
    run: u64,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<String, Entry>,
    /// The names of finished requests, the oldest first, with the bytes that each takes.
    finished: VecDeque<(Instant, String, usize)>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    print: u64,
    answer: watch::Receiver<Answer>,
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

    fn keep(&mut self, id: String, answer_size: usize) {
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

    /// Where the answer to a request comes, and whether the caller is the first and has to run it.
    fn begin(&self, named: &Named) -> Result<(Entry, Option<watch::Sender<Answer>>)> {
        let mut table = self.lock();
        table.forget_old(Instant::now());
        if let Some(entry) = table.entries.get(&named.id) {
            if entry.print != named.print {
                let message = format!(
                    "request_id {} is of another request: draw a new one for each request, and send it again only with the same",
                    named.id
                );
                return Err(Error::invalid("REQUEST_ID_REUSED", message).at("request_id"));
            }
            return Ok((entry.clone(), None));
        }
        let (sender, answer) = watch::channel(None);
        let print = named.print;
        let entry = Entry { print, answer };
        table.entries.insert(named.id.clone(), entry.clone());
        Ok((entry, Some(sender)))
    }

    /// Keeps an answer, or forgets a request that changed nothing.
    fn end(&self, id: String, answer: &Result<Bytes>) {
        let mut table = self.lock();
        match answer {
            Ok(bytes) => table.keep(id, bytes.len()),
            Err(error) if is_unknown(error) => table.keep(id, 0),
            Err(_) => {
                table.entries.remove(&id);
            }
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
        let (mut entry, first) = self.0.answers.begin(&named)?;
        if let Some(sender) = first {
            let answers = self.0.answers.clone();
            tokio::spawn(async move {
                let lost =
                    |error| Error::internal("TASK_FAILED", format!("a task failed: {error}"));
                // A task of its own, so that a panic is an answer too.
                let answer = tokio::spawn(work).await.map_err(lost).flatten();
                answers.end(named.id, &answer);
                sender.send_replace(Some(answer));
            });
        }
        let answer = entry.answer.wait_for(Option::is_some).await;
        let gone =
            |_| Error::unavailable("OUTCOME_UNKNOWN", "the server stops; read before you retry");
        answer.map_err(gone)?.clone().expect("it was waited for")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str) -> Named {
        let id = id.to_owned();
        Named { id, print: 7 }
    }

    fn finish(answers: &Answers, id: &str, answer: Result<Bytes>) {
        let (_, sender) = answers.begin(&named(id)).unwrap();
        answers.end(id.to_owned(), &answer);
        sender.expect("the first").send_replace(Some(answer));
    }

    fn is_known(answers: &Answers, id: &str) -> bool {
        let (_, first) = answers.begin(&named(id)).unwrap();
        first.is_none()
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
        let _first = answers.begin(&named("a")).unwrap();
        let other = Named {
            print: 8,
            ..named("a")
        };
        let refused = answers.begin(&other).unwrap_err();
        assert_eq!(refused.reason(), "REQUEST_ID_REUSED");
    }
}
