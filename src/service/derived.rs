//! Steps of a commit whose change rests on what is under the key: touches, and increments.
//!
//! What is under the key is read before the commit, and the step becomes a put of what follows from
//! it, or is refused. That goes with the test that the key still has the record that was read, so the
//! commit judges, at its one moment, what was seen; when another was faster, all is looked at anew.
//! Which list is done is known only then, so a step that cannot be done fails with its list only.

use super::commit::StepDone;
use super::increment::{Addition, Increment, next};
use super::put::{first_value_stays, missing, overtaken};
use super::ready::{Held, Stored, blob_of};
use super::{Head, Service};
use crate::codec::{encode_attributes, sum64_of};
use crate::model::{
    Change, Error, ErrorKind, Existing, Key, Lifetime, Namespace, NewValue, PutBody, Question,
    Reply, Result, Test,
};
use crate::router::content_missing;
use crate::shard::Found as Record;

/// What such a step does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Derived {
    /// The value is put again, with this lifetime.
    Touch(Lifetime),
    /// Something is added to a counter; one that is not there yet gets this lifetime.
    Increment(Addition, Lifetime),
}

/// What is to be told of such a step.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its key as it is then, but for the version.
    Touched(Box<Head>),
    /// What the counter is then.
    Counted(i64),
    /// Why it cannot be done.
    Fails(Error),
}

/// What follows from what is under a key.
struct Follows {
    value: NewValue,
    outcome: Outcome,
    held: Option<Held>,
}

impl Stored {
    /// The counters that are added to.
    pub(super) fn counters(&self) -> impl Iterator<Item = &Key> {
        let counters = |(place, step): &(usize, Derived)| match step {
            Derived::Increment(..) => Some(&self.operations[*place].key),
            Derived::Touch(_) => None,
        };
        self.derived.iter().filter_map(counters)
    }

    /// The first step that cannot be done, and why.
    pub(super) fn failed(&self) -> Option<(usize, Error)> {
        let mut outcomes = self.outcomes.iter();
        outcomes.find_map(|(place, outcome)| match outcome {
            Outcome::Fails(error) => Some((*place, error.clone())),
            Outcome::Touched(_) | Outcome::Counted(_) => None,
        })
    }

    /// Takes out the references that the last look has made.
    fn take_derived(&mut self) -> Vec<Held> {
        let looked = std::mem::take(&mut self.outcomes);
        let is_derived = |held: &mut Held| looked.contains_key(&held.place);
        self.held.extract_if(.., is_derived).collect()
    }
}

impl Service {
    /// Puts into a list what its derived steps change as of now. The tests that what was seen is still
    /// so.
    ///
    /// # Errors
    /// What the shards answer.
    pub(super) async fn derive(
        &self,
        namespace: &Namespace,
        list: &mut Stored,
    ) -> Result<Vec<Test>> {
        let before = list.take_derived();
        self.let_go(before).await;
        let mut tests = Vec::with_capacity(list.derived.len());
        for (place, step) in list.derived.clone() {
            let key = list.operations[place].key.clone();
            let record = self.router().find(&key)?;
            let version = record.as_ref().map(|record| record.row.version);
            let follows = match step {
                Derived::Touch(lifetime) => self.touched(&key, place, record, lifetime).await,
                Derived::Increment(addition, unset) => {
                    let added = (addition, unset);
                    self.incremented(namespace, &key, record, added).await
                }
            };
            let (change, outcome) = match follows {
                Ok(follows) => {
                    list.held.extend(follows.held);
                    (Change::Put(Box::new(follows.value)), follows.outcome)
                }
                Err(error) if is_of_step(&error) => (Change::Refused, Outcome::Fails(error)),
                Err(error) => return Err(error),
            };
            list.operations[place].change = change;
            list.outcomes.insert(place, outcome);
            let question = Question::Seen {
                version,
                holds: true,
            };
            tests.push(Test { key, question });
        }
        Ok(tests)
    }

    /// The value of a key once more, with another lifetime.
    async fn touched(
        &self,
        key: &Key,
        place: usize,
        record: Option<Record>,
        lifetime: Lifetime,
    ) -> Result<Follows> {
        let record = record.ok_or_else(|| missing(key).at("key"))?;
        let head = self.with_digest(key, Head::of(key, &record)).await?;
        let head = head.ok_or_else(|| overtaken(key))?;
        let info = record.row.info;
        let (body, held) = match record.link() {
            None => (PutBody::Small(self.sealed_again(key, record).await?), None),
            Some(link) => {
                let blob = blob_of(link.digest)?;
                let open = self.0.parts.dedup.open_reference(blob.ref_id);
                if self.refer(blob, key, None).await?.is_none() {
                    return Err(match self.is_at(key, head.version)? {
                        true => content_missing(self.router().shard_of_key(key), key),
                        false => overtaken(key),
                    });
                }
                let held = Held {
                    place,
                    stored: false,
                    open,
                    blob,
                };
                (PutBody::Away { blob, info }, Some(held))
            }
        };
        let value = NewValue {
            body,
            existing: Existing::Replace,
            lifetime,
            attributes: head.attributes.clone(),
        };
        let expiry = lifetime.expiry(head.expiry);
        let outcome = Outcome::Touched(Box::new(Head { expiry, ..head }));
        Ok(Follows {
            value,
            outcome,
            held,
        })
    }

    /// What a counter is next.
    async fn incremented(
        &self,
        namespace: &Namespace,
        key: &Key,
        record: Option<Record>,
        (addition, unset): (Addition, Lifetime),
    ) -> Result<Follows> {
        let counted = self.add_to(key, record.as_ref(), addition).await;
        let counted = counted.map_err(|error| match error.field() {
            Some("delta") => error.inside("increment"),
            _ => error,
        })?;
        let (value, before) = counted.ok_or_else(|| overtaken(key))?;
        if before.is_some() && !namespace.options.overwrite {
            return Err(first_value_stays().at("key"));
        }
        let put = next(namespace, key, value, (before, unset))?;
        let checked = self.checked(&put, (sum64_of(&put.data), None))?;
        let new = NewValue {
            body: PutBody::Small(self.seal_here(checked)),
            existing: Existing::Replace,
            lifetime: put.lifetime,
            attributes: encode_attributes(&put.attributes),
        };
        Ok(Follows {
            value: new,
            outcome: Outcome::Counted(value),
            held: None,
        })
    }
}

/// Whether an error is of the step alone, rather than of the store. One that was overtaken is looked at
/// anew, for the test that goes with it does not hold.
fn is_of_step(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::Invalid
            | ErrorKind::TooLarge
            | ErrorKind::Disabled
            | ErrorKind::Conflict
    )
}

/// What a derived step did.
///
/// # Errors
/// `Internal`: a bug.
pub(super) fn derived_done(outcome: Outcome, reply: &Reply, key: &Key) -> Result<StepDone> {
    let version = match reply {
        Reply::Put { version, .. } => *version,
        other => {
            let message = format!("a put of a commit was answered with {other:?}");
            return Err(Error::internal("WRONG_REPLY", message));
        }
    };
    match outcome {
        Outcome::Touched(head) => Ok(StepDone::Touch(
            key.clone(),
            Box::new(Head { version, ..*head }),
        )),
        Outcome::Counted(value) => Ok(StepDone::Increment(Increment { value, version })),
        Outcome::Fails(error) => Err(error),
    }
}
