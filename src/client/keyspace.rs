//! The keys of one namespace: reads, now or as of a snapshot, and writes of one key.
//!
//! Reads are made again when the connection breaks. So are writes without a condition, under a
//! `request_id` that the server does once; a server that was started anew meanwhile does them again,
//! which leaves what they say. Writes on conditions and counts are made again by the run of the server
//! that knows them: which one that is, the answer of an earlier write tells. The first of a client is
//! made again only when the server says that it was not begun.

use super::again::Twice;
use super::connect::{MESSAGE_SIZE_MAX, Pool};
use super::entry::{Entry, Expect, PutOptions, Stay, Stored, Value, version_of, wire_type};
use super::error::reason_of;
use super::retry::Repeat;
use super::{ClientError, Result, Snapshot, sum64};
use crate::model::Version;
use crate::proto::v1;
use crate::proto::v1::key_value_service_client::KeyValueServiceClient;
use bytes::Bytes;
use tonic::Status;
use tonic::transport::Channel;

/// The generated client over one connection.
type Wire = KeyValueServiceClient<Channel>;

/// The keys of one namespace. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Keyspace {
    pub(super) pool: Pool,
    pub(super) namespace: String,
    /// Where reads are from; empty for now.
    pub(super) snapshot: String,
}

impl Keyspace {
    pub(super) fn new(pool: Pool, namespace: String) -> Self {
        Self {
            pool,
            namespace,
            snapshot: String::new(),
        }
    }

    /// The same keys, read as they were at a snapshot. Writes are of now, as ever.
    #[must_use]
    pub fn at(&self, snapshot: &Snapshot) -> Self {
        self.at_id(snapshot.id())
    }

    /// As [`Keyspace::at`], of a snapshot that somebody else holds; of now when the id is empty.
    #[must_use]
    pub fn at_id(&self, snapshot: impl Into<String>) -> Self {
        Self {
            snapshot: snapshot.into(),
            ..self.clone()
        }
    }

    /// Reads a value and verifies its checksum; `None` when the key is not there.
    ///
    /// # Errors
    /// [`ClientError::Damaged`], [`ClientError::Gone`] and those of every call.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Value>> {
        let Some(found) = self.fetch(key.into(), None).await? else {
            return Ok(None);
        };
        Value::verified(found.entry.unwrap_or_default(), found.value).map(Some)
    }

    /// A value, or a part of it, as it came.
    pub(super) async fn fetch(
        &self,
        key: Bytes,
        range: Option<v1::ByteRange>,
    ) -> Result<Option<v1::GetResponse>> {
        let request = v1::GetRequest {
            namespace: self.namespace.clone(),
            key,
            snapshot: self.snapshot.clone(),
            range,
        };
        let found = self.pool.call(Repeat::Always, |channel| {
            let request = request.clone();
            async move { wire(channel).get(request).await }
        });
        self.there("get", found.await)
    }

    /// What is known of a key without reading its value; `None` when it is not there.
    ///
    /// # Errors
    /// [`ClientError::Gone`] and those of every call.
    pub async fn head(&self, key: impl Into<Bytes>) -> Result<Option<Entry>> {
        let request = v1::HeadRequest {
            namespace: self.namespace.clone(),
            key: key.into(),
            snapshot: self.snapshot.clone(),
        };
        let found = self.pool.call(Repeat::Always, |channel| {
            let request = request.clone();
            async move { wire(channel).head(request).await }
        });
        let found = self.there("head", found.await)?;
        Ok(found.map(|found| Entry::of(found.entry.unwrap_or_default())))
    }

    /// Reads up to 10,000 keys as of one moment, in their order; `None` for one that is not there.
    ///
    /// # Errors
    /// [`ClientError::Damaged`], [`ClientError::Gone`] and those of every call.
    pub async fn get_many<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        let keys = keys.into_iter().map(Into::into).collect();
        let found = self.batch_get(keys, false).await?;
        let value = |result: v1::BatchGetResult| {
            let entry = result.entry;
            entry.map(|entry| Value::verified(entry, result.value))
        };
        let values = found.into_iter();
        values.map(|result| value(result).transpose()).collect()
    }

    async fn batch_get(
        &self,
        keys: Vec<Bytes>,
        entries_only: bool,
    ) -> Result<Vec<v1::BatchGetResult>> {
        let request = v1::BatchGetRequest {
            namespace: self.namespace.clone(),
            keys,
            entries_only,
            snapshot: self.snapshot.clone(),
            range: None,
        };
        let found = self.pool.call(Repeat::Always, |channel| {
            let request = request.clone();
            async move { wire(channel).batch_get(request).await }
        });
        let found = found.await;
        let found = found.map_err(|status| self.pool.failed("batch get", &status))?;
        Ok(found.results)
    }

    /// What is known of up to 10,000 keys as of one moment, in their order; `None` for one that is not
    /// there.
    ///
    /// # Errors
    /// [`ClientError::Gone`] and those of every call.
    pub async fn heads<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Entry>>> {
        let keys = keys.into_iter().map(Into::into).collect();
        let found = self.batch_get(keys, true).await?.into_iter();
        Ok(found.map(|it| it.entry.map(Entry::of)).collect())
    }

    /// Stores a value, whatever was there.
    ///
    /// # Errors
    /// [`ClientError::Refused`] and those of every call.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Stored> {
        let options = PutOptions::default();
        self.put_with(key, value, options).await
    }

    /// Stores a value if what is under its key is as expected.
    ///
    /// # Errors
    /// [`ClientError::Conflict`], [`ClientError::NotFound`] and those of every call.
    pub async fn put_if(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        expect: Expect,
    ) -> Result<Stored> {
        let options = PutOptions {
            only_if: Some(expect),
            ..PutOptions::default()
        };
        self.put_with(key, value, options).await
    }

    /// Stores a value as the options say.
    ///
    /// # Errors
    /// As [`Keyspace::put_if`].
    pub async fn put_with(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Stored> {
        let (key, value) = (key.into(), value.into());
        let request = v1::PutRequest {
            namespace: self.namespace.clone(),
            key: key.clone(),
            sum64: Some(sum64(&value)),
            value,
            condition: options.only_if.map(Into::into),
            expiry: options.lifetime.wire(),
            value_type: wire_type(options.value_type).into(),
            metadata: options.metadata,
            request_id: request_id(),
            ..v1::PutRequest::default()
        };
        let twice = Twice::on_condition(options.only_if.is_some());
        let stored = self
            .pool
            .write("put", (request, twice), |channel, request| async move {
                wire(channel).put(request).await
            });
        let stored = stored
            .await?
            .map_err(|status| self.failed_on("put", &key, &status))?;
        Ok(Stored::of(stored))
    }

    /// Removes a key, and tells whether it was there.
    ///
    /// # Errors
    /// [`ClientError::Refused`] and those of every call.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<bool> {
        let deleted = self.delete_now(key.into(), None).await?;
        Ok(deleted.is_some())
    }

    /// Removes a key if what is under it is as expected; the version that was removed.
    ///
    /// # Errors
    /// [`ClientError::Conflict`], [`ClientError::NotFound`] and those of every call.
    pub async fn delete_if(
        &self,
        key: impl Into<Bytes>,
        expect: Expect,
    ) -> Result<Option<Version>> {
        self.delete_now(key.into(), Some(expect)).await
    }

    async fn delete_now(&self, key: Bytes, only_if: Option<Expect>) -> Result<Option<Version>> {
        let request = v1::DeleteRequest {
            namespace: self.namespace.clone(),
            key: key.clone(),
            condition: only_if.map(Into::into),
            request_id: request_id(),
            ..v1::DeleteRequest::default()
        };
        let twice = Twice::on_condition(only_if.is_some());
        let deleted = self
            .pool
            .write("delete", (request, twice), |channel, request| async move {
                wire(channel).delete(request).await
            });
        let deleted = deleted
            .await?
            .map_err(|status| self.failed_on("delete", &key, &status))?;
        Ok(version_of(deleted.previous_version).filter(|_| deleted.deleted))
    }

    /// Sets how long a key stays, and leaves its value; [`Stay::Default`] is for ever here.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and those of every call.
    pub async fn touch(&self, key: impl Into<Bytes>, stay: Stay) -> Result<Entry> {
        self.touch_now(key.into(), stay, None).await
    }

    /// As [`Keyspace::touch`], if what is under the key is as expected.
    ///
    /// # Errors
    /// [`ClientError::Conflict`] and as there.
    pub async fn touch_if(
        &self,
        key: impl Into<Bytes>,
        stay: Stay,
        expect: Expect,
    ) -> Result<Entry> {
        self.touch_now(key.into(), stay, Some(expect)).await
    }

    async fn touch_now(&self, key: Bytes, stay: Stay, only_if: Option<Expect>) -> Result<Entry> {
        let request = v1::TouchRequest {
            namespace: self.namespace.clone(),
            key: key.clone(),
            expiry: stay.wire(),
            condition: only_if.map(Into::into),
            request_id: request_id(),
            ..v1::TouchRequest::default()
        };
        let twice = Twice::on_condition(only_if.is_some());
        let touched = self
            .pool
            .write("touch", (request, twice), |channel, request| async move {
                wire(channel).touch(request).await
            });
        let touched = touched
            .await?
            .map_err(|status| self.failed_on("touch", &key, &status))?;
        Ok(Entry::of(touched.entry.unwrap_or_default()))
    }

    /// An answer, or `None` where only the key is not there.
    pub(super) fn there<T>(
        &self,
        call: &'static str,
        answer: Result<T, Status>,
    ) -> Result<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(status) if is_missing_key(&status) => Ok(None),
            Err(status) => Err(self.pool.failed(call, &status)),
        }
    }

    pub(super) fn failed_on(&self, call: &'static str, key: &[u8], status: &Status) -> ClientError {
        match is_missing_key(status) {
            true => ClientError::not_found(key),
            false => self.pool.failed(call, status),
        }
    }
}

/// The generated client with room for the largest values.
pub(super) fn wire(channel: Channel) -> Wire {
    KeyValueServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_SIZE_MAX)
        .max_encoding_message_size(MESSAGE_SIZE_MAX)
}

fn is_missing_key(status: &Status) -> bool {
    reason_of(status) == "KEY_NOT_FOUND"
}

/// A name for one request; without a random number it has none, and the server does it as it comes.
pub(super) fn request_id() -> String {
    let mut random = [0; 16];
    match getrandom::fill(&mut random) {
        Ok(()) => format!("{:032x}", u128::from_le_bytes(random)),
        Err(_) => String::new(),
    }
}
