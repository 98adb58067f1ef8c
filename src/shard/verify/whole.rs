//! What the checks of large values share, offline and beside writers: the sums that chunks have
//! together, and how a value that is not what it is named after is told of. Where the chunks come from
//! is the check's own.

use super::record::entity_name;
use crate::codec::{Space, StreamDigest, StreamSum};
use crate::model::{Chunk, Digest, Key, Problem, ValueInfo};
use std::path::Path;

const REMEDY: &str = "restore the key from a backup, or store it again";
/// Keys that are named; one who looks for more finds them by the digest.
const KEYS_MAX: usize = 3;

/// The chunks of a large value that were read so far, in their order.
#[derive(Debug, Default)]
pub struct Together {
    digest: StreamDigest,
    sum64: StreamSum,
}

impl Together {
    /// Takes in the next chunk.
    pub fn take(&mut self, raw: &[u8]) {
        self.digest.update(raw);
        self.sum64.update(raw);
    }

    /// What is wrong with the value that they make, when it should be this one.
    #[must_use]
    pub fn fault(&self, digest: Digest, info: ValueInfo) -> Option<String> {
        let (found, sum64) = (self.digest.finish(), self.sum64.finish());
        if found != digest {
            return Some(format!("is made of chunks that are {found} together"));
        }
        (sum64 != info.sum64).then(|| {
            let told = info.sum64;
            format!("is made of chunks of xxh64 {sum64:016x} together, and not {told:016x}")
        })
    }
}

/// That a chunk does not have the length that its list says.
pub fn wrong_length(chunk: &Chunk, stored: u64) -> Option<String> {
    let listed = u64::from(chunk.raw_len);
    (listed != stored)
        .then(|| format!("which has {stored} bytes and not {listed} as the list says"))
}

/// The problem of a large value that cannot be given back, with keys that name it.
pub fn large_problem(
    index: &Path,
    digest: Digest,
    owners: impl Iterator<Item = Key>,
    what: &str,
) -> Problem {
    let mut name = entity_name(Space::Blob, &digest.0);
    for (at, owner) in owners.take(KEYS_MAX + 1).enumerate() {
        let of = if at == 0 { ", the value of" } else { "," };
        name += &match at {
            KEYS_MAX => ", and others,".to_owned(),
            _ => format!("{of} {}", entity_name(owner.space(), owner.id())),
        };
    }
    Problem {
        file: index.to_owned(),
        offset: None,
        what: format!("{name} {what}"),
        remedy: REMEDY.to_owned(),
    }
}
