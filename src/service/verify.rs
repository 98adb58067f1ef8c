//! A check of the store while it serves: once through all shards, then through all large values, as
//! the scrubber goes, at once.

use super::{Service, blocking};
use crate::model::{Problem, Result, ScrubReport};
use crate::router::LargePlace;
use crate::shard::{Place, check_chunk};

/// A chunk is about so much. The segments are pinned for as long as one is read.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;

/// A check that goes on for as long as it is asked to.
#[derive(Debug)]
pub struct Verification {
    service: Service,
    stage: Stage,
    done: u64,
    total: u64,
}

/// Where a check goes on, the bytes that were looked at, and what is wrong.
type Checked = (Stage, u64, Vec<Problem>);

/// Where a check stands.
#[derive(Debug)]
enum Stage {
    /// In the shard of this number.
    Shard(usize, Place),
    /// Among the large values.
    Large(LargePlace),
    /// At the end.
    Done,
}

/// How far a check is, and what it found on the way there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyStep {
    /// Bytes that were looked at.
    pub done: u64,
    /// Bytes in all, as far as is known before the end.
    pub total: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Service {
    /// Begins to check every closed segment, log and index in both directions, and whether large
    /// values are what they are named after.
    ///
    /// # Errors
    /// `Internal` when the task fails.
    pub async fn verify(&self) -> Result<Verification> {
        let stats = self.stats().await?;
        Ok(Verification {
            service: self.clone(),
            stage: Stage::Shard(0, Place::first()),
            done: 0,
            total: stats.log_bytes,
        })
    }

    /// What the scrubber has done and found since the start.
    #[must_use]
    pub fn scrub_report(&self) -> ScrubReport {
        self.0.parts.scrubbed.borrow().clone()
    }
}

impl Verification {
    /// Goes on for one chunk; `None` at the end.
    ///
    /// # Errors
    /// `Unavailable` when a shard cannot be read.
    pub async fn next(&mut self) -> Result<Option<VerifyStep>> {
        let (stage, bytes, problems) = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Done => return Ok(None),
            Stage::Shard(number, place) => self.check_shard(number, place).await?,
            Stage::Large(place) => self.check_large(place).await?,
        };
        self.stage = stage;
        self.done += bytes;
        self.total = self.total.max(self.done);
        Ok(Some(VerifyStep {
            done: self.done,
            total: self.total,
            problems,
        }))
    }

    async fn check_shard(&self, number: usize, place: Place) -> Result<Checked> {
        let shards = self.service.router().shards();
        let Some(shard) = shards.get(number) else {
            return Ok((Stage::Large(LargePlace::default()), 0, Vec::new()));
        };
        let reader = shard.reader()?;
        let chunk = blocking(move || Ok(check_chunk(&reader, place, CHUNK_BYTES))).await?;
        let next = match chunk.next {
            Some(place) => Stage::Shard(number, place),
            None => Stage::Shard(number + 1, Place::first()),
        };
        Ok((next, chunk.bytes, chunk.problems))
    }

    async fn check_large(&self, place: LargePlace) -> Result<Checked> {
        let router = self.service.router().clone();
        let step = blocking(move || Ok(router.check_large(place, CHUNK_BYTES))).await?;
        let next = step.next.map_or(Stage::Done, Stage::Large);
        Ok((next, step.bytes, step.problems))
    }
}
