//! A batch of changes, each in the shard of its key, and all of them at one moment.

use super::Router;
use crate::model::{Batch, BatchReply, Command, Error, Reply, Result, ShardId, Timestamp};
use crate::shard::{Admitted, Ballot, Outcome};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

/// How long the shards of a batch wait for each other before it is committed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A frame counts the shards of a transaction in one byte.
const SHARDS_MAX: usize = 255;

/// One shard's part, and where each of its operations stands in the whole.
#[derive(Debug, Default)]
struct Part {
    batch: Batch,
    operations: Vec<usize>,
    otherwise: Vec<usize>,
}

impl Part {
    /// Where the operations of the list that was done stand in the whole.
    fn places(&self, succeeded: bool) -> &[usize] {
        match succeeded {
            true => &self.operations,
            false => &self.otherwise,
        }
    }
}

impl Router {
    /// Does a batch: all of it or nothing, whatever fails, and visible to all readers at once.
    ///
    /// # Errors
    /// `Invalid` (`TOO_MANY_SHARDS`); what the shards answer. Nothing is done then, unless the
    /// outcome is unknown.
    pub async fn commit(&self, batch: Batch) -> Result<BatchReply> {
        let mut parts = self.split(batch);
        if parts.len() > SHARDS_MAX {
            let count = parts.len();
            let message = format!(
                "the keys of this batch are in {count} shards, max={SHARDS_MAX}: commit fewer at a time"
            );
            return Err(Error::invalid("TOO_MANY_SHARDS", message));
        }
        match parts.pop_first() {
            None => Ok(BatchReply::Done {
                succeeded: true,
                version: None,
                results: Vec::new(),
            }),
            Some((shard, part)) if parts.is_empty() => {
                match self.write(shard, Command::Batch(part.batch)).await? {
                    Reply::Batch(reply) => Ok(reply),
                    other => Err(no_answer(&other)),
                }
            }
            Some((shard, part)) => {
                parts.insert(shard, part);
                self.commit_over(parts).await
            }
        }
    }

    fn split(&self, batch: Batch) -> BTreeMap<ShardId, Part> {
        let mut parts: BTreeMap<ShardId, Part> = BTreeMap::new();
        for test in batch.tests {
            let part = parts.entry(self.shard_of_key(&test.key)).or_default();
            part.batch.tests.push(test);
        }
        for (place, operation) in batch.operations.into_iter().enumerate() {
            let part = parts.entry(self.shard_of_key(&operation.key)).or_default();
            part.batch.operations.push(operation);
            part.operations.push(place);
        }
        for (place, operation) in batch.otherwise.into_iter().enumerate() {
            let part = parts.entry(self.shard_of_key(&operation.key)).or_default();
            part.batch.otherwise.push(operation);
            part.otherwise.push(place);
        }
        parts
    }

    /// Brings the shards to one gate. Whoever needs several shards, for a batch or a cut, takes them
    /// in their order, so that nobody waits for somebody who waits for him.
    async fn commit_over(&self, mut parts: BTreeMap<ShardId, Part>) -> Result<BatchReply> {
        let mut admitted = Vec::with_capacity(parts.len());
        for (shard, part) in &parts {
            let handle = self.handle(*shard);
            handle.reader()?; // One that does not serve says why, before anybody waits for it.
            admitted.push(handle.admit_part(&part.batch).await?);
        }
        let mut entries = Vec::with_capacity(parts.len());
        for shard in parts.keys() {
            entries.push(self.entry(*shard).await);
        }
        let ballot = Ballot::new(parts.len(), PATIENCE);
        let now = self.now();
        let mut waiting = Vec::with_capacity(parts.len());
        let rights = admitted.into_iter().zip(entries);
        for ((shard, part), rights) in parts.iter_mut().zip(rights) {
            let part = (std::mem::take(&mut part.batch), now);
            waiting.push((*shard, self.ask_for_part(*shard, &ballot, part, rights)));
        }
        let mut answers = BTreeMap::new();
        for (shard, answer) in waiting {
            let lost = |_| Error::unavailable("OUTCOME_UNKNOWN", "a part of the batch was lost");
            answers.insert(shard, answer.await.map_err(lost).flatten());
        }
        reply_of(&ballot, &parts, answers)
    }

    /// What is asked goes on when nobody waits for its answer any more.
    fn ask_for_part(
        &self,
        shard: ShardId,
        ballot: &Arc<Ballot>,
        (part, now): (Batch, Timestamp),
        (permits, entry): (Admitted, OwnedMutexGuard<()>),
    ) -> JoinHandle<Result<Vec<Reply>>> {
        let (handle, ballot) = (self.handle(shard).clone(), ballot.clone());
        tokio::spawn(async move {
            let _entry = entry;
            let done = handle.take_part(&ballot, part, now, permits).await;
            // One that never came to the gate is not waited for.
            done.inspect_err(|error| ballot.give_up(error.clone()))
        })
    }
}

fn reply_of(
    ballot: &Ballot,
    parts: &BTreeMap<ShardId, Part>,
    answers: BTreeMap<ShardId, Result<Vec<Reply>>>,
) -> Result<BatchReply> {
    let (succeeded, version) = match ballot.outcome()? {
        Outcome::Overtaken => return Ok(BatchReply::Overtaken),
        Outcome::Refused {
            shard,
            succeeded,
            operation,
            found,
        } => {
            let operation = parts[&shard].places(succeeded)[operation];
            return Ok(BatchReply::Refused {
                succeeded,
                operation,
                found,
            });
        }
        Outcome::Done { succeeded, version } => (succeeded, version),
    };
    let mut results = BTreeMap::new();
    for (shard, answer) in answers {
        let places = parts[&shard].places(succeeded).iter().copied();
        results.extend(places.zip(answer?));
    }
    Ok(BatchReply::Done {
        succeeded,
        version,
        results: results.into_values().collect(),
    })
}

fn no_answer(other: &Reply) -> Error {
    let message = format!("a batch was answered with {other:?}");
    Error::internal("WRONG_REPLY", message)
}
