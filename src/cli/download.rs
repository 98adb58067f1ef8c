//! Reads values, and believes none that does not fit its key.

use super::exit::CliError;
use crate::client::{Client, Found, sum64};
use crate::codec::digest_of;
use crate::model::{Digest, Version};
use bytes::Bytes;

/// What a value is verified by, beside the checksum that came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The digest that its key spells, if it does.
    Digest,
    /// Nothing else: keys are the users' own.
    Checksum,
}

/// Reads values from one server.
#[derive(Debug, Clone)]
pub struct Downloader {
    client: Client,
    check: Check,
}

impl Downloader {
    /// Reads from `client`'s server.
    #[must_use]
    pub fn new(client: Client, check: Check) -> Self {
        Self { client, check }
    }

    /// Bytes of a key's value, or nothing when it is not there.
    ///
    /// # Errors
    /// The server's.
    pub async fn size(&self, key: &[u8]) -> Result<Option<u64>, CliError> {
        if self.is_empty_content(key) {
            return Ok(Some(0));
        }
        Ok(self.client.head(key).await?.map(|head| head.len))
    }

    /// A key's value, verified.
    ///
    /// # Errors
    /// It is not there, or damaged, or the server's.
    pub async fn fetch(&self, key: &[u8]) -> Result<Found, CliError> {
        if self.is_empty_content(key) {
            return Ok(empty());
        }
        let found = self.client.get(key).await?;
        let named = match self.check {
            Check::Digest => Digest::parse_hex(key),
            Check::Checksum => None,
        };
        let Some(named) = named else {
            return Ok(found);
        };
        let digest = offloaded_digest(found.data.clone()).await;
        if digest != named {
            return Err(CliError::Damaged(format!(
                "damaged value under {named}: its BLAKE3 digest is {digest}; if the server keeps \
                 user keys, say --user-keys"
            )));
        }
        Ok(found)
    }

    /// The protocol stores no empty values; the digest of nothing says all there is to say.
    fn is_empty_content(&self, key: &[u8]) -> bool {
        self.check == Check::Digest && Digest::parse_hex(key) == Some(digest_of(b""))
    }
}

fn empty() -> Found {
    Found {
        version: Version(0),
        sum64: sum64(b""),
        data: Bytes::new(),
    }
}

async fn offloaded_digest(data: Bytes) -> Digest {
    /// Hashing this much takes longer than handing it to another thread.
    const WORTH_A_THREAD: usize = 64 << 10;
    if data.len() < WORTH_A_THREAD {
        return digest_of(&data);
    }
    let hash = tokio::task::spawn_blocking(move || digest_of(&data));
    hash.await.expect("hashing does not panic")
}
