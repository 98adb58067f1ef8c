//! Stores large files in chunks, and does not hold them in memory.

use super::exit::CliError;
use super::outline::Outline;
use super::progress::Progress;
use super::upload::{How, Naming, Stored, Uploader, check_key, expect_key};
use crate::client::PutOptions;
use crate::codec::CUT_MIN;
use crate::exchange::put_chunked;
use bytes::Bytes;
use std::path::Path;

/// Whether a file of this size is sent in chunks, and never in memory as a whole.
#[must_use]
pub fn is_large(len: u64) -> bool {
    len > CUT_MIN
}

impl Uploader {
    /// Stores a large file under its name: a path relative to a folder, or a key.
    ///
    /// # Errors
    /// The server's, or that it names values in another way; the file cannot be read.
    pub async fn store_large(
        &self,
        name: &[u8],
        path: &Path,
        progress: Progress,
    ) -> Result<Stored, CliError> {
        let outline = Outline::read(path, &progress).await?;
        let key = match self.naming() {
            Naming::Content => Bytes::copy_from_slice(&outline.digest.to_hex()),
            Naming::User { prefix } => Bytes::from([prefix, name].concat()),
        };
        check_key(&key)?;
        let (_, repeated) = self.content(outline.digest);
        let stored = |how| Stored {
            key: key.to_vec(),
            len: outline.len,
            how,
            repeated,
        };
        let before = self.client().head(&key).await?;
        if before.is_some_and(|head| (head.len, head.sum64) == (outline.len, outline.sum64)) {
            return Ok(stored(How::Present));
        }
        let keyspace = self.client().database().keyspace("");
        let options = PutOptions::default();
        let put = put_chunked((&keyspace, &key), &outline, &options, &progress);
        let (is_sent, put) = put.await?;
        let how = if is_sent { How::Sent } else { How::Duplicate };
        expect_key(&key, &put.key)?;
        Ok(stored(how))
    }
}
