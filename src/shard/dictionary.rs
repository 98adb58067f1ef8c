//! The dictionaries that stand in a shard's log.
//!
//! A value that was compressed with a dictionary can be committed in any shard, and each shard's log
//! must be able to open what it holds. So the writer itself puts a dictionary that its log lacks in
//! front of the first record that needs it, in the same group: the two are there together or not at
//! all, whatever step a crash falls into, and no shard has to hear of a new dictionary before it is
//! used. A dictionary that no value needed before a crash is lost with the process, and is trained
//! again.
//!
//! Such a record is never dead: no record says that a dictionary is gone. GC moves it like any that
//! is live, so it may come to stand behind values that need it, as durable as they are.
//!
//! A dictionary that is damaged here is served from another shard's log, if one has it, and is then
//! written here again with the next value that needs it.

use super::error::ShardError;
use super::store::ShardStore;
use crate::codec::{
    Dictionaries, Dictionary, DictionaryId, Kind, RECORD_HEADER_SIZE, Record, Space,
};
use crate::log::LogError;
use crate::model::{Codec, Version};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes of a dictionary's id.
const ID_SIZE: usize = size_of::<u32>();

/// Which of the store's dictionaries a shard's log holds.
#[derive(Debug)]
pub(super) struct HeldDictionaries {
    known: Arc<Dictionaries>,
    held: HashSet<DictionaryId>,
}

impl HeldDictionaries {
    /// What a log holds is not known yet.
    pub fn new(known: Arc<Dictionaries>) -> Self {
        Self {
            known,
            held: HashSet::new(),
        }
    }

    /// Bytes that the log may have to take before it holds all that are known.
    pub fn owed_bytes(&self) -> u64 {
        let owed = |dictionary: &Arc<Dictionary>| {
            let held = self.held.contains(&dictionary.id());
            let size = RECORD_HEADER_SIZE + ID_SIZE + dictionary.bytes().len();
            if held { 0 } else { size as u64 }
        };
        self.known.sum(owed)
    }

    /// The records that must stand in front of these in the log. They count as held from now on: a
    /// group that fails costs the shard its opening.
    pub fn needed_by(&mut self, records: &[Record]) -> Vec<Record> {
        let mut needed = Vec::new();
        for record in records.iter().filter(|it| it.codec == Codec::Zstd) {
            let id = DictionaryId::of_payload(record.codec, &record.payload);
            if let Some(id) = id.filter(|id| !self.held.contains(id))
                && let Some(dictionary) = self.known.get(id)
            {
                self.held.insert(id);
                needed.push(record_of(&dictionary));
            }
        }
        needed
    }
}

fn record_of(dictionary: &Dictionary) -> Record {
    let (id, bytes) = (dictionary.id().encode(), dictionary.bytes().clone());
    Record {
        version: dictionary.trained(),
        ..Record::bookkeeping(Kind::Dictionary, id, bytes)
    }
}

/// The dictionary of a record with this id and version.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_dictionary(
    id: &[u8],
    trained: Version,
    payload: Bytes,
) -> Result<Dictionary, String> {
    let parsed = Dictionary::parse(payload, trained).map_err(|error| error.to_string())?;
    if Some(parsed.id()) == DictionaryId::decode(id) {
        return Ok(parsed);
    }
    Err(format!("the dictionary calls itself {}", parsed.id()))
}

impl ShardStore {
    /// Makes known what this log holds. What is damaged is left out, and told of.
    pub(super) fn load_dictionaries(&mut self) -> Result<(), ShardError> {
        let reader = self.reader();
        for found in reader.snapshot().scan(Space::Dictionary, &[], None) {
            let (id, row) = found?;
            let trained = row.version;
            let found = reader.at(row);
            let parsed = found.payload().and_then(|payload| {
                let dictionary = parse_dictionary(&id, trained, payload).map(Arc::new);
                dictionary
                    .and_then(|it| self.make_known(it))
                    .map_err(|what| found.damaged(what))
            });
            match parsed {
                Ok(id) => drop(self.dictionaries.held.insert(id)),
                Err(error @ ShardError::Log(LogError::Damaged { .. })) => {
                    let id = id.escape_ascii();
                    tracing::error!(shard = %self.options.id, %id, %error, "a dictionary is damaged: values that need it are read only if another shard has it");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn make_known(&self, dictionary: Arc<Dictionary>) -> Result<DictionaryId, String> {
        let id = dictionary.id();
        let added = self.options.dictionaries.add(dictionary);
        added.map(|()| id).map_err(|error| error.to_string())
    }
}
