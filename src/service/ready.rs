//! The steps of a commit, checked and sealed, and their large values stored where they belong.

use super::Service;
use super::checked::{Checked, key_in, key_of};
use super::commit::{NewEntry, Step, check_keys_once, existing_in_commit};
use super::derived::{Derived, Outcome};
use super::increment::counter_key;
use super::link::random_u128;
use super::put::{Put, PutRule};
use crate::codec::{digest_of, encode_attributes, sum64_of};
use crate::dedup::OpenReference;
use crate::model::{
    BlobRef, Change, Digest, Error, Key, Lifetime, Namespace, NewValue, Operation, PutBody, RefId,
    Result, SealedValue,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A step that only has to be done.
#[derive(Debug)]
pub(super) struct Ready {
    pub key: Key,
    change: ReadyChange,
}

#[derive(Debug)]
enum ReadyChange {
    Put(Box<ReadyPut>),
    Delete,
    Derived(Derived),
}

#[derive(Debug)]
struct ReadyPut {
    body: Body,
    digest: Digest,
    lifetime: Lifetime,
    attributes: Bytes,
}

#[derive(Debug)]
enum Body {
    /// It stands in its key's own record.
    Small(SealedValue),
    /// It has a home of its own, where it may be stored already.
    Large(Digest, Checked),
}

/// A list whose values are where they belong.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub operations: Vec<Operation>,
    /// Of the values, in the order of the operations.
    pub digests: Vec<Option<Digest>>,
    /// References that were made and that no record names yet.
    pub held: Vec<Held>,
    /// The operations that rest on what is under their keys, by their places.
    pub derived: Vec<(usize, Derived)>,
    /// What is to be told of those, as of the last look.
    pub outcomes: BTreeMap<usize, Outcome>,
}

/// A reference that was made for an operation.
#[derive(Debug)]
pub(super) struct Held {
    /// Which operation of its list.
    pub place: usize,
    /// Whether bytes were stored.
    pub stored: bool,
    pub open: OpenReference,
    pub blob: BlobRef,
}

impl Stored {
    fn push(&mut self, key: Key, digest: Option<Digest>, change: Change) {
        self.operations.push(Operation { key, change });
        self.digests.push(digest);
    }
}

impl Service {
    /// Checks and seals a list of steps.
    ///
    /// # Errors
    /// What is wrong with a step, with the field named; `KEY_TWICE`.
    pub(super) async fn make_ready(
        &self,
        namespace: &Arc<Namespace>,
        steps: Vec<Step>,
        list: &'static str,
    ) -> Result<Vec<Ready>> {
        let size: usize = steps.iter().map(Step::size).sum();
        let (service, namespace) = (self.clone(), namespace.clone());
        let work = move || {
            let numbered = steps.into_iter().enumerate();
            let ready = numbered.map(|(number, step)| {
                let ready = service.ready(&namespace, step);
                ready.map_err(|error| error.inside(&format!("{list}[{number}]")))
            });
            let ready: Vec<Ready> = ready.collect::<Result<_>>()?;
            check_keys_once(&ready, list)?;
            Ok(ready)
        };
        match size < self.rules().offload_size {
            true => work(),
            false => self.0.cpu.run(work).await?,
        }
    }

    fn ready(&self, namespace: &Namespace, step: Step) -> Result<Ready> {
        match step {
            Step::Delete(key) => Ok(Ready {
                key: key_in(namespace, &key)?,
                change: ReadyChange::Delete,
            }),
            Step::Put(entry) => self.ready_put(namespace, *entry),
            Step::Touch(key, lifetime) => Ok(Ready {
                key: key_in(namespace, &key)?,
                change: ReadyChange::Derived(Derived::Touch(lifetime)),
            }),
            Step::Increment(key, addition) => {
                let unset = namespace.default_lifetime(self.now());
                Ok(Ready {
                    key: counter_key(namespace, &key)?,
                    change: ReadyChange::Derived(Derived::Increment(addition, unset)),
                })
            }
        }
    }

    fn ready_put(&self, namespace: &Namespace, entry: NewEntry) -> Result<Ready> {
        let digest = digest_of(&entry.data);
        let sums = (sum64_of(&entry.data), Some(digest));
        let attributes = encode_attributes(&entry.attributes);
        let put = Put {
            namespace,
            key: &entry.key,
            data: entry.data,
            sum64: entry.sum64,
            digest: entry.digest,
            rule: PutRule::Free,
            lifetime: entry.lifetime,
            attributes: entry.attributes,
        };
        let options = &namespace.options;
        let value = self.checked(&put, sums);
        let value = value.map_err(|error| error.inside("put"))?;
        let by_digest = Some(digest).filter(|_| options.by_content);
        let key = key_of(namespace, put.key, by_digest)?;
        let is_large = options.dedup && self.has_home(options.by_content, value.data.len());
        let body = match is_large {
            true => Body::Large(digest, value),
            false => Body::Small(self.seal_here(value)),
        };
        Ok(Ready {
            key,
            change: ReadyChange::Put(Box::new(ReadyPut {
                body,
                digest,
                lifetime: entry.lifetime,
                attributes,
            })),
        })
    }

    /// Stores the large values of a list, with a reference for each.
    ///
    /// # Errors
    /// What the shards answer; no reference is left then.
    pub(super) async fn store_contents(
        &self,
        namespace: &Namespace,
        list: Vec<Ready>,
    ) -> Result<Stored> {
        let existing = existing_in_commit(namespace);
        let mut stored = Stored::default();
        let mut storing = Vec::new();
        for (place, Ready { key, change }) in list.into_iter().enumerate() {
            let put = match change {
                ReadyChange::Put(put) => put,
                ReadyChange::Delete => {
                    stored.push(key, None, Change::Delete);
                    continue;
                }
                ReadyChange::Derived(step) => {
                    stored.derived.push((place, step));
                    stored.push(key, None, Change::Refused);
                    continue;
                }
            };
            let body = match put.body {
                Body::Small(value) => PutBody::Small(value),
                Body::Large(digest, value) => {
                    let (service, owner) = (self.clone(), key.clone());
                    let (blob, info) = (blob_of(digest)?, value.info);
                    storing.push(tokio::spawn(async move {
                        service.hold(place, blob, &owner, value).await
                    }));
                    PutBody::Away { blob, info }
                }
            };
            let value = NewValue {
                body,
                existing,
                lifetime: put.lifetime,
                attributes: put.attributes,
            };
            stored.push(key, Some(put.digest), Change::Put(Box::new(value)));
        }
        let mut failed = None;
        for held in storing {
            let lost = |_| Error::internal("TASK_FAILED", "a value of the commit was lost");
            match held.await.map_err(lost).flatten() {
                Ok(held) => stored.held.push(held),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => Ok(stored),
            Some(error) => {
                self.let_go(stored.held).await;
                Err(error)
            }
        }
    }

    /// Makes sure that a content is there, with a reference that its owner will name.
    async fn hold(&self, place: usize, blob: BlobRef, owner: &Key, value: Checked) -> Result<Held> {
        let open = self.0.parts.dedup.open_reference(blob.ref_id);
        let mut flight = None;
        loop {
            let bytes = self.bytes_to_store(blob.digest, &value, &mut flight);
            if let Some(stored) = self.refer(blob, owner, bytes.await?).await? {
                return Ok(Held {
                    place,
                    stored,
                    open,
                    blob,
                });
            }
        }
    }

    /// Drops references that no record will name.
    pub(super) async fn let_go(&self, held: Vec<Held>) {
        let drop_each = held.into_iter().map(|held| {
            let service = self.clone();
            tokio::spawn(async move {
                service.drop_reference(held.blob).await;
                drop(held.open);
            })
        });
        for dropped in drop_each.collect::<Vec<_>>() {
            let _ = dropped.await; // What a panic leaves, the sweep finds.
        }
    }
}

/// A new reference to a value's content.
pub(super) fn blob_of(digest: Digest) -> Result<BlobRef> {
    let ref_id = RefId(random_u128()?);
    Ok(BlobRef { digest, ref_id })
}
