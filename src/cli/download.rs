//! Reads values, and believes none that does not fit its key.

use super::emerging::Emerging;
use super::exit::CliError;
use crate::client::{Client, ClientError, Download, Entry, Found, Keyspace, sum64};
use crate::codec::{StreamDigest, digest_of};
use crate::model::{Digest, Version};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces that came and are not written.
const PIECES_AHEAD: usize = 4;

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
        check_digest(named, digest)?;
        Ok(found)
    }

    /// A key's large value into a file, which gets its name when the value has come whole and is what
    /// its key says.
    ///
    /// # Errors
    /// It is not there, or damaged, or the server's; the file cannot be written.
    pub async fn fetch_into(&self, key: &[u8], file: Emerging) -> Result<Entry, CliError> {
        let keyspace = self.client.database().keyspace("");
        self.fetch_from(&keyspace, key, file).await
    }

    /// As [`Downloader::fetch_into`], of a namespace or a snapshot.
    ///
    /// # Errors
    /// As there.
    pub async fn fetch_from(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        mut file: Emerging,
    ) -> Result<Entry, CliError> {
        let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES_AHEAD);
        let writing = tokio::task::spawn_blocking(move || {
            while let Some(piece) = pieces.blocking_recv() {
                file.write(&piece)?;
            }
            Ok::<_, CliError>(file)
        });
        let fetched = async {
            let mut pieces = self.begin(keyspace, key).await?;
            while let Some(piece) = pieces.next().await? {
                if sender.send(piece).await.is_err() {
                    break; // Who writes has ended with an error, which is told below.
                }
            }
            Ok::<_, CliError>(pieces.download.entry)
        };
        let fetched = fetched.await;
        drop(sender);
        let file = writing.await.expect("writing does not panic")?;
        let entry = fetched?;
        let finish = tokio::task::spawn_blocking(move || file.finish());
        finish.await.expect("renaming does not panic")?;
        Ok(entry)
    }

    /// Begins to read a key's large value, piece by piece.
    ///
    /// # Errors
    /// It is not there, or the server's.
    pub async fn begin(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Pieces, CliError> {
        let begun = keyspace.download(Bytes::copy_from_slice(key)).await?;
        Ok(Pieces {
            download: begun.ok_or_else(|| ClientError::not_found(key))?,
            digest: StreamDigest::default(),
            named: Digest::parse_hex(key).filter(|_| self.check == Check::Digest),
        })
    }

    /// The protocol stores no empty values; the digest of nothing says all there is to say.
    fn is_empty_content(&self, key: &[u8]) -> bool {
        self.check == Check::Digest && Digest::parse_hex(key) == Some(digest_of(b""))
    }
}

/// A large value on its way.
#[derive(Debug)]
pub struct Pieces {
    /// What it is of.
    pub download: Download,
    digest: StreamDigest,
    /// What its key says of it.
    named: Option<Digest>,
}

impl Pieces {
    /// The next piece; `None` at the end, when the value is what its key says.
    ///
    /// # Errors
    /// It is damaged, or the server's.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CliError> {
        if let Some(piece) = self.download.next().await? {
            self.digest.update(&piece);
            return Ok(Some(piece));
        }
        match self.named {
            Some(named) => check_digest(named, self.digest.finish()).map(|()| None),
            None => Ok(None),
        }
    }
}

fn check_digest(named: Digest, digest: Digest) -> Result<(), CliError> {
    if digest == named {
        return Ok(());
    }
    Err(CliError::Damaged(format!(
        "damaged value under {named}: its BLAKE3 digest is {digest}; if the server keeps user keys, \
         say --user-keys"
    )))
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
