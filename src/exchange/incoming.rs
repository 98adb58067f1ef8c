//! A key of an export, checked and unfolded.

use crate::backup::Entry;
use crate::client::{self, PutOptions, Stay};
use crate::codec::{decode_attributes, open_sealed, sum64_of};
use crate::model::{Digest, Error, Key, Result, Timestamp};
use bytes::Bytes;

/// A key as it is to be written.
#[derive(Debug)]
pub enum Incoming {
    /// With its value.
    Whole(Said, Bytes),
    /// With a large value, by its digest.
    Large(Said, Digest),
}

/// All that is known of a key without its value.
#[derive(Debug)]
pub struct Said {
    /// The key.
    pub key: Bytes,
    /// Bytes of its value.
    pub len: u64,
    /// How it is put.
    pub options: PutOptions,
    /// When it goes.
    pub expiry: Option<Timestamp>,
}

impl Incoming {
    /// The key of an entry, if its value is what was exported.
    ///
    /// # Errors
    /// The value is not, or the entry is of no export.
    pub fn of(entry: Entry) -> Result<Self> {
        match entry {
            Entry::Value {
                key,
                expiry,
                attributes,
                value,
                ..
            } => {
                let said = Said::of(&key, value.info.raw_len, expiry, &attributes)?;
                let damaged = |what: String| damaged(&key, &what);
                let data = open_sealed(value.codec, value.payload, said.len);
                let data = data.map_err(|error| damaged(error.to_string()))?;
                if sum64_of(&data) != value.info.sum64 {
                    return Err(damaged("its checksum does not match".to_owned()));
                }
                Ok(Self::Whole(said, data))
            }
            Entry::Reference {
                key,
                expiry,
                attributes,
                digest,
                info,
                ..
            } => {
                let said = Said::of(&key, info.raw_len, expiry, &attributes)?;
                Ok(Self::Large(said, digest))
            }
            Entry::Blob { .. } | Entry::Tombstone { .. } | Entry::Namespace(_) => {
                let message = "the file holds what no export does: is it a backup?";
                Err(Error::corrupt("EXPORT_DAMAGED", message))
            }
        }
    }
}

impl Said {
    fn of(key: &Key, len: u64, expiry: Option<Timestamp>, attributes: &[u8]) -> Result<Self> {
        let said =
            decode_attributes(attributes).map_err(|error| damaged(key, &error.to_string()))?;
        Ok(Self {
            key: key.to_bytes(),
            len,
            options: PutOptions {
                only_if: None,
                lifetime: expiry.map_or(Stay::Default, Stay::Until),
                value_type: said.value_type,
                metadata: said.metadata,
            },
            expiry,
        })
    }

    /// Whether all of it is so of a key that is there.
    #[must_use]
    pub fn is_of(&self, head: &client::Entry) -> bool {
        head.len == self.len
            && head.expiry == self.expiry
            && head.value_type == self.options.value_type
            && head.metadata == self.options.metadata
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }
}

fn damaged(key: &Key, what: &str) -> Error {
    Error::corrupt(
        "EXPORT_DAMAGED",
        format!("damaged value of key {key}: {what}"),
    )
}
