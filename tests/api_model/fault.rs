//! Wrong answers: the planted faults, one of each kind.

use crate::call::{Answer, Call, Failure};
use crate::switches::Switch;
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::operation_result::Result as StepDone;

/// How many kinds there are.
pub const KINDS: usize = 30;

/// That a delete tells the wrong thing.
pub const DELETED: usize = 4;
/// The same, when it is asked again later.
pub const AGAIN: usize = 19;

/// Makes an answer wrong, if it is of a kind; whether it did.
pub fn distort(kind: usize, call: &Call, answer: &mut Answer) -> bool {
    match (kind, call, answer) {
        (0, _, Answer::Put(it)) => it.previous_version += 1,
        (1, _, Answer::Get(it)) => return flip(&mut it.value),
        (2, _, Answer::Head(it)) => it.entry.get_or_insert_default().value_type += 1,
        (3, _, Answer::BatchGet(it)) => drop(it.results.pop()),
        (DELETED, _, Answer::Delete(it)) => it.deleted = !it.deleted,
        (5, _, Answer::DeleteRange(it)) => it.deleted_count += 1,
        (6, _, Answer::Touch(it)) => it.expire_time = Some(prost_types::Timestamp::default()),
        (7, _, Answer::Increment(it)) => it.value ^= 1,
        (8, Call::Scan(_), Answer::Scan(it)) => return it.pop().is_some(),
        (9, Call::StreamScan(_), Answer::Scan(it)) if it.len() > 1 => it.swap(0, 1),
        (10, _, Answer::Commit(it)) => it.succeeded = !it.succeeded,
        (11, _, Answer::Snapshot(it)) => it.version = 0,
        (12, _, Answer::ZstdbSet(it)) => it.errcode = 500,
        (13, _, Answer::ZstdbGet(it)) if it.errcode == 0 => it.ver64 += 1,
        (14, _, Answer::ZstdbDelete(it)) => it.errcode = 500,
        (15, _, Answer::Failed(Failure::Refused(reason))) => reason.push('?'),
        (16, _, Answer::Upload(it)) => it.size += 1,
        (17, _, Answer::PutContent(it)) => it.sum64 += 1,
        (18, _, Answer::Download(_, value)) => return flip(value),
        (20 | 21, _, Answer::Commit(it)) => {
            return it
                .results
                .iter_mut()
                .any(|result| distort_step(kind, result));
        }
        (22, _, Answer::Measure(it)) => it.key_count += 1,
        (23, _, Answer::Measure(it)) => it.freed_bytes = it.stored_bytes + 1,
        (24, _, Answer::Renewed(it)) => it.version += 1,
        (25, _, Answer::Snapshots(it)) if !it.is_empty() => it.push(it[0].clone()),
        (26, Call::UpdateNamespace(_), Answer::Namespace(it)) => it.version = 0,
        (27, Call::GetNamespace(_), Answer::Namespace(it)) => it.counts = None,
        (28, _, Answer::Namespaces(it)) => drop(it.pop()),
        // Nobody has switched anything off.
        (29, Call::Put(_), answer @ Answer::Put(_)) => {
            let reason = Switch::Set.reason().to_owned();
            *answer = Answer::Failed(Failure::Refused(reason));
        }
        _ => return false,
    }
    true
}

/// The same for what a commit did under one key.
fn distort_step(kind: usize, result: &mut v1::OperationResult) -> bool {
    match (kind, &mut result.result) {
        (20, Some(StepDone::Increment(it))) => it.value ^= 1,
        (21, Some(StepDone::Touch(it))) => it.entry.get_or_insert_default().sum64 ^= 1,
        _ => return false,
    }
    true
}

fn flip(value: &mut Bytes) -> bool {
    let mut bytes = value.to_vec();
    let Some(first) = bytes.first_mut() else {
        return false;
    };
    *first ^= 1;
    *value = bytes.into();
    true
}
