//! The scrubber: reads closed segments at a bounded rate, compares log and index in both directions,
//! and puts the chunks of large values together, so that damage to cold data is found while a backup
//! still has it.

use crate::config::Scrub;
use crate::model::{Problem, ScrubReport};
use crate::router::{LargePlace, Router};
use crate::shard::{Place, ShardHandle, check_chunk};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// A chunk is about what may be read in a quarter of a second, within these bounds.
const CHUNK_MIN: u64 = 64 * 1024;
const CHUNK_MAX: u64 = 4 * 1024 * 1024;
/// Problems that are remembered: enough to know that something is badly wrong.
const PROBLEMS_MAX: usize = 1000;

/// Scrubs a store, round after round, until `stop` becomes true or its sender is gone. What it
/// finds is in `report` and, once for each place, in the program's log.
pub async fn scrub(
    router: Router,
    config: Scrub,
    report: watch::Sender<ScrubReport>,
    stop: watch::Receiver<bool>,
) {
    if config.rate == 0 {
        return;
    }
    let mut scrubber = Scrubber {
        rate: config.rate,
        report,
        stop,
        known: HashSet::new(),
    };
    loop {
        if scrubber.round(&router).await.is_none() || scrubber.rest(config.interval).await.is_none()
        {
            return;
        }
    }
}

struct Scrubber {
    rate: u64,
    report: watch::Sender<ScrubReport>,
    stop: watch::Receiver<bool>,
    /// Places that were told of.
    known: HashSet<(PathBuf, Option<u64>, String)>,
}

impl Scrubber {
    /// One round through all shards; `None` when told to stop.
    async fn round(&mut self, router: &Router) -> Option<()> {
        for shard in router.shards() {
            self.shard(shard).await?;
        }
        self.large_values(router).await?;
        self.end_round();
        Some(())
    }

    /// Bytes that are read at once.
    fn size(&self) -> u64 {
        (self.rate / 4).clamp(CHUNK_MIN, CHUNK_MAX)
    }

    /// One round through a shard; `None` when told to stop.
    async fn shard(&mut self, shard: &ShardHandle) -> Option<()> {
        let size = self.size();
        let mut next = Some(Place::first());
        while let Some(place) = next {
            // A shard that is being reopened is left out of this round.
            let Ok(reader) = shard.reader() else {
                return Some(());
            };
            let read = tokio::task::spawn_blocking(move || check_chunk(&reader, place, size));
            let Ok(chunk) = read.await else {
                return Some(()); // The panic was reported by its hook.
            };
            next = chunk.next;
            self.note_and_rest(chunk.bytes, chunk.problems).await?;
        }
        Some(())
    }

    /// One round through the large values; `None` when told to stop.
    async fn large_values(&mut self, router: &Router) -> Option<()> {
        let size = self.size();
        let mut next = Some(LargePlace::default());
        while let Some(place) = next {
            let router = router.clone();
            let read = tokio::task::spawn_blocking(move || router.check_large(place, size));
            let Ok(step) = read.await else {
                return Some(()); // The panic was reported by its hook.
            };
            next = step.next;
            self.note_and_rest(step.bytes, step.problems).await?;
        }
        Some(())
    }

    /// Pays for what was read; `None` when told to stop.
    async fn note_and_rest(&mut self, bytes: u64, problems: Vec<Problem>) -> Option<()> {
        self.note(bytes, problems);
        let pause = bytes as f64 / self.rate as f64;
        self.rest(Duration::from_secs_f64(pause)).await
    }

    /// Sleeps; `None` when told to stop.
    async fn rest(&mut self, pause: Duration) -> Option<()> {
        let told = self.stop.wait_for(|stop| *stop);
        tokio::time::timeout(pause, told).await.err().map(|_| ())
    }

    fn note(&mut self, bytes: u64, problems: Vec<Problem>) {
        let mut new = Vec::new();
        for problem in problems {
            let place = (problem.file.clone(), problem.offset, problem.what.clone());
            if self.known.len() < PROBLEMS_MAX && self.known.insert(place) {
                let (file, offset) = (problem.file.display(), problem.offset);
                let (what, remedy) = (&problem.what, &problem.remedy);
                tracing::error!(%file, offset, what, remedy, "scrub found damage");
                new.push(problem);
            }
        }
        self.report.send_modify(|report| {
            report.bytes += bytes;
            report.problems.extend(new);
        });
    }

    fn end_round(&mut self) {
        self.known.retain(|(file, ..)| file.exists());
        self.report.send_modify(|report| {
            report.rounds += 1;
            report.problems.retain(|problem| problem.file.exists());
        });
    }
}
