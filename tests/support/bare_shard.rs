//! A shard without anything in it but, perhaps, one record: something to plan against.

use shardkeep::index::IndexError;
use shardkeep::model::{BlobRef, Digest, Key, Version};
use shardkeep::shard::plan::{Current, Known};

/// Every key has this record, or none; the shard is every content's home.
pub struct BareShard(pub Option<Known>);

impl Current for BareShard {
    fn key(&mut self, _key: &Key) -> Result<Option<Known>, IndexError> {
        Ok(self.0)
    }

    fn blob(&mut self, _digest: Digest) -> Result<Option<Known>, IndexError> {
        Ok(None)
    }

    fn reference(&mut self, _blob: BlobRef) -> Result<Option<Known>, IndexError> {
        Ok(None)
    }

    fn is_referenced(&mut self, _digest: Digest) -> Result<bool, IndexError> {
        Ok(false)
    }

    fn horizon(&mut self) -> Result<Version, IndexError> {
        Ok(Version(0))
    }

    fn is_home(&self, _digest: Digest) -> bool {
        true
    }
}
