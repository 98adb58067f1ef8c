//! The load generator: threads with connections of their own, and workers that share a connection.
//!
//! Client and server share the machine, so the client must be cheap: each thread has a runtime of
//! one thread, and no request, wake-up or allocation crosses from one to another.

use super::course::Course;
use super::histogram::Histogram;
use super::process::Usage;
use super::source::{Call, Source, Work};
use crate::client::{ClientError, Lane, Moved, Protocol, sum64};
use crate::proto::zstdb::ItemReply;
use bytes::Bytes;
use std::sync::{Arc, Barrier, Mutex, MutexGuard};
use std::time::Duration;

/// A run is given up after so many failed requests: they say nothing new any more.
const ERRORS_MAX: u64 = 1000;

/// How a server is loaded.
#[derive(Debug, Clone)]
pub struct Load {
    /// `HOST:PORT`.
    pub address: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its process, when it is known.
    pub pid: Option<u32>,
    /// Bytes of its memory before it was asked for anything.
    pub idle: Option<u64>,
    /// Connections.
    pub connections: usize,
    /// Threads that share the connections.
    pub threads: usize,
    /// Requests a second; none for a closed loop.
    pub rate: Option<f64>,
    /// What is done.
    pub work: Work,
    /// Values that every request moves.
    pub values: u64,
    /// Bytes of every value, which every read must answer.
    pub size: usize,
    /// Whether the checksum of every read value is verified.
    pub verify: bool,
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Latencies of reads.
    pub reads: Latencies,
    /// Latencies of writes.
    pub writes: Latencies,
    /// Values that they moved.
    pub values: u64,
    /// Failed requests, which are in neither.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// Requests that were due and never sent.
    pub unsent: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Time the server's process spent on cores.
    pub server_cpu: Option<Duration>,
    /// Time this process spent on cores.
    pub client_cpu: Option<Duration>,
    /// Bytes the server's process caused to be written.
    pub written: Option<u64>,
    /// Bytes of the server's resident memory at the end.
    pub resident: Option<u64>,
    /// The most of it since the server began.
    pub resident_max: Option<u64>,
}

/// Latencies of one kind of requests.
#[derive(Clone, Default)]
pub struct Latencies(pub Histogram);

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Latencies of {}", self.0.count())
    }
}

impl Outcome {
    /// Requests that were answered well.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.reads.0.count() + self.writes.0.count()
    }

    /// Latencies of all of them.
    #[must_use]
    pub fn all(&self) -> Histogram {
        let mut all = self.reads.0.clone();
        all.merge(&self.writes.0);
        all
    }

    /// Takes over another run, or a part of this one.
    pub fn merge(&mut self, other: &Self) {
        self.reads.0.merge(&other.reads.0);
        self.writes.0.merge(&other.writes.0);
        self.values += other.values;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        self.unsent += other.unsent;
        self.elapsed += other.elapsed;
        self.server_cpu = sum(self.server_cpu, other.server_cpu);
        self.client_cpu = sum(self.client_cpu, other.client_cpu);
        self.written = sum(self.written, other.written);
        self.resident = other.resident.or(self.resident);
        self.resident_max = other.resident_max.or(self.resident_max);
    }

    fn note_error(&mut self, message: String) {
        self.errors += 1;
        self.first_error.get_or_insert(message);
    }
}

fn sum<T: std::ops::Add<Output = T>>(left: Option<T>, right: Option<T>) -> Option<T> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (one, other) => one.or(other),
    }
}

/// The sources of all workers of a load; each is used by one worker at a time.
pub type Sources = Arc<Vec<Mutex<Source>>>;

/// A lock that nobody else wants.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no code panics while it holds this lock")
}

/// Loads a server until the course is over. Blocks; the workers share the connections evenly.
///
/// # Errors
/// When a connection cannot be opened. Failed requests are counted, not returned.
pub fn run(load: &Load, sources: &Sources, course: &Arc<Course>) -> Result<Outcome, ClientError> {
    let threads = load.threads.clamp(1, load.connections);
    let ready = Arc::new(Barrier::new(threads + 1));
    let running: Vec<_> = (0..threads)
        .map(|turn| {
            let crew = Crew {
                load: load.clone(),
                sources: Arc::clone(sources),
                course: Arc::clone(course),
                ready: Arc::clone(&ready),
                lanes: (turn..load.connections).step_by(threads).collect(),
            };
            std::thread::spawn(move || crew.run())
        })
        .collect();
    ready.wait();
    let before = (load.pid.and_then(Usage::of), Usage::of(std::process::id()));
    let begun = course.begin();
    ready.wait();
    course.pace();
    let mut outcome = Outcome::default();
    let mut refused = None;
    for thread in running {
        match thread.join().expect("a panic was printed by its thread") {
            Ok(part) => outcome.merge(&part),
            Err(error) => refused = Some(error),
        }
    }
    outcome.elapsed = begun.elapsed();
    outcome.unsent = course.unsent();
    let after = (load.pid.and_then(Usage::of), Usage::of(std::process::id()));
    spend(&mut outcome, before, after);
    refused.map_or(Ok(outcome), Err)
}

fn spend(
    outcome: &mut Outcome,
    before: (Option<Usage>, Option<Usage>),
    after: (Option<Usage>, Option<Usage>),
) {
    if let (Some(before), Some(after)) = (before.0, after.0) {
        outcome.server_cpu = Some(after.cpu - before.cpu);
        outcome.resident = Some(after.resident);
        outcome.resident_max = Some(after.resident_max);
        outcome.written = after
            .written
            .zip(before.written)
            .map(|(after, before)| after - before);
    }
    if let (Some(before), Some(after)) = (before.1, after.1) {
        outcome.client_cpu = Some(after.cpu - before.cpu);
    }
}

/// One thread's part.
struct Crew {
    load: Load,
    sources: Sources,
    course: Arc<Course>,
    ready: Arc<Barrier>,
    lanes: Vec<usize>,
}

impl Crew {
    fn run(self) -> Result<Outcome, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("this process has just made another runtime");
        runtime.block_on(self.work())
    }

    async fn work(self) -> Result<Outcome, ClientError> {
        let lanes = self.connect().await;
        if lanes.is_err() {
            self.course.stop();
        }
        // Everybody is connected; then everybody begins.
        self.ready.wait();
        self.ready.wait();
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let mut running = Vec::new();
        for (lane, connection) in self.lanes.iter().zip(lanes?) {
            let workers = (*lane..self.sources.len()).step_by(self.load.connections);
            for worker in workers {
                let worker = Worker {
                    lane: connection.clone(),
                    sources: Arc::clone(&self.sources),
                    turn: worker,
                    course: Arc::clone(&self.course),
                    outcome: Arc::clone(&outcome),
                    values: self.load.values,
                    size: self.load.size,
                    verify: self.load.verify,
                };
                running.push(tokio::spawn(worker.run()));
            }
        }
        for worker in running {
            worker.await.expect("a panic was printed by its task");
        }
        let outcome = lock(&outcome).clone();
        Ok(outcome)
    }

    async fn connect(&self) -> Result<Vec<Lane>, ClientError> {
        let mut lanes = Vec::with_capacity(self.lanes.len());
        for _ in &self.lanes {
            lanes.push(Lane::connect(&self.load.address, self.load.protocol).await?);
        }
        Ok(lanes)
    }
}

/// One request in flight at a time.
struct Worker {
    lane: Lane,
    sources: Sources,
    turn: usize,
    course: Arc<Course>,
    /// Of the thread: nobody else waits for it.
    outcome: Arc<Mutex<Outcome>>,
    values: u64,
    size: usize,
    verify: bool,
}

impl Worker {
    async fn run(mut self) {
        while let Some(start) = self.course.next().await {
            let call = lock(&self.sources[self.turn]).call();
            match self.answered(call).await {
                Ok(done) => self.note(start.elapsed(), done),
                Err(message) => self.note_error(message),
            }
            self.course.note_answer();
        }
    }

    /// What a request did, if it is what it should do.
    async fn answered(&mut self, call: Call) -> Result<Done, String> {
        match call {
            Call::Get(item) => {
                let reply = told(self.lane.get(item).await)?;
                self.check_value(&reply)?;
                Ok(Done::Read)
            }
            Call::Set(item) => Ok(Done::Write(told(self.lane.set(item).await)?.key)),
            Call::Read(call) => {
                let moved = told(self.lane.call(call).await)?;
                self.check_moved(&moved)?;
                Ok(Done::Read)
            }
            Call::Write(call) => {
                let moved = told(self.lane.call(call).await)?;
                self.check_moved(&moved)?;
                Ok(Done::Write(moved.key))
            }
        }
    }

    fn check_value(&self, reply: &ItemReply) -> Result<(), String> {
        let (len, size) = (reply.data.len(), self.size);
        if len == size && (!self.verify || sum64(&reply.data) == reply.sum64) {
            return Ok(());
        }
        Err(format!(
            "a read answered {len} bytes that are not the value of {size} bytes that was stored"
        ))
    }

    fn check_moved(&self, moved: &Moved) -> Result<(), String> {
        let expected = (self.values, self.values * self.size as u64);
        if (moved.values, moved.bytes) == expected {
            return Ok(());
        }
        Err(format!(
            "a request moved {} values of {} bytes together, and not {} of {}",
            moved.values, moved.bytes, expected.0, expected.1
        ))
    }

    fn note(&self, latency: Duration, done: Done) {
        let mut outcome = lock(&self.outcome);
        outcome.values += self.values;
        match done {
            Done::Read => outcome.reads.0.record(latency),
            Done::Write(key) => {
                outcome.writes.0.record(latency);
                lock(&self.sources[self.turn]).stored(&key);
            }
        }
    }

    fn note_error(&self, message: String) {
        let mut outcome = lock(&self.outcome);
        outcome.note_error(message);
        if outcome.errors >= ERRORS_MAX {
            self.course.stop();
        }
    }
}

/// What a request did.
enum Done {
    Read,
    /// The value stands under this key.
    Write(Bytes),
}

fn told<T>(answer: Result<T, ClientError>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())
}
