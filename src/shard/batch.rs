//! What a batch does in one shard: its tests judged, then all of its changes planned together.
//!
//! The changes of a batch take one version, so that a backup, a cut and whoever compares versions
//! has all of them or none. Each is planned against the records of before: no key stands twice in a
//! list, and contents with a home of their own are there already, so none depends on another.

use super::plan::{Current, Known, Plan, PlanContext, plan};
use crate::codec::Record;
use crate::index::IndexError;
use crate::model::{Batch, BatchReply, Operation, Question, Reply, Test, Version};

/// The version of changes that have none yet: it is drawn only once it is known that there are any.
const UNDRAWN: Version = Version(0);

/// What tests say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Judgement {
    /// All of them hold.
    Holds,
    /// One does not.
    Fails,
    /// One rests on a record that is not there any more.
    Overtaken,
}

/// The changes of a list of operations, not numbered with a version yet.
#[derive(Debug)]
pub(super) struct Changes {
    pub records: Vec<Record>,
    pub results: Vec<Reply>,
}

/// A put that may not replace what is there, or an operation that is refused: none of its list is
/// done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub operation: usize,
    pub found: Option<Version>,
}

/// What the tests say about the current records.
pub(super) fn judge(
    current: &mut dyn Current,
    tests: &[Test],
    context: PlanContext,
) -> Result<Judgement, IndexError> {
    let mut all = Judgement::Holds;
    for Test { key, question } in tests {
        let live = current.key(key)?.filter(|known| known.is_live(context.now));
        let found = live.map(|known| known.version);
        let holds = match *question {
            Question::Record(condition) => condition.holds(found),
            Question::Seen { version, holds } if version == found => holds,
            Question::Seen { .. } => return Ok(Judgement::Overtaken),
        };
        if !holds {
            all = Judgement::Fails;
        }
    }
    Ok(all)
}

/// Plans every operation of a list.
pub(super) fn plan_operations(
    current: &mut dyn Current,
    operations: Vec<Operation>,
    context: PlanContext,
) -> Result<Result<Changes, Refusal>, IndexError> {
    let mut records = Vec::new();
    let mut results = Vec::with_capacity(operations.len());
    for (number, operation) in operations.into_iter().enumerate() {
        let found = live(current, &operation, context)?;
        let Some(command) = operation.into_command(found.and_then(|known| known.expiry)) else {
            let (operation, found) = (number, found.map(|known| known.version));
            return Ok(Err(Refusal { operation, found }));
        };
        let planned = plan(current, command, context, &mut || UNDRAWN)?;
        if let Reply::Refused { found } = planned.reply {
            let operation = number;
            return Ok(Err(Refusal { operation, found }));
        }
        records.extend(planned.records);
        results.push(planned.reply);
    }
    Ok(Ok(Changes { records, results }))
}

/// The record of an operation's key, if it is there.
fn live(
    current: &mut dyn Current,
    operation: &Operation,
    context: PlanContext,
) -> Result<Option<Known>, IndexError> {
    let known = current.key(&operation.key)?;
    Ok(known.filter(|known| known.is_live(context.now)))
}

impl Changes {
    /// Whether there is anything to commit.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Gives the changes the version that was drawn for them.
    pub fn stamp(&mut self, drawn: Version) {
        let keys = self.records.iter_mut();
        for record in keys.filter(|it| it.kind.is_of_key()) {
            record.version = drawn;
        }
        for result in &mut self.results {
            if let Reply::Put { version, .. } | Reply::Deleted { version, .. } = result {
                *version = drawn;
            }
        }
    }
}

/// Plans a batch all of whose keys belong to this shard.
pub(super) fn plan_batch(
    current: &mut dyn Current,
    batch: Batch,
    context: PlanContext,
    draw: &mut dyn FnMut() -> Version,
) -> Result<Plan, IndexError> {
    let succeeded = match judge(current, &batch.tests, context)? {
        Judgement::Holds => true,
        Judgement::Fails => false,
        Judgement::Overtaken => return Ok(unchanged(BatchReply::Overtaken)),
    };
    let mut changes = match plan_operations(current, batch.branch(succeeded), context)? {
        Ok(changes) => changes,
        Err(Refusal { operation, found }) => {
            return Ok(unchanged(BatchReply::Refused {
                succeeded,
                operation,
                found,
            }));
        }
    };
    let version = (!changes.is_empty()).then(draw);
    if let Some(version) = version {
        changes.stamp(version);
    }
    let Changes { records, results } = changes;
    let reply = Reply::Batch(BatchReply::Done {
        succeeded,
        version,
        results,
    });
    Ok(Plan { records, reply })
}

fn unchanged(reply: BatchReply) -> Plan {
    Plan::unchanged(Reply::Batch(reply))
}
