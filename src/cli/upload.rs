//! Stores values, without sending what is there already.
//!
//! A value is asked for first, by its key: when length and checksum are the same, no byte of it is
//! sent. Equal contents within one run are sent once: the first upload is shared by all who come
//! while it runs or after it. Empty values are not stored by this protocol; in content mode their
//! digest says everything, so they are listed, and `get` makes them again without asking.

use super::exit::CliError;
use crate::client::{Client, ClientError, VALUE_SIZE_MAX, sum64};
use crate::codec::digest_of;
use crate::model::{Digest, KEY_SIZE_MAX};
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// What names a value.
#[derive(Debug, Clone)]
pub enum Naming {
    /// Its content.
    Content,
    /// The user: this before the path.
    User {
        /// What stands before every path.
        prefix: Vec<u8>,
    },
}

/// A value in memory, with its names.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The value.
    pub data: Bytes,
    digest: Digest,
    sum64: u64,
}

/// What was done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its bytes were sent.
    Sent,
    /// The server had it.
    Present,
    /// An equal one of this run was stored.
    Duplicate,
    /// It is empty: there is nothing to store.
    Empty,
}

/// A value that is on the server now.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its key.
    pub key: Vec<u8>,
    /// Bytes of the value.
    pub len: u64,
    /// What was done.
    pub how: How,
    /// Whether an equal content came before in this run.
    pub repeated: bool,
}

/// Stores values on one server. Memory: about 100 bytes for each different content of the run.
#[derive(Debug)]
pub struct Uploader {
    client: Client,
    naming: Naming,
    contents: Mutex<HashMap<Digest, Arc<OnceCell<()>>>>,
    /// The smallest size the server has refused: nothing as large is read or sent again.
    refused_size: AtomicU64,
}

impl Uploader {
    /// Stores on `client`'s server.
    #[must_use]
    pub fn new(client: Client, naming: Naming) -> Self {
        Self {
            client,
            naming,
            contents: Mutex::default(),
            refused_size: AtomicU64::new(VALUE_SIZE_MAX + 1),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Refuses a size that is known to be over the server's limit.
    ///
    /// # Errors
    /// It is.
    pub fn check_size(&self, len: u64) -> Result<(), CliError> {
        if len < self.refused_size.load(Ordering::Relaxed) {
            return Ok(());
        }
        let limit = match len > VALUE_SIZE_MAX {
            true => "the protocol's limit of 1 GiB",
            false => "the server's limit (server.max_upload_size, --max-upload-size-mb)",
        };
        let message = format!("value too large: {len} bytes, over {limit}");
        Err(CliError::Failed(message))
    }

    /// Stores a value under its name: a path relative to a folder, or a key.
    ///
    /// # Errors
    /// The server's, or that it names values in another way.
    pub async fn store(&self, name: &[u8], loaded: Loaded) -> Result<Stored, CliError> {
        let len = loaded.data.len() as u64;
        let outcome = match &self.naming {
            Naming::Content => self.store_content(loaded).await,
            Naming::User { prefix } => {
                let key = Bytes::from([prefix, name].concat());
                self.store_under(key, loaded).await
            }
        };
        if let Err(CliError::Client(ClientError::TooLarge { .. })) = &outcome {
            self.refused_size.fetch_min(len, Ordering::Relaxed);
        }
        outcome
    }

    async fn store_content(&self, loaded: Loaded) -> Result<Stored, CliError> {
        let (digest, len) = (loaded.digest, loaded.data.len() as u64);
        let (content, repeated) = self.content(digest);
        let mut how = match len {
            0 => How::Empty,
            _ => How::Duplicate,
        };
        if len > 0 {
            let upload = async {
                how = self.send_content(loaded).await?;
                Ok::<_, CliError>(())
            };
            content.get_or_try_init(|| upload).await?;
        }
        Ok(Stored {
            key: digest.to_hex().to_vec(),
            len,
            how,
            repeated,
        })
    }

    async fn send_content(&self, loaded: Loaded) -> Result<How, CliError> {
        let key = Bytes::copy_from_slice(&loaded.digest.to_hex());
        if self.found(&key, &loaded).await? == Some(true) {
            return Ok(How::Present);
        }
        let client = &self.client;
        let stands = client.set_content(loaded.digest, loaded.data, loaded.sum64);
        let stands = stands.await?;
        expect_key(&key, &stands)?;
        Ok(How::Sent)
    }

    async fn store_under(&self, key: Bytes, loaded: Loaded) -> Result<Stored, CliError> {
        check_key(&key)?;
        let len = loaded.data.len() as u64;
        if len == 0 {
            let key = key.escape_ascii();
            return Err(CliError::Failed(format!(
                "{key}: the value is empty, and the protocol stores no empty values under user \
                 keys; leave such files out with --skip-empty"
            )));
        }
        let (_, repeated) = self.content(loaded.digest);
        let before = self.found(&key, &loaded).await?;
        let how = match before {
            Some(true) => How::Present,
            _ => How::Sent,
        };
        if how == How::Sent {
            let data = loaded.data.clone();
            let stands = self.client.set(key.clone(), data, loaded.sum64).await?;
            expect_key(&key, &stands)?;
        }
        // A server without overwriting answers "done" and keeps what it has.
        if before == Some(false) && self.found(&key, &loaded).await? != Some(true) {
            return Err(CliError::Failed(format!(
                "{}: the server has another value under this key and keeps it; remove it first, or \
                 start the server with --allow-overwrite",
                key.escape_ascii()
            )));
        }
        Ok(Stored {
            key: key.to_vec(),
            len,
            how,
            repeated,
        })
    }

    /// Whether the key's value is this one; `None` when there is no value.
    async fn found(&self, key: &[u8], loaded: &Loaded) -> Result<Option<bool>, CliError> {
        let head = self.client.head(key).await?;
        Ok(head.map(|head| head.len == loaded.data.len() as u64 && head.sum64 == loaded.sum64))
    }

    /// The shared upload of a content, and whether the content came before.
    pub(super) fn content(&self, digest: Digest) -> (Arc<OnceCell<()>>, bool) {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let known = contents.len();
        let content = Arc::clone(contents.entry(digest).or_default());
        (content, contents.len() == known)
    }
}

impl Loaded {
    /// Hashes a value.
    #[must_use]
    pub fn of(data: Bytes) -> Self {
        Self {
            digest: digest_of(&data),
            sum64: sum64(&data),
            data,
        }
    }

    /// Reads a file. Blocks.
    ///
    /// # Errors
    /// It cannot be read, or is over the protocol's limit.
    pub fn read_file(path: &Path) -> Result<Self, CliError> {
        let read = |error| CliError::file("read", path, error);
        let file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        let len = usize::try_from(metadata.len().min(VALUE_SIZE_MAX)).unwrap_or(0);
        Self::read(file, len, &path.display().to_string())?.map_err(read)
    }

    /// Reads standard input to its end, for what is small. Blocks.
    ///
    /// # Errors
    /// It cannot be read, or is over the protocol's limit.
    pub fn read_stdin() -> Result<Self, CliError> {
        let name = "standard input";
        Self::read(io::stdin().lock(), 0, name)?
            .map_err(|error| CliError::stream("read", name, error))
    }

    /// The outer error is about the size, the inner one about reading.
    fn read(source: impl Read, len: usize, name: &str) -> Result<io::Result<Self>, CliError> {
        let mut data = Vec::with_capacity(len);
        if let Err(error) = source.take(VALUE_SIZE_MAX + 1).read_to_end(&mut data) {
            return Ok(Err(error));
        }
        if data.len() as u64 > VALUE_SIZE_MAX {
            let message = format!("{name}: value too large, over the protocol's limit of 1 GiB");
            return Err(CliError::Failed(message));
        }
        Ok(Ok(Self::of(data.into())))
    }
}

pub(super) fn check_key(key: &[u8]) -> Result<(), CliError> {
    if (1..=KEY_SIZE_MAX).contains(&key.len()) {
        return Ok(());
    }
    let size = key.len();
    let message = format!("key of {size} bytes: it needs 1 to {KEY_SIZE_MAX}");
    Err(CliError::Failed(message))
}

/// A server that names values in another way than was said stores them under other keys.
pub(super) fn expect_key(sent: &[u8], stands: &[u8]) -> Result<(), CliError> {
    if sent == stands {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "the server names values by their content: it stored this one under {} and not under {}; \
         leave --user-keys out, or start the server with --allow-user-key",
        stands.escape_ascii(),
        sent.escape_ascii()
    )))
}
