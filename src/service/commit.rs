//! Commit: changes of many keys as one, on conditions.
//!
//! Values with a home of their own are stored there first, each with the reference that the commit's
//! record will name, for both lists: which one is done is known only when the tests are judged. Then
//! the router commits; then references that no record names, and those that were replaced, are
//! dropped. Touches and increments rest on what is under their keys, and are judged with it (see
//! `derived`). All of that outlives the request. A crash between the steps leaves references that no
//! record names, which the sweep finds, as with a put.

use super::checked::key_in;
use super::derived::derived_done;
use super::link::is_outcome_unknown;
use super::put::{ATTEMPTS_MAX, PutDone, Requirement, done_of, exists};
use super::ready::{Held, Ready, Stored};
use super::{Addition, DeleteDone, Head, Increment, Service};
use crate::model::{
    Attributes, Batch, BatchReply, Condition, Digest, Error, ErrorKind, Existing, Key, Lifetime,
    Namespace, Question, Reply, Result, Test, Version,
};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

/// Entries of a list.
const LIST_MAX: usize = 10_000;
/// Bytes of keys and values of both lists of steps.
const SIZE_MAX: usize = 64 * 1024 * 1024;

/// The lists of steps, as the native protocol names them.
const OPERATIONS: &str = "operations";
const OTHERWISE: &str = "else_operations";

/// What is to be done together.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// What is asked of keys; none of it holds always. At most 10,000.
    pub conditions: Vec<KeyRequirement>,
    /// Done when all conditions hold. At most 10,000, each key once.
    pub operations: Vec<Step>,
    /// Done when one does not. At most 10,000, each key once.
    pub otherwise: Vec<Step>,
}

/// What must be so under one key.
#[derive(Debug, Clone)]
pub struct KeyRequirement {
    /// The key.
    pub key: Bytes,
    /// The requirement.
    pub requirement: Requirement,
}

/// One change.
#[derive(Debug, Clone)]
pub enum Step {
    /// A value is stored, by the store's rule.
    Put(Box<NewEntry>),
    /// A key is removed, if it is there.
    Delete(Bytes),
    /// A key that is there gets another lifetime.
    Touch(Bytes, Lifetime),
    /// Something is added to a counter.
    Increment(Bytes, Addition),
}

/// A value to be stored.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The key. In content mode it may be empty, or the digest's 64 hex digits.
    pub key: Bytes,
    /// The raw value.
    pub data: Bytes,
    /// xxh64 of the raw value, if it is to be checked.
    pub sum64: Option<u64>,
    /// BLAKE3 of the raw value, if it is to be checked.
    pub digest: Option<Digest>,
    /// How long it stays.
    pub lifetime: Lifetime,
    /// What stands with it.
    pub attributes: Attributes,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitDone {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// The version of all changes; `None` when nothing has changed.
    pub version: Option<Version>,
    /// What each step of the list did that was done.
    pub results: Vec<StepDone>,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepDone {
    /// Of a put.
    Put(PutDone),
    /// Of a delete; `None` when there was nothing to remove.
    Delete(Option<DeleteDone>),
    /// Of a touch: the key, and what is known of it now.
    Touch(Key, Box<Head>),
    /// Of an increment: what the counter is now.
    Increment(Increment),
}

impl Step {
    /// Bytes of its key and value.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Put(entry) => entry.key.len() + entry.data.len(),
            Self::Delete(key) | Self::Touch(key, _) | Self::Increment(key, _) => key.len(),
        }
    }
}

impl Service {
    /// Does all steps of one list or nothing, visible to all readers at once.
    ///
    /// # Errors
    /// `Disabled` and `DiskFull` as a put or a delete; `TooLarge` (`COMMIT_TOO_LARGE`) and `Invalid`
    /// (`KEY_TWICE`); what is wrong with a step, as for a put or a delete, with the field named;
    /// `AlreadyExists` (`KEY_EXISTS`) where keys keep their first value; what is wrong with a touch or
    /// an increment of the list that is done, as for those alone; `Conflict` (`KEY_CONTENDED`); what
    /// the shards answer. Nothing has changed then, unless the outcome is
    /// unknown.
    pub async fn commit(&self, namespace: &Arc<Namespace>, commit: Commit) -> Result<CommitDone> {
        self.check_commit(&commit)?;
        let asked = keys_of(namespace, commit.conditions)?;
        let operations = self.make_ready(namespace, commit.operations, OPERATIONS);
        let operations = operations.await?;
        let otherwise = self.make_ready(namespace, commit.otherwise, OTHERWISE);
        let otherwise = otherwise.await?;
        let (service, namespace) = (self.clone(), namespace.clone());
        let steps = async move {
            let then = service.store_contents(&namespace, operations).await?;
            match service.store_contents(&namespace, otherwise).await {
                Ok(other) => service.finish(&namespace, &asked, (then, other)).await,
                Err(error) => {
                    service.let_go(then.held).await;
                    Err(error)
                }
            }
        };
        let lost = |_| {
            let message = "the commit was lost; read its keys before you retry";
            Error::unavailable("OUTCOME_UNKNOWN", message)
        };
        tokio::spawn(steps).await.map_err(lost)?
    }

    /// What can be said without a look at any value.
    fn check_commit(&self, commit: &Commit) -> Result<()> {
        let mut steps = commit.operations.iter().chain(&commit.otherwise);
        if steps.clone().any(|step| !matches!(step, Step::Delete(_))) {
            self.check_set_allowed()?;
        }
        if steps.any(|step| matches!(step, Step::Delete(_))) {
            self.check_delete_allowed()?;
        }
        let counts = [
            ("conditions", commit.conditions.len()),
            (OPERATIONS, commit.operations.len()),
            (OTHERWISE, commit.otherwise.len()),
        ];
        for (field, count) in counts {
            if count > LIST_MAX {
                let message = format!("{field} too many: count={count}, max={LIST_MAX}");
                return Err(Error::too_large("COMMIT_TOO_LARGE", message).at(field));
            }
        }
        let steps = commit.operations.iter().chain(&commit.otherwise);
        let size: usize = steps.map(Step::size).sum();
        if size > SIZE_MAX {
            let message = format!(
                "commit too large: keys and values of its operations have {size} bytes, max={SIZE_MAX}: commit fewer at a time"
            );
            return Err(Error::too_large("COMMIT_TOO_LARGE", message).at(OPERATIONS));
        }
        Ok(())
    }

    /// Commits what is stored, and drops what no record names in the end.
    async fn finish(
        &self,
        namespace: &Namespace,
        asked: &[(Key, Requirement)],
        (mut then, mut other): (Stored, Stored),
    ) -> Result<CommitDone> {
        fail::fail_point!("commit::stored");
        let counters = then.counters().chain(other.counters());
        let _turns = self.0.counters.take_all(counters).await;
        let lists = (&mut then, &mut other);
        match self.commit_stored(namespace, asked, lists).await {
            Ok(BatchReply::Done {
                succeeded,
                version,
                results,
            }) => {
                let (done, undone) = match succeeded {
                    true => (then, other),
                    false => (other, then),
                };
                self.let_go(undone.held).await;
                Ok(CommitDone {
                    succeeded,
                    version,
                    results: self.settle_results(done, results).await?,
                })
            }
            Err(error) if is_outcome_unknown(&error) => {
                let held = then.held.into_iter().chain(other.held);
                held.for_each(|held| held.open.leave_open());
                Err(error)
            }
            refused => {
                let error = why_refused(refused, &then, &other);
                self.let_go(then.held).await;
                self.let_go(other.held).await;
                Err(error)
            }
        }
    }

    /// Commits; what rests on what was read is looked at anew when others were faster.
    async fn commit_stored(
        &self,
        namespace: &Namespace,
        asked: &[(Key, Requirement)],
        (then, other): (&mut Stored, &mut Stored),
    ) -> Result<BatchReply> {
        for _ in 0..ATTEMPTS_MAX {
            let mut tests = Vec::with_capacity(asked.len());
            for (key, requirement) in asked {
                tests.push(self.test(key, *requirement).await?);
            }
            tests.extend(self.derive(namespace, then).await?);
            tests.extend(self.derive(namespace, other).await?);
            fail::fail_point!("commit::read");
            let batch = Batch {
                tests,
                operations: then.operations.clone(),
                otherwise: other.operations.clone(),
            };
            match self.router().commit(batch).await? {
                BatchReply::Overtaken => {}
                reply => return Ok(reply),
            }
        }
        Ok(BatchReply::Overtaken)
    }

    async fn test(&self, key: &Key, requirement: Requirement) -> Result<Test> {
        let question = match requirement {
            Requirement::Record(condition) => Question::Record(condition),
            Requirement::Digest(digest) => {
                let head = self.describe(key).await?;
                Question::Seen {
                    version: head.as_ref().map(|head| head.version),
                    holds: head.is_some_and(|head| head.digest == Some(digest)),
                }
            }
        };
        let key = key.clone();
        Ok(Test { key, question })
    }

    /// Turns replies into what the caller is told, and drops what they leave behind.
    async fn settle_results(&self, done: Stored, replies: Vec<Reply>) -> Result<Vec<StepDone>> {
        let (named, unnamed): (Vec<Held>, Vec<Held>) = done
            .held
            .into_iter()
            .partition(|held| matches!(replies[held.place], Reply::Put { .. }));
        let mut replies = replies;
        for held in named {
            if let Reply::Put { stored, .. } = &mut replies[held.place] {
                *stored = held.stored;
            }
        }
        self.let_go(unnamed).await;
        let mut results = Vec::with_capacity(replies.len());
        let mut dropping = Vec::new();
        let mut outcomes = done.outcomes;
        let steps = done.operations.iter().zip(done.digests).zip(replies);
        for (place, ((operation, digest), reply)) in steps.enumerate() {
            let key = operation.key.clone();
            results.push(match outcomes.remove(&place) {
                Some(outcome) => derived_done(outcome, &reply, &key)?,
                None => step_done(&reply, &key, digest),
            });
            if let Reply::Put { replaced, .. } | Reply::Deleted { replaced, .. } = &reply
                && replaced.is_some()
            {
                let service = self.clone();
                dropping.push(tokio::spawn(
                    async move { service.after(&reply, &key).await },
                ));
            }
        }
        for dropped in dropping {
            let _ = dropped.await; // What a panic leaves, the sweep finds.
        }
        Ok(results)
    }
}

fn step_done(reply: &Reply, key: &Key, digest: Option<Digest>) -> StepDone {
    match done_of(reply, key, digest) {
        Some(put) => StepDone::Put(put),
        None => StepDone::Delete(match *reply {
            Reply::Deleted {
                version, previous, ..
            } => Some(DeleteDone { version, previous }),
            _ => None,
        }),
    }
}

/// Why nothing was done.
fn why_refused(refused: Result<BatchReply>, then: &Stored, other: &Stored) -> Error {
    match refused {
        Err(error) => error,
        Ok(BatchReply::Refused {
            succeeded,
            operation,
            found,
        }) => {
            let (list, name) = match succeeded {
                true => (then, OPERATIONS),
                false => (other, OTHERWISE),
            };
            // All that cannot be done was seen at this moment: the first of it is told.
            if let Some((place, error)) = list.failed() {
                return error.inside(&format!("{name}[{place}]"));
            }
            exists(&list.operations[operation].key, found).at(format!("{name}[{operation}].key"))
        }
        Ok(_) => {
            let message = format!(
                "keys of the conditions were changed by others {ATTEMPTS_MAX} times while this commit was made: try again"
            );
            Error::new(ErrorKind::Conflict, "KEY_CONTENDED", message)
        }
    }
}

/// What a put of a commit does about a record that is there. A first value that stays would leave the
/// commit half done: it refuses the whole instead.
pub(super) fn existing_in_commit(namespace: &Namespace) -> Existing {
    if namespace.options.by_content {
        Existing::KeepSameContent
    } else if namespace.options.overwrite {
        Existing::Replace
    } else {
        Existing::Require(Condition::Absent)
    }
}

fn keys_of(
    namespace: &Namespace,
    conditions: Vec<KeyRequirement>,
) -> Result<Vec<(Key, Requirement)>> {
    let numbered = conditions.into_iter().enumerate();
    let asked = numbered.map(|(number, asked)| {
        let key = key_in(namespace, &asked.key);
        let key = key.map_err(|error| error.inside(&format!("conditions[{number}]")))?;
        Ok((key, asked.requirement))
    });
    asked.collect()
}

/// Refuses a list that changes a key twice.
pub(super) fn check_keys_once(list: &[Ready], field: &str) -> Result<()> {
    let mut seen = HashSet::with_capacity(list.len());
    for (number, ready) in list.iter().enumerate() {
        if !seen.insert(&ready.key) {
            let message = format!(
                "key {} stands twice in {field}: a commit changes each key once",
                ready.key
            );
            let error = Error::invalid("KEY_TWICE", message);
            return Err(error.at(format!("{field}[{number}].key")));
        }
    }
    Ok(())
}
