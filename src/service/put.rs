//! Put: a value under a key, by the store's rule or on a condition. zstdb's Set is one of its forms.
//!
//! A condition on the version, or on whether the key is there, is judged by the shard's actor. One
//! on the digest, and an expiry that is to be kept, rest on what is read here first; the actor is
//! then asked for exactly the version that was read, and what another writer overtook is read again.

use super::Service;
use super::checked::{Checked, key_of};
use super::large::{Naming, Whole};
use super::link::{Target, command_of};
use crate::codec::{encode_attributes, payload_sum};
use crate::model::{
    Attributes, Codec, Condition, Digest, Error, ErrorKind, Existing, Key, Lifetime, Namespace,
    PutBody, Reply, Result, SealedValue, Timestamp, Version,
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

/// How a value is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a> {
    /// In the key's own record.
    Small,
    /// As a content with a home of its own.
    Home,
    /// In chunks, which are there.
    List(&'a Whole),
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
        let form = if large { Form::Home } else { Form::Small };
        self.put_checked(&put, &value, form).await
    }

    /// Stores a value whose sums and size were checked.
    pub(super) async fn put_checked(
        &self,
        put: &Put<'_>,
        value: &Checked,
        form: Form<'_>,
    ) -> Result<PutDone> {
        let by_content = put.namespace.options.by_content;
        let key = key_of(put.namespace, put.key, value.digest.filter(|_| by_content))?;
        self.check_rule(put, by_content)?;
        for _ in 0..ATTEMPTS_MAX {
            let terms = self.terms(&key, put, by_content).await?;
            let is_guess = terms.is_guess;
            let (done, refused) = match self.store(&key, value, form, terms).await? {
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
            return Err(first_value_stays().at("condition"));
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

    async fn store(
        &self,
        key: &Key,
        value: &Checked,
        form: Form<'_>,
        terms: Terms,
    ) -> Result<Reply> {
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
        match (form, value.digest) {
            (Form::List(whole), _) => {
                let naming = Naming::Key(key.clone(), target);
                return self.put_list(whole, &naming).await;
            }
            (Form::Home, Some(digest)) => {
                return self.put_content(key, digest, value.clone(), target).await;
            }
            _ => {}
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

/// That nothing can be asked of a value but that it is not there.
pub(super) fn first_value_stays() -> Error {
    let message = "a key keeps its first value here (keys.overwrite, or the namespace's overwrite, is off): of the conditions, only absence can be asked for";
    Error::new(ErrorKind::Disabled, "OVERWRITE_DISABLED", message)
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
