//! Put: a value under a key, by the store's rule or on a condition. zstdb's Set is one of its forms.
//!
//! A condition on the version, or on whether the key is there, is judged by the shard's actor. One
//! on the digest, and an expiry that is to be kept, rest on what is read here first; the actor is
//! then asked for exactly the version that was read, and what another writer overtook is read again.

use super::Service;
use super::link::{Target, command_of};
use crate::codec::{digest_of, encode_attributes, payload_sum, sum64_of};
use crate::model::{
    Attributes, Codec, Condition, Digest, Error, ErrorKind, Existing, Key, Lifetime, Namespace,
    NamespaceId, PutBody, Reply, Result, SealedValue, Timestamp, ValueInfo, Version,
};
use crate::shard::{Epoch, Look};
use bytes::Bytes;

/// A change that rests on what was read is tried again this often when others overtake it.
pub(super) const ATTEMPTS_MAX: usize = 64;

/// A value to be stored.
#[derive(Debug, Clone)]
pub struct Put<'a> {
    /// Where the key is.
    pub namespace: &'a Namespace,
    /// The key. In content mode it may be empty, or the digest's 64 hex digits.
    pub key: &'a [u8],
    /// The raw value.
    pub data: Bytes,
    /// xxh64 of the raw value, if it is to be checked.
    pub sum64: Option<u64>,
    /// BLAKE3 of the raw value, if it is to be checked.
    pub digest: Option<Digest>,
    /// When it may be stored.
    pub rule: PutRule,
    /// How long it stays.
    pub lifetime: Lifetime,
    /// What stands with it.
    pub attributes: Attributes,
}

/// When a put may take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutRule {
    /// As the store is configured; a key that keeps its first value does so quietly, and nobody
    /// asks for the digest.
    Quiet,
    /// As the store is configured; that a key keeps its first value is an error.
    Free,
    /// Only on a condition.
    If(Requirement),
}

/// What must be so under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// It is judged where the record is.
    Record(Condition),
    /// The value has this digest.
    Digest(Digest),
}

/// What a put did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutDone {
    /// The key under which the value stands.
    pub key: Key,
    /// The version of its record.
    pub version: Version,
    /// The digest; `None` for a quiet put that had no need of it.
    pub digest: Option<Digest>,
    /// The version of the record that was replaced.
    pub previous: Option<Version>,
    /// Whether a record was written. If not, the content was there under its key.
    pub changed: bool,
    /// Whether bytes of the value were stored, rather than found.
    pub stored: bool,
}

/// A value whose checksum matched, with what its storing needs to know.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub data: Bytes,
    pub info: ValueInfo,
    /// BLAKE3, where the value's name or home needs it.
    pub digest: Option<Digest>,
    /// Whether it may be compressed.
    pub compress: bool,
}

/// What a look at a put's key found.
#[derive(Debug)]
enum Looked {
    /// The put would change nothing.
    Stored(Version),
    /// The key has no record.
    Absent(Epoch),
    /// It has one, or nobody looked.
    Other,
}

/// What the actor is asked for.
#[derive(Debug, Clone)]
struct Terms {
    existing: Existing,
    expiry: Option<Timestamp>,
    /// Encoded.
    attributes: Bytes,
    /// Whether they rest on what was read: a refusal then says that another writer was faster.
    is_guess: bool,
}

impl Service {
    /// Stores a value and returns the key under which it stands: the digest in hex in content
    /// mode, where `key` is ignored, else `key`.
    ///
    /// # Errors
    /// As [`Service::put`].
    pub async fn set(&self, key: &[u8], data: Bytes, sum64: u64) -> Result<Key> {
        let namespace = self.default_namespace();
        let key = if namespace.options.by_content {
            &[]
        } else {
            key
        };
        let put = Put {
            namespace,
            key,
            data,
            sum64: Some(sum64),
            digest: None,
            rule: PutRule::Quiet,
            lifetime: Lifetime::Forever,
            attributes: Attributes::default(),
        };
        Ok(self.put(put).await?.key)
    }

    /// Stores a value.
    ///
    /// # Errors
    /// In this order: `Disabled` (`SET_DISABLED`), `DiskFull` (`DISK_FULL`), `Invalid`
    /// (`SUM64_MISMATCH`, `DIGEST_MISMATCH`), `TooLarge` (`VALUE_TOO_LARGE`), `Invalid`
    /// (`KEY_EMPTY`, `KEY_NOT_DIGEST`), `TooLarge` (`KEY_TOO_LARGE`), `Invalid` or `Disabled` for a
    /// condition that the store's rules leave no room for, then what the shards answer; a condition
    /// that does not hold is `AlreadyExists`, `NotFound` or `Conflict`.
    pub async fn put(&self, put: Put<'_>) -> Result<PutDone> {
        self.check_set_allowed()?;
        let options = &put.namespace.options;
        let by_content = options.by_content;
        let large = options.dedup && self.has_home(by_content, put.data.len());
        let value = self.check(&put, by_content || large).await?;
        let key = key_of(put.namespace, put.key, value.digest.filter(|_| by_content))?;
        self.check_rule(&put, by_content)?;
        for _ in 0..ATTEMPTS_MAX {
            let terms = self.terms(&key, &put, by_content).await?;
            let is_guess = terms.is_guess;
            let (done, refused) = match self.store(&key, &value, large, terms).await? {
                Reply::Refused { found } => (None, found),
                reply => (done_of(&reply, &key, value.digest), None),
            };
            match done {
                Some(done) if done.changed || by_content || put.rule == PutRule::Quiet => {
                    return Ok(done);
                }
                Some(kept) => return Err(exists(&key, Some(kept.version))),
                None if is_guess => {}
                None => return Err(refusal(&key, put.rule, refused)),
            }
        }
        Err(overtaken(&key))
    }

    /// What a rule asks for must be possible at all here.
    fn check_rule(&self, put: &Put<'_>, by_content: bool) -> Result<()> {
        let PutRule::If(requirement) = put.rule else {
            return Ok(());
        };
        if requirement == Requirement::Record(Condition::Absent) {
            return Ok(());
        }
        if by_content {
            let message = "a value cannot change under its content's key: of the conditions, only absence can be asked for (keys.mode)";
            return Err(Error::invalid("CONDITION_ON_CONTENT", message).at("condition"));
        }
        if !put.namespace.options.overwrite {
            let message = "a key keeps its first value here (keys.overwrite, or the namespace's overwrite, is off): of the conditions, only absence can be asked for";
            let error = Error::new(ErrorKind::Disabled, "OVERWRITE_DISABLED", message);
            return Err(error.at("condition"));
        }
        Ok(())
    }

    /// What the actor is asked for, after a look at the record where the put rests on one.
    async fn terms(&self, key: &Key, put: &Put<'_>, by_content: bool) -> Result<Terms> {
        let existing = match put.rule {
            PutRule::If(Requirement::Record(condition)) => Existing::Require(condition),
            PutRule::If(Requirement::Digest(digest)) => {
                Existing::Require(self.version_with(key, digest).await?)
            }
            PutRule::Quiet | PutRule::Free if by_content => Existing::KeepSameContent,
            PutRule::Quiet | PutRule::Free if put.namespace.options.overwrite => Existing::Replace,
            PutRule::Quiet | PutRule::Free => Existing::Keep,
        };
        let is_guess = matches!(put.rule, PutRule::If(Requirement::Digest(_)));
        let terms = Terms {
            existing,
            expiry: put.lifetime.expiry(None),
            attributes: encode_attributes(&put.attributes),
            is_guess,
        };
        if put.lifetime == Lifetime::Kept {
            return self.kept_terms(key, terms);
        }
        Ok(terms)
    }

    /// The terms of a put that keeps the expiry of the record that it replaces.
    fn kept_terms(&self, key: &Key, terms: Terms) -> Result<Terms> {
        let found = self.router().find(key)?;
        let version = found.as_ref().map(|found| found.row.version);
        let seen = version.map_or(Condition::Absent, Condition::Version);
        let (existing, is_guess) = match terms.existing {
            // What must be there and is not is refused as just that.
            present @ Existing::Require(Condition::Present) if version.is_none() => {
                (present, terms.is_guess)
            }
            Existing::Replace | Existing::Require(Condition::Present) => {
                (Existing::Require(seen), true)
            }
            other => (other, terms.is_guess),
        };
        Ok(Terms {
            existing,
            expiry: found.and_then(|found| found.row.expiry),
            is_guess,
            ..terms
        })
    }

    async fn store(&self, key: &Key, value: &Checked, large: bool, terms: Terms) -> Result<Reply> {
        let Terms {
            existing,
            expiry,
            attributes,
            ..
        } = terms;
        let absent = match self.look(key, existing, value.digest)? {
            Looked::Stored(version) => return Ok(Reply::Unchanged { version }),
            Looked::Absent(epoch) => Some(epoch),
            Looked::Other => None,
        };
        let target = Target::Put {
            existing,
            expiry,
            attributes,
        };
        if let Some(digest) = value.digest.filter(|_| large) {
            return self.put_content(key, digest, value.clone(), target).await;
        }
        let body = PutBody::Small(self.seal(value.clone()).await?);
        let command = command_of(key, body, &target);
        let shard = self.router().shard_of_key(key);
        let reply = self.router().write_new(shard, command, absent).await?;
        self.after(&reply, key).await;
        Ok(reply)
    }

    /// Whether a value is stored apart from its key. Under its content key it is stored once as it
    /// is, so only what is large enough to be worth sharing with user keys goes apart.
    pub(super) fn has_home(&self, by_content: bool, len: usize) -> bool {
        /// Below this, three records instead of one cost more than sharing saves.
        const CONTENT_MIN: usize = 64 * 1024;
        let min = self.rules().dedup_min;
        len >= if by_content {
            min.max(CONTENT_MIN)
        } else {
            min
        }
    }

    /// Checksum and, where it is needed, digest; then the size.
    async fn check(&self, put: &Put<'_>, is_named_by_digest: bool) -> Result<Checked> {
        let raw = put.data.clone();
        let want_digest = is_named_by_digest || put.digest.is_some() || put.rule != PutRule::Quiet;
        let hash = move || (sum64_of(&raw), want_digest.then(|| digest_of(&raw)));
        let (sum64, digest) = if put.data.len() < self.rules().offload_size {
            hash()
        } else {
            self.0.cpu.run(hash).await?
        };
        self.checked(put, (sum64, digest))
    }

    /// The value of a put whose sums were computed, if it is what the client says and not too large.
    pub(super) fn checked(
        &self,
        put: &Put<'_>,
        (sum64, digest): (u64, Option<Digest>),
    ) -> Result<Checked> {
        check_sums(put, sum64, digest)?;
        let size = put.data.len() as u64;
        let (max, limit) = self.value_size_max(put.namespace);
        if size > max {
            let message = format!("value too large: size={size}, max={max} ({limit})");
            return Err(Error::too_large("VALUE_TOO_LARGE", message).at("value"));
        }
        Ok(Checked {
            info: ValueInfo {
                raw_len: size,
                sum64,
            },
            data: put.data.clone(),
            digest,
            compress: put.namespace.options.compress,
        })
    }

    /// The largest value of a namespace, and what says so.
    fn value_size_max(&self, namespace: &Namespace) -> (u64, String) {
        let server = self.rules().value_size_max;
        match namespace.options.value_size_max.filter(|max| *max < server) {
            Some(max) => (
                max,
                format!("value_size_max of namespace {}", namespace.name),
            ),
            None => (server, "server.max_upload_size".to_owned()),
        }
    }

    /// What the index knows of the put's key: what is in it is durable, so a put that would change
    /// nothing may be answered at once.
    fn look(&self, key: &Key, existing: Existing, digest: Option<Digest>) -> Result<Looked> {
        if matches!(existing, Existing::Replace | Existing::Require(_)) {
            return Ok(Looked::Other);
        }
        let found = match self.router().look(key)? {
            Look::Absent(epoch) => return Ok(Looked::Absent(epoch)),
            Look::Found(found) => found,
        };
        if !found.row.is_live(self.router().now()) {
            return Ok(Looked::Other);
        }
        let stored = match (existing, found.link()) {
            // A content that is gone is stored again, which mends its key.
            (Existing::KeepSameContent, Some(link)) => {
                Some(link.digest) == digest && self.router().find_blob(link.digest)?.is_some()
            }
            (Existing::KeepSameContent, None) => found.row.content,
            _ => true,
        };
        Ok(if stored {
            Looked::Stored(found.row.version)
        } else {
            Looked::Other
        })
    }

    pub(super) async fn seal(&self, value: Checked) -> Result<SealedValue> {
        if value.data.len() < self.rules().offload_size {
            return Ok(self.seal_here(value));
        }
        let service = self.clone();
        self.0.cpu.run(move || service.seal_here(value)).await
    }

    /// Seals a value in this thread.
    pub(super) fn seal_here(&self, value: Checked) -> SealedValue {
        let Checked {
            data,
            info,
            digest,
            compress,
        } = value;
        match compress {
            true => self.0.sealing.seal(data, info, digest),
            false => SealedValue {
                info,
                digest,
                codec: Codec::Raw,
                payload_sum: payload_sum(&data),
                payload: data,
            },
        }
    }
}

/// A key that a client sent, in its namespace.
pub(super) fn key_in(namespace: &Namespace, key: &[u8]) -> Result<Key> {
    Key::in_namespace(namespace.id, key).map_err(|error| error.at("key"))
}

fn check_sums(put: &Put<'_>, sum64: u64, digest: Option<Digest>) -> Result<()> {
    let size = put.data.len();
    if let Some(expected) = put.sum64
        && expected != sum64
    {
        let message = format!(
            "data sum64 does not match: xxh64 of the {size} bytes received is {sum64}, the request says {expected}"
        );
        return Err(Error::invalid("SUM64_MISMATCH", message).at("sum64"));
    }
    if let (Some(expected), Some(digest)) = (put.digest, digest)
        && expected != digest
    {
        let message = format!(
            "digest does not match: BLAKE3 of the {size} bytes received is {digest}, the request says {expected}"
        );
        return Err(Error::invalid("DIGEST_MISMATCH", message).at("digest"));
    }
    Ok(())
}

/// The key under which a value stands, by its digest in content mode.
pub(super) fn key_of(namespace: &Namespace, sent: &[u8], by_digest: Option<Digest>) -> Result<Key> {
    match by_digest {
        Some(digest) => content_key(namespace.id, sent, digest),
        None => key_in(namespace, sent),
    }
}

/// The key of a content; the one that was sent may only be the same.
fn content_key(namespace: NamespaceId, sent: &[u8], digest: Digest) -> Result<Key> {
    if sent.is_empty() || Digest::parse_hex(sent) == Some(digest) {
        return Key::in_namespace(namespace, &digest.to_hex());
    }
    let message = format!(
        "key is not the content's digest: values stand under their BLAKE3 digest here (keys.mode), which is {digest}; send that key or none"
    );
    Err(Error::invalid("KEY_NOT_DIGEST", message).at("key"))
}

/// What a reply to a put's command says; `None` for what is none.
pub(super) fn done_of(reply: &Reply, key: &Key, digest: Option<Digest>) -> Option<PutDone> {
    let done = |version, previous, changed, stored| PutDone {
        key: key.clone(),
        version,
        digest,
        previous,
        changed,
        stored,
    };
    match *reply {
        Reply::Put {
            version,
            previous,
            stored,
            ..
        } => Some(done(version, previous, true, stored)),
        Reply::Unchanged { version } => Some(done(version, None, false, false)),
        _ => None,
    }
}

/// Why a condition does not hold.
pub(super) fn refusal(key: &Key, rule: PutRule, found: Option<Version>) -> Error {
    match rule {
        PutRule::If(Requirement::Record(Condition::Absent)) => exists(key, found),
        PutRule::If(Requirement::Record(Condition::Present)) => missing(key),
        PutRule::If(Requirement::Record(Condition::Version(wanted))) => {
            let found = found.map_or("not there".to_owned(), |it| format!("at version {it}"));
            let message = format!(
                "key {key} is {found}, the condition asks for version {wanted}: read it and try again"
            );
            Error::new(ErrorKind::Conflict, "VERSION_MISMATCH", message).at("condition.version")
        }
        PutRule::If(Requirement::Digest(_)) | PutRule::Quiet | PutRule::Free => overtaken(key),
    }
}

/// That a key which must be there is not.
#[must_use]
pub fn missing(key: &Key) -> Error {
    let message = format!("key {key} is not there");
    Error::new(ErrorKind::NotFound, "KEY_NOT_FOUND", message)
}

pub(super) fn exists(key: &Key, version: Option<Version>) -> Error {
    let version = version.unwrap_or_default();
    let message = format!("key {key} is there already, at version {version}");
    Error::new(ErrorKind::AlreadyExists, "KEY_EXISTS", message)
}

pub(super) fn overtaken(key: &Key) -> Error {
    let message = format!(
        "key {key} was changed by others {ATTEMPTS_MAX} times while this change was made: try again"
    );
    Error::new(ErrorKind::Conflict, "KEY_CONTENDED", message)
}
