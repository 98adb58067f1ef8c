//! The words of programs, checked, in the words of the service; and back.

use crate::client::{
    Action, BatchParts, Change, ChangeKind, Committed, Entry, Expect, KeyChange, OperationDone,
    Part, PutOptions, Query, Row, Stay, Stored,
};
use crate::model::{
    Attributes, Condition, Error, KeyRange, Lifetime, Namespace, Result, Timestamp, Version,
};
use crate::service::{
    Addition, Commit, CommitDone, Found, Happened, Head, KeyRequirement, NewEntry, Put, PutDone,
    PutRule, Requirement, ScanItem, Step, StepDone, WatchEvent,
};
use bytes::Bytes;

pub(super) fn requirement(expect: Expect) -> Result<Requirement> {
    Ok(match expect {
        Expect::Absent => Requirement::Record(Condition::Absent),
        Expect::Present => Requirement::Record(Condition::Present),
        Expect::Version(Version(0)) => {
            let message = "version is 0, which no key has: expect it to be absent instead";
            return Err(Error::invalid("VERSION_ZERO", message).at("condition.version"));
        }
        Expect::Version(version) => Requirement::Record(Condition::Version(version)),
        Expect::Digest(digest) => Requirement::Digest(digest),
    })
}

/// How long a record stays that is put at `now`.
fn lifetime(stay: Stay, namespace: &Namespace, now: Timestamp) -> Result<Lifetime> {
    match stay {
        Stay::Default => Ok(namespace.default_lifetime(now)),
        stay => lifetime_said(stay, now),
    }
}

/// The same where nothing said is for ever.
pub(super) fn lifetime_said(stay: Stay, now: Timestamp) -> Result<Lifetime> {
    match stay {
        Stay::Default => Ok(Lifetime::Forever),
        Stay::Kept => Ok(Lifetime::Kept),
        // What is more than nothing stays so.
        Stay::For(time) => {
            let ms = time.as_nanos().div_ceil(1_000_000);
            Lifetime::lasting(u64::try_from(ms).unwrap_or(u64::MAX), now)
        }
        Stay::Until(at) => Lifetime::until(at, now),
    }
}

/// A put as a program asks for it.
pub(super) fn put<'a>(
    (namespace, key): (&'a Namespace, &'a [u8]),
    data: Bytes,
    options: PutOptions,
    now: Timestamp,
) -> Result<Put<'a>> {
    Ok(Put {
        namespace,
        key,
        data,
        sum64: None,
        digest: None,
        rule: match options.only_if {
            None => PutRule::Free,
            Some(expect) => PutRule::If(requirement(expect)?),
        },
        lifetime: lifetime(options.lifetime, namespace, now)?,
        attributes: attributes(options)?,
    })
}

fn attributes(options: PutOptions) -> Result<Attributes> {
    Attributes::new(options.value_type, options.metadata)
}

pub(super) fn range(query: &Query) -> Result<KeyRange> {
    KeyRange::select(query.start.clone(), query.end.clone(), &query.prefix)
}

pub(super) fn commit(batch: BatchParts, namespace: &Namespace, now: Timestamp) -> Result<Commit> {
    let step = |(key, action): KeyChange| {
        Ok(match action {
            Action::Delete => Step::Delete(key),
            Action::Touch(stay) => Step::Touch(key, lifetime_said(stay, now)?),
            Action::Increment { delta, initial } => {
                Step::Increment(key, Addition { delta, initial })
            }
            Action::Put(data, options) => Step::Put(Box::new(NewEntry {
                key,
                data,
                sum64: None,
                digest: None,
                lifetime: lifetime(options.lifetime, namespace, now)?,
                attributes: attributes(options)?,
            })),
        })
    };
    let condition = |(key, expect)| {
        let requirement = requirement(expect)?;
        Ok(KeyRequirement { key, requirement })
    };
    let BatchParts {
        conditions,
        operations,
        otherwise,
    } = batch;
    Ok(Commit {
        conditions: conditions
            .into_iter()
            .map(condition)
            .collect::<Result<_>>()?,
        operations: operations.into_iter().map(step).collect::<Result<_>>()?,
        otherwise: otherwise.into_iter().map(step).collect::<Result<_>>()?,
    })
}

pub(super) fn committed(done: CommitDone) -> Result<Committed> {
    let result = |done: StepDone| {
        Ok(match done {
            StepDone::Put(done) => OperationDone::Put(stored(done)),
            StepDone::Delete(done) => OperationDone::Deleted(done.and_then(|done| done.previous)),
            StepDone::Touch(key, head) => {
                OperationDone::Touched(Box::new(entry(key.to_bytes(), &head)?))
            }
            StepDone::Increment(done) => OperationDone::Counted(done.value),
        })
    };
    let results = done.results.into_iter().map(result);
    Ok(Committed {
        succeeded: done.succeeded,
        version: done.version,
        results: results.collect::<Result<_>>()?,
    })
}

pub(super) fn stored(done: PutDone) -> Stored {
    Stored {
        key: done.key.to_bytes(),
        version: done.version,
        digest: done.digest,
        created: done.changed && done.previous.is_none(),
        deduplicated: !done.stored,
        previous: done.previous,
    }
}

pub(super) fn entry(key: Bytes, head: &Head) -> Result<Entry> {
    let said = head.attributes()?;
    Ok(Entry {
        key,
        version: head.version,
        len: head.raw_len,
        sum64: head.sum64,
        digest: head.digest,
        expiry: head.expiry,
        value_type: said.value_type,
        metadata: said.metadata,
    })
}

pub(super) fn part(key: Bytes, found: Found) -> Result<Part> {
    Ok(Part {
        entry: entry(key, &found.head)?,
        data: found.data,
    })
}

pub(super) fn row(item: ScanItem) -> Result<Row> {
    Ok(Row {
        entry: entry(item.key, &item.head)?,
        data: item.data,
    })
}

pub(super) fn change(event: WatchEvent) -> Result<Change> {
    let kind = match event.what {
        Happened::Deleted => ChangeKind::Deleted,
        Happened::Expired => ChangeKind::Expired,
        Happened::Put { head, value } => ChangeKind::Put {
            entry: Box::new(entry(event.key.clone(), &head)?),
            value,
        },
    };
    Ok(Change {
        key: event.key,
        version: event.version,
        kind,
    })
}
