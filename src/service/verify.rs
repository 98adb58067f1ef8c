//! A check of the store while it serves: once through all shards, as the scrubber goes, at once.

use super::{Service, blocking};
use crate::model::{Problem, Result, ScrubReport};
use crate::shard::{Place, check_chunk};

/// A chunk is about so much. The segments are pinned for as long as one is read.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;

/// A check that goes on for as long as it is asked to.
#[derive(Debug)]
pub struct Verification {
    service: Service,
    shard: usize,
    place: Option<Place>,
    done: u64,
    total: u64,
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
    /// Begins to check every closed segment, and log and index in both directions.
    ///
    /// # Errors
    /// `Internal` when the task fails.
    pub async fn verify(&self) -> Result<Verification> {
        let stats = self.stats().await?;
        Ok(Verification {
            service: self.clone(),
            shard: 0,
            place: Some(Place::first()),
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
        let Some(shard) = self.service.router().shards().get(self.shard) else {
            return Ok(None);
        };
        let Some(place) = self.place.take() else {
            return Ok(None);
        };
        let reader = shard.reader()?;
        let chunk = blocking(move || Ok(check_chunk(&reader, place, CHUNK_BYTES))).await?;
        self.place = chunk.next;
        if self.place.is_none() {
            self.shard += 1;
            self.place = Some(Place::first());
        }
        self.done += chunk.bytes;
        self.total = self.total.max(self.done);
        Ok(Some(VerifyStep {
            done: self.done,
            total: self.total,
            problems: chunk.problems,
        }))
    }
}
