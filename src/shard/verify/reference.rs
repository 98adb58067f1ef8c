//! The third part, across shards: every link has its reference and its blob, and every list its
//! chunks, which together are the value that it is named after. They are read one after the other, again
//! for each list, so this takes as long as reading all large values. A reference that no link or list
//! names is what a crash between two steps of a put leaves behind, and no damage.

use super::StoreVerdict;
use super::index::{CheckedIndex, inline};
use super::whole::{Together, large_problem, wrong_length};
use crate::codec::{Kind, Space, decode_blob_ref, encode_blob_ref};
use crate::index::{IndexError, Row};
use crate::model::{BlobRef, Chunk, ChunkList, Digest, Problem, ShardId};
use crate::shard::Homes;
use bytes::Bytes;
use std::collections::HashMap;

const REMEDY: &str = "restore the key from a backup, or store it again";

/// The indexes of all shards by id.
struct Store<'a> {
    shards: HashMap<ShardId, &'a CheckedIndex>,
    homes: &'a Homes,
}

/// Checks references both ways, if every shard's index can be used.
pub(super) fn check(verdict: &mut StoreVerdict, homes: &Homes) {
    let shards: HashMap<ShardId, &CheckedIndex> = verdict
        .shards
        .iter()
        .filter_map(|shard| Some((shard.id, shard.index.as_ref()?)))
        .collect();
    verdict.references_checked = homes.table().iter().all(|id| shards.contains_key(id));
    if !verdict.references_checked {
        return;
    }
    let store = Store { shards, homes };
    let mut problems = Vec::new();
    let mut stale = 0;
    for index in store.shards.values() {
        let [links, named_links] = Space::KEYS.map(|space| {
            index.for_each(space, |id, row| {
                problems.extend(store.link_fault(index, (space, id), row));
            })
        });
        let lists = index.for_each(Space::Blob, |id, row| {
            problems.extend(store.list_fault(index, id, row));
        });
        let references = index.for_each(Space::Reference, |id, row| {
            stale += u64::from(store.is_stale(id, row));
        });
        for error in [links, named_links, lists, references]
            .into_iter()
            .filter_map(Result::err)
        {
            let what = format!("cannot be read to its end: {error}");
            problems.push(Problem::of_index(index.path(), None, what));
        }
    }
    verdict.stale_references = stale;
    for problem in problems {
        verdict.problems.push(problem);
    }
}

impl Store<'_> {
    fn link_fault(
        &self,
        index: &CheckedIndex,
        (space, id): (Space, &Bytes),
        row: &Row,
    ) -> Option<Problem> {
        let blob = decode_blob_ref(inline(row, Kind::Link)?).ok()?;
        let lacks = match self.lacks(blob) {
            Ok(lacks) => lacks?,
            Err(error) => format!("whose home cannot be read: {error}"),
        };
        let key = super::record::entity_name(space, id);
        Some(Problem {
            file: index.path().to_owned(),
            offset: None,
            what: format!("{key} links to blob {}, {lacks}", blob.digest),
            remedy: REMEDY.to_owned(),
        })
    }

    /// The first chunk of a list that is not as the list says.
    fn list_fault(&self, index: &CheckedIndex, id: &Bytes, row: &Row) -> Option<Problem> {
        let list = index.list(row)?;
        let fault = |chunk: &Chunk| {
            let (digest, ref_id) = (chunk.digest, list.ref_id);
            let lacks = match self.lacks(BlobRef { digest, ref_id }) {
                Ok(lacks) => lacks.or_else(|| self.wrong_length(chunk))?,
                Err(error) => format!("whose home cannot be read: {error}"),
            };
            Some(format!("is made of chunk {digest}, {lacks}"))
        };
        let lacking = list.chunks.iter().find_map(fault);
        let digest = Digest(<[u8; Digest::SIZE]>::try_from(&id[..]).ok()?);
        let what = lacking.or_else(|| self.whole_fault(digest, row, &list))?;
        let owners = index.owners(digest).into_iter();
        Some(large_problem(index.path(), digest, owners, &what))
    }

    /// What is wrong with the value that the chunks of a list make, in their order. A chunk that cannot be
    /// read was told of where it stands.
    fn whole_fault(&self, digest: Digest, row: &Row, list: &ChunkList) -> Option<String> {
        let mut together = Together::default();
        for chunk in &list.chunks {
            let index = self.shards.get(&self.homes.shard_of(chunk.digest.slot()))?;
            let name = Bytes::copy_from_slice(&chunk.digest.0);
            together.take(&index.raw(&index.get(Space::Blob, &name).ok()??)?);
        }
        together.fault(digest, row.info)
    }

    fn wrong_length(&self, chunk: &Chunk) -> Option<String> {
        let home = self.homes.shard_of(chunk.digest.slot());
        let digest = Bytes::copy_from_slice(&chunk.digest.0);
        let row = self.shards.get(&home)?.get(Space::Blob, &digest).ok()??;
        wrong_length(chunk, row.info.raw_len)
    }

    /// What a link's target is missing.
    fn lacks(&self, blob: BlobRef) -> Result<Option<String>, IndexError> {
        let home = self.homes.shard_of(blob.digest.slot());
        let Some(index) = self.shards.get(&home) else {
            return Ok(Some(format!(
                "whose home is shard {home}, which is not there"
            )));
        };
        let digest = Bytes::copy_from_slice(&blob.digest.0);
        let bytes = index.get(Space::Blob, &digest)?;
        let reference = index.get(Space::Reference, &encode_blob_ref(blob))?;
        let is = |row: Option<Row>, kind| row.is_some_and(|row| row.kind == kind);
        Ok(if !is(bytes, Kind::Blob) {
            Some(format!("which is not in shard {home}"))
        } else if !is(reference, Kind::Reference) {
            Some(format!("which has no reference of it in shard {home}"))
        } else {
            None
        })
    }

    /// Whether a reference's owner no longer names it.
    fn is_stale(&self, id: &Bytes, row: &Row) -> bool {
        let Some(owner) = row.owner() else {
            return false;
        };
        let home = self.homes.shard_of(owner.slot());
        if let Some(list) = owner.list() {
            let list = Bytes::copy_from_slice(&list.0);
            let shard = self.shards.get(&home);
            let row = shard.and_then(|index| index.get(Space::Blob, &list).ok()?);
            let name = decode_blob_ref(id).map(|blob| blob.ref_id);
            let is_named = |row: Row| name.is_ok_and(|name| row.names_chunks_by(name));
            return !row.is_some_and(is_named);
        }
        let link = self
            .shards
            .get(&home)
            .and_then(|index| index.get(owner.space(), owner.id()).ok()?);
        link.as_ref().and_then(|row| inline(row, Kind::Link)) != Some(id)
    }
}
