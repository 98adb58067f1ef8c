//! What one client's keys should be, and whether an answer agrees with that.
//!
//! A client is the only one that changes its keys, one call after the other, so every answer about
//! them is known beforehand, versions aside: those only grow. A call that was not answered leaves
//! what it may have done pending, until somebody reads what it did.

use crate::call::{Answer, Call, Failure};
use crate::held::Snapshots;
use crate::large::ANSWER_MAX;
use crate::rules::{self, Rules};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement;
use shardkeep::proto::v1::expiry::Expiry;
use shardkeep::proto::v1::operation::Change as Step;
use shardkeep::proto::v1::operation_result::Result as StepDone;
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh64::xxh64;

/// A namespace and a key in it.
pub type At = (String, Bytes);

/// When something happened: between two moments, in milliseconds since 1970.
pub type Span = (u64, u64);

/// The namespace whose keys keep their first value.
pub const FIRST: &str = "first";

/// What is under a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    pub value: Bytes,
    pub version: u64,
    pub value_type: i32,
    pub metadata: BTreeMap<String, String>,
    /// When it expires, as exactly as is known.
    pub expires: Option<Span>,
}

pub type Keys = BTreeMap<At, Kept>;

/// What a call does to one key; `None` removes it. Its version is not known yet.
#[derive(Debug, Clone)]
pub struct Effect {
    pub at: At,
    pub new: Option<Kept>,
}

/// A change that a watch should tell.
#[derive(Debug, Clone)]
pub struct Change {
    pub at: At,
    /// `None` when nobody was told.
    pub version: Option<u64>,
    /// What is there since; `None` when it removed the key.
    pub new: Option<Kept>,
    /// Whether it is known to have happened.
    pub sure: bool,
}

/// What an unanswered call may have done.
#[derive(Debug, Clone)]
pub struct Pending {
    pub effects: Vec<Effect>,
    /// Whether all of it was done or nothing.
    pub atomic: bool,
}

/// One client's keys.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// What all its keys begin with.
    pub prefix: Bytes,
    pub keys: Keys,
    /// In the order in which they happened.
    pub changes: Vec<Change>,
    /// What was there when a snapshot was taken.
    pub snapshots: Snapshots,
    /// Of its own namespace.
    pub rules: Rules,
    pub pending: Option<Pending>,
    /// Keys that have expired at some time.
    pub expired: BTreeSet<At>,
    /// The highest version that was told.
    pub version: u64,
}

/// Bytes of values that one answer to a read of many keys holds.
const BATCH_SIZE_MAX: usize = 64 << 20;

/// Smaller values are told by a watch: those that stand with their keys (dedup.min_size). Where nothing
/// is shared larger ones do too, up to 64 KiB; none of those is drawn.
const TOLD_BELOW: usize = 8 << 10;

/// The reason of a refusal.
type Refusal = &'static str;

macro_rules! ensure {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}
pub(crate) use ensure;

impl Model {
    /// What has expired for certain is not there any more; the removal may be told by a watch.
    pub fn pass_time(&mut self, now: u64) {
        let gone = self.keys.extract_if(.., |_, kept| {
            kept.expires.is_some_and(|(_, last)| last < now)
        });
        self.expired.extend(gone.map(|(at, _)| at));
    }

    /// When the last of those expires that do so before a moment.
    pub fn last_expiry_before(&self, moment: u64) -> Option<u64> {
        let ends = self.keys.values().filter_map(|kept| kept.expires);
        ends.map(|(_, last)| last)
            .filter(|last| *last < moment)
            .max()
    }

    /// What a call does, if it is not refused.
    pub fn effects(&self, call: &Call, span: Span) -> Result<Vec<Effect>, Refusal> {
        match call {
            Call::Put(_) | Call::Upload(..) | Call::PutContent(..) => {
                self.put(&call.as_put().expect("it is one"), span)
            }
            Call::Delete(delete) => {
                let at = (delete.namespace.clone(), delete.key.clone());
                self.require(&at, &delete.condition)?;
                Ok(self.removed(at))
            }
            Call::DeleteRange(request) => {
                let selection = request.selection.clone().unwrap_or_default();
                let all = selected(&self.keys, &request.namespace, &selection);
                let limit = request.limit as usize;
                let some = all.into_iter().take(limit);
                Ok(some.map(|(at, _)| Effect { at, new: None }).collect())
            }
            Call::Touch(touch) => {
                let at = (touch.namespace.clone(), touch.key.clone());
                self.require(&at, &touch.condition)?;
                Ok(vec![self.touched(at, touch.expiry.as_ref(), span)?])
            }
            Call::Increment(request) => self.increment(request),
            Call::Commit(commit) => self.commit(commit, span),
            Call::ZstdbSet(item) => {
                let new = Kept {
                    value: item.data.clone(),
                    ..Kept::default()
                };
                let at = (String::new(), item.key.clone());
                Ok(vec![Effect { at, new: Some(new) }])
            }
            Call::ZstdbDelete(item) => Ok(self.removed((String::new(), item.key.clone()))),
            Call::UpdateNamespace(request) => self.rules.changed(request).map(|_| Vec::new()),
            _ => Ok(Vec::new()),
        }
    }

    fn removed(&self, at: At) -> Vec<Effect> {
        match self.keys.contains_key(&at) {
            true => vec![Effect { at, new: None }],
            false => Vec::new(),
        }
    }

    fn put(&self, put: &v1::PutRequest, span: Span) -> Result<Vec<Effect>, Refusal> {
        let at = (put.namespace.clone(), put.key.clone());
        if at.0 == FIRST && self.keys.contains_key(&at) {
            return Err("KEY_EXISTS");
        }
        self.require(&at, &put.condition)?;
        let said = (&put.value, put.value_type, &put.metadata);
        Ok(vec![self.stored(at, said, put.expiry.as_ref(), span)])
    }

    fn stored(
        &self,
        at: At,
        (value, value_type, metadata): (&Bytes, i32, &BTreeMap<String, String>),
        expiry: Option<&v1::Expiry>,
        span: Span,
    ) -> Effect {
        let new = Kept {
            value: value.clone(),
            value_type,
            metadata: metadata.clone(),
            expires: lasts(expiry, self.keys.get(&at), span),
            ..Kept::default()
        };
        Effect { at, new: Some(new) }
    }

    fn increment(&self, request: &v1::IncrementRequest) -> Result<Vec<Effect>, Refusal> {
        let at = (request.namespace.clone(), request.key.clone());
        self.require(&at, &request.condition)?;
        Ok(vec![self.added(
            at,
            request.delta,
            request.initial_value,
        )?])
    }

    fn touched(&self, at: At, expiry: Option<&v1::Expiry>, span: Span) -> Result<Effect, Refusal> {
        let before = self.keys.get(&at).ok_or("KEY_NOT_FOUND")?;
        let new = Some(Kept {
            expires: lasts(expiry, Some(before), span),
            ..before.clone()
        });
        Ok(Effect { at, new })
    }

    fn added(&self, at: At, delta: i64, initial: i64) -> Result<Effect, Refusal> {
        let before = self.keys.get(&at);
        let number = match before {
            Some(kept) => std::str::from_utf8(&kept.value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or("NOT_A_COUNTER")?,
            None => initial,
        };
        let next = number.checked_add(delta).ok_or("COUNTER_OVERFLOW")?;
        let fresh = Kept {
            value_type: v1::ValueType::Int64.into(),
            ..Kept::default()
        };
        let new = Kept {
            value: next.to_string().into(),
            ..before.cloned().unwrap_or(fresh)
        };
        Ok(Effect { at, new: Some(new) })
    }

    fn commit(&self, commit: &v1::CommitRequest, span: Span) -> Result<Vec<Effect>, Refusal> {
        let mut effects = Vec::new();
        for operation in self.chosen(commit) {
            let at = (commit.namespace.clone(), operation.key.clone());
            match operation.change.as_ref().expect("every one has a change") {
                Step::Put(put) => {
                    let said = (&put.value, put.value_type, &put.metadata);
                    effects.push(self.stored(at, said, put.expiry.as_ref(), span));
                }
                Step::Delete(_) => effects.extend(self.removed(at)),
                Step::Touch(touch) => {
                    effects.push(self.touched(at, touch.expiry.as_ref(), span)?);
                }
                Step::Increment(it) => effects.push(self.added(at, it.delta, it.initial_value)?),
            }
        }
        Ok(effects)
    }

    fn holds(&self, commit: &v1::CommitRequest) -> bool {
        commit.conditions.iter().all(|asked| {
            let at = (commit.namespace.clone(), asked.key.clone());
            self.require(&at, &asked.condition).is_ok()
        })
    }

    fn chosen<'a>(&self, commit: &'a v1::CommitRequest) -> &'a [v1::Operation] {
        match self.holds(commit) {
            true => &commit.operations,
            false => &commit.else_operations,
        }
    }

    fn require(&self, at: &At, condition: &Option<v1::Condition>) -> Result<(), Refusal> {
        let asked = condition.as_ref().and_then(|it| it.requirement.as_ref());
        let kept = self.keys.get(at);
        match (asked, kept) {
            (Some(Requirement::Absent(_)), Some(_)) => Err("KEY_EXISTS"),
            (Some(Requirement::Present(_) | Requirement::Digest(_)), None) => Err("KEY_NOT_FOUND"),
            (Some(Requirement::Version(version)), kept)
                if kept.is_none_or(|kept| kept.version != *version) =>
            {
                Err("VERSION_MISMATCH")
            }
            (Some(Requirement::Digest(digest)), Some(kept)) if *digest != digest_of(kept) => {
                Err("DIGEST_CONFLICT")
            }
            _ => Ok(()),
        }
    }

    /// Whether an answer is the right one; what it says happened then has happened here too.
    pub fn judge(&mut self, call: &Call, answer: &Answer, span: Span) -> Result<(), String> {
        let expected = self.effects(call, span);
        match (answer, &expected) {
            (Answer::Failed(Failure::Refused(reason)), _)
                if reason == "EXPIRE_TIME_RANGE"
                    && call.first_expiry().is_some_and(|at| at <= span.1) =>
            {
                Ok(())
            }
            (Answer::Failed(Failure::Refused(reason)), Err(expected)) => {
                ensure!(reason == expected, "refused for {reason}, not {expected}");
                Ok(())
            }
            (Answer::Failed(Failure::Unknown(_)), _) => {
                if let Call::UpdateNamespace(request) = call {
                    self.rules.pending = self.rules.changed(request).ok();
                }
                self.pending = expected.ok().map(|effects| Pending {
                    effects,
                    atomic: !matches!(call, Call::DeleteRange(_)),
                });
                Ok(())
            }
            (Answer::Failed(Failure::Refused(reason)), Ok(_)) => {
                let expected = self.read_refusal(call);
                ensure!(
                    expected.is_some_and(|it| it == reason),
                    "refused for {reason}, expected {expected:?}"
                );
                Ok(())
            }
            (_, Err(expected)) => Err(format!("not refused for {expected}")),
            (_, Ok(effects)) => {
                let refusal = self.read_refusal(call);
                ensure!(refusal.is_none(), "not refused for {refusal:?}");
                let effects = effects.clone();
                match self.agree_beside_keys(call, answer, span) {
                    Some(agreed) => agreed,
                    None => self.agree(call, answer, effects),
                }
            }
        }
    }

    /// Why a read is refused, if it is.
    fn read_refusal(&self, call: &Call) -> Option<Refusal> {
        let (snapshot, at) = match call {
            Call::Download(it) => (&it.snapshot, Some((&it.namespace, &it.key))),
            Call::Get(get) => (&get.snapshot, Some((&get.namespace, &get.key))),
            Call::Head(head) => (&head.snapshot, Some((&head.namespace, &head.key))),
            Call::BatchGet(many) => (&many.snapshot, None),
            Call::Scan(scan) => (&scan.snapshot, None),
            Call::StreamScan(scan) => (&scan.snapshot, None),
            Call::Measure(it) => (&it.snapshot, None),
            Call::DropSnapshot(id) | Call::RenewSnapshot(id) => (id, None),
            _ => return None,
        };
        let Some(keys) = self.seen(snapshot) else {
            return Some("SNAPSHOT_NOT_FOUND");
        };
        let Some((namespace, key)) = at else {
            return too_large(call, keys);
        };
        let Some(kept) = keys.get(&(namespace.clone(), key.clone())) else {
            return Some("KEY_NOT_FOUND");
        };
        let (range, size_max) = match call {
            Call::Get(get) => (get.range, ANSWER_MAX),
            Call::Download(download) => (download.range, usize::MAX),
            _ => return None,
        };
        if range.is_some_and(|range| range.offset > kept.value.len() as u64) {
            return Some("RANGE_BEYOND_VALUE");
        }
        (part(&kept.value, range).len() > size_max).then_some("VALUE_NEEDS_DOWNLOAD")
    }

    fn seen(&self, snapshot: &str) -> Option<&Keys> {
        match snapshot.is_empty() {
            true => Some(&self.keys),
            false => self.snapshots.held.get(snapshot).map(|held| &held.keys),
        }
    }

    /// What an answer says of something else than keys; `None` for one that does not.
    fn agree_beside_keys(
        &mut self,
        call: &Call,
        answer: &Answer,
        span: Span,
    ) -> Option<Result<(), String>> {
        let name = rules::name_of(&self.prefix);
        Some(match (call, answer) {
            (Call::TakeSnapshot, Answer::Snapshot(told)) => {
                self.snapshots.take(told, self.version, &self.keys)
            }
            (Call::RenewSnapshot(id), Answer::Renewed(told)) => {
                self.snapshots.renew(id, told, span)
            }
            (Call::DropSnapshot(id), Answer::Dropped) => {
                self.snapshots.drop(id);
                Ok(())
            }
            (Call::ListSnapshots, Answer::Snapshots(told)) => self.snapshots.check_list(told),
            (Call::UpdateNamespace(request), Answer::Namespace(told)) => {
                self.changed_rules(&name, request, told)
            }
            (Call::GetNamespace(_), Answer::Namespace(told)) => self.rules.check(&name, told),
            (Call::ListNamespaces(_), Answer::Namespaces(told)) => {
                self.rules.check_list(&name, told)
            }
            _ => return None,
        })
    }

    fn changed_rules(
        &mut self,
        name: &str,
        request: &v1::UpdateNamespaceRequest,
        told: &v1::Namespace,
    ) -> Result<(), String> {
        ensure!(
            told.version > self.version,
            "rules of {} after {}",
            told.version,
            self.version
        );
        self.version = told.version;
        self.rules.change(self.rules.changed(request)?, told);
        self.rules.check(name, told)
    }

    fn agree(&mut self, call: &Call, answer: &Answer, effects: Vec<Effect>) -> Result<(), String> {
        match (call, answer) {
            (Call::Put(put), Answer::Put(done)) => {
                let at = (put.namespace.clone(), put.key.clone());
                self.check_put(&at, &put.value, done)?;
                self.happened(effects, done.version)
            }
            (Call::Upload(..), Answer::Upload(done)) => {
                let version = self.check_large_put(call, &done.put, (done.size, done.sum64))?;
                self.happened(effects, version)
            }
            (Call::PutContent(..), Answer::PutContent(done)) => {
                let version = self.check_large_put(call, &done.put, (done.size, done.sum64))?;
                self.happened(effects, version)
            }
            (Call::UploadInPart(..), Answer::WentAway) => Ok(()),
            (Call::Delete(delete), Answer::Delete(done)) => {
                let at = (delete.namespace.clone(), delete.key.clone());
                self.check_delete(&at, done)?;
                self.happened(effects, done.version)
            }
            (Call::DeleteRange(request), Answer::DeleteRange(done)) => {
                let selection = request.selection.clone().unwrap_or_default();
                let all = selected(&self.keys, &request.namespace, &selection);
                ensure!(
                    done.deleted_count == effects.len() as u64,
                    "{} keys were removed, not {}",
                    done.deleted_count,
                    effects.len()
                );
                ensure!(
                    all.len() == effects.len() || !done.next_page_token.is_empty(),
                    "no token, although more is left"
                );
                self.happened_somewhen(effects)
            }
            (Call::Touch(_), Answer::Touch(entry)) => {
                let [Effect { at, new: Some(new) }] = &effects[..] else {
                    return Err("a touch of nothing".to_owned());
                };
                let new = Kept {
                    version: entry.version,
                    ..new.clone()
                };
                check_entry(entry, &at.1, &new, true)?;
                self.happened(effects, entry.version)
            }
            (Call::Increment(_), Answer::Increment(done)) => {
                let value = effects[0].new.as_ref().map(|new| new.value.clone());
                ensure!(
                    value == Some(done.value.to_string().into()),
                    "the counter is {}, not {value:?}",
                    done.value
                );
                self.happened(effects, done.version)
            }
            (Call::Commit(commit), Answer::Commit(done)) => {
                self.check_commit(commit, done, &effects)?;
                self.happened(effects, done.version)
            }
            (Call::ZstdbSet(item), Answer::ZstdbSet(reply)) => {
                ensure!(reply.errcode == 0 && reply.key == item.key, "{reply:?}");
                self.happened_somewhen(effects)
            }
            (Call::ZstdbDelete(_), Answer::ZstdbDelete(reply)) => {
                ensure!(reply.errcode == 0, "{reply:?}");
                self.happened_somewhen(effects)
            }
            _ => self.check_read(call, answer),
        }
    }

    fn check_put(&self, at: &At, value: &[u8], done: &v1::PutResponse) -> Result<(), String> {
        let before = self.keys.get(at).map(|kept| kept.version);
        let told = (done.created, done.previous_version);
        let expected = (before.is_none(), before.unwrap_or(0));
        ensure!(told == expected, "{told:?}, not {expected:?}");
        ensure!(done.key == at.1, "key {:?}", done.key);
        ensure!(
            done.digest == blake3::hash(value).as_bytes()[..],
            "another digest"
        );
        Ok(())
    }

    /// What a put answers that does not carry its value in one message; its version.
    fn check_large_put(
        &self,
        call: &Call,
        done: &Option<v1::PutResponse>,
        told: (u64, u64),
    ) -> Result<u64, String> {
        let put = call.as_put().expect("it is one");
        check_sums(&put.value, told)?;
        let done = done.as_ref().ok_or("no put")?;
        self.check_put(&(put.namespace, put.key), &put.value, done)?;
        Ok(done.version)
    }

    fn check_delete(&self, at: &At, done: &v1::DeleteResponse) -> Result<(), String> {
        let before = self.keys.get(at).map(|kept| kept.version);
        let told = (done.deleted, done.version > 0, done.previous_version);
        let expected = (before.is_some(), before.is_some(), before.unwrap_or(0));
        ensure!(told == expected, "{told:?}, not {expected:?}");
        Ok(())
    }

    fn check_commit(
        &self,
        commit: &v1::CommitRequest,
        done: &v1::CommitResponse,
        effects: &[Effect],
    ) -> Result<(), String> {
        let succeeded = self.holds(commit);
        ensure!(done.succeeded == succeeded, "succeeded: {}", done.succeeded);
        ensure!(
            (done.version == 0) == effects.is_empty(),
            "version {} for {} changes",
            done.version,
            effects.len()
        );
        let operations = self.chosen(commit);
        ensure!(
            operations.len() == done.results.len(),
            "{} results",
            done.results.len()
        );
        for (operation, result) in operations.iter().zip(&done.results) {
            let at = (commit.namespace.clone(), operation.key.clone());
            let version = match (&operation.change, &result.result) {
                (Some(Step::Put(put)), Some(StepDone::Put(done))) => {
                    self.check_put(&at, &put.value, done)?;
                    done.version
                }
                (Some(Step::Delete(_)), Some(StepDone::Delete(done))) => {
                    self.check_delete(&at, done)?;
                    done.version
                }
                (Some(Step::Touch(_)), Some(StepDone::Touch(touched))) => {
                    let kept = Kept {
                        version: done.version,
                        ..left(effects, &at)?
                    };
                    check_entry(entry_of(&touched.entry)?, &at.1, &kept, true)?;
                    done.version
                }
                (Some(Step::Increment(_)), Some(StepDone::Increment(counted))) => {
                    let kept = left(effects, &at)?;
                    ensure!(
                        kept.value == counted.value.to_string(),
                        "{:?} counts {}, not {:?}",
                        at.1,
                        counted.value,
                        kept.value
                    );
                    counted.version
                }
                other => return Err(format!("{other:?}")),
            };
            ensure!(
                version == done.version || version == 0,
                "one change is at {version}, the commit at {}",
                done.version
            );
        }
        Ok(())
    }

    fn check_read(&self, call: &Call, answer: &Answer) -> Result<(), String> {
        match (call, answer) {
            (Call::Get(get), Answer::Get(found)) => {
                let kept = self.kept(&get.snapshot, &get.namespace, &get.key)?;
                check_entry(entry_of(&found.entry)?, &get.key, kept, true)?;
                let part = part(&kept.value, get.range);
                ensure!(found.value == part, "other bytes of {:?}", get.key);
                Ok(())
            }
            (Call::Download(request), Answer::Download(entry, value)) => {
                let kept = self.kept(&request.snapshot, &request.namespace, &request.key)?;
                check_entry(entry_of(entry)?, &request.key, kept, true)?;
                let part = part(&kept.value, request.range);
                ensure!(*value == part, "other bytes of {:?}", request.key);
                Ok(())
            }
            (Call::Head(head), Answer::Head(found)) => {
                let kept = self.kept(&head.snapshot, &head.namespace, &head.key)?;
                check_entry(entry_of(&found.entry)?, &head.key, kept, true)
            }
            (Call::BatchGet(many), Answer::BatchGet(found)) => {
                let keys = self.seen(&many.snapshot).expect("it is held");
                ensure!(
                    found.results.len() == many.keys.len(),
                    "{} results",
                    found.results.len()
                );
                for (key, result) in many.keys.iter().zip(&found.results) {
                    let kept = keys.get(&(many.namespace.clone(), key.clone()));
                    let told = (result.entry.as_ref(), &result.value);
                    let range = sent(many.entries_only, many.range);
                    check_result(key, kept, told, range)?;
                }
                Ok(())
            }
            (Call::Scan(scan), Answer::Scan(found)) => {
                let selection = scan.selection.clone().unwrap_or_default();
                let how = (scan.reverse, scan.keys_only, 0);
                self.check_scan((&scan.snapshot, &scan.namespace), &selection, how, found)
            }
            (Call::StreamScan(scan), Answer::Scan(found)) => {
                let selection = scan.selection.clone().unwrap_or_default();
                let how = (scan.reverse, scan.keys_only, scan.limit);
                self.check_scan((&scan.snapshot, &scan.namespace), &selection, how, found)
            }
            (Call::Measure(request), Answer::Measure(told)) => self.check_measure(request, told),
            (Call::ZstdbGet(item), Answer::ZstdbGet(reply)) => {
                let Some(kept) = self.keys.get(&(String::new(), item.key.clone())) else {
                    ensure!(reply.errcode == 500, "{:?} is there", item.key);
                    return Ok(());
                };
                if kept.value.len() > ANSWER_MAX {
                    ensure!(reply.errcode == 500, "{:?} fits an answer", item.key);
                    return Ok(());
                }
                let told = (reply.errcode, &reply.data, reply.sum64, reply.ver64);
                let sum = xxh64(&kept.value, 0);
                let expected = (0, &kept.value, sum, kept.version);
                ensure!(
                    told == expected,
                    "{:?}: {told:?}, not {expected:?}",
                    item.key
                );
                Ok(())
            }
            (call, answer) => Err(format!("{call:?} was answered with {answer:?}")),
        }
    }

    /// What is stored depends on what others have of it: that is only bounded.
    fn check_measure(
        &self,
        request: &v1::MeasureRequest,
        told: &v1::MeasureResponse,
    ) -> Result<(), String> {
        let keys = self.seen(&request.snapshot).expect("it is held");
        let selection = request.selection.clone().unwrap_or_default();
        let sizes = sizes(selected(keys, &request.namespace, &selection));
        let expected = (sizes.len() as u64, sizes.iter().sum::<usize>() as u64, true);
        let counted = (told.key_count, told.logical_bytes, told.whole);
        ensure!(counted == expected, "{counted:?}, not {expected:?}");
        ensure!(told.freed_bytes <= told.stored_bytes, "{told:?}");
        Ok(())
    }

    fn kept(&self, snapshot: &str, namespace: &str, key: &Bytes) -> Result<&Kept, String> {
        let keys = self.seen(snapshot).expect("it is held");
        let kept = keys.get(&(namespace.to_owned(), key.clone()));
        kept.ok_or_else(|| format!("{key:?} is there"))
    }

    fn check_scan(
        &self,
        (snapshot, namespace): (&str, &str),
        selection: &v1::KeySelection,
        (reverse, keys_only, limit): (bool, bool, u64),
        found: &[v1::ScanResult],
    ) -> Result<(), String> {
        let keys = self.seen(snapshot).expect("it is held");
        let expected = scanned((keys, namespace), selection, (reverse, limit));
        ensure!(
            found.len() == expected.len(),
            "{} keys, not {}",
            found.len(),
            expected.len()
        );
        for (((_, key), kept), result) in expected.iter().zip(found) {
            let told = (result.entry.as_ref(), &result.value);
            check_result(key, Some(kept), told, sent(keys_only, None))?;
        }
        Ok(())
    }

    /// Effects that took one version.
    fn happened(&mut self, effects: Vec<Effect>, version: u64) -> Result<(), String> {
        ensure!(
            effects.is_empty() || version > self.version,
            "version {version} after {}",
            self.version
        );
        for effect in effects {
            self.version = version;
            self.happen(effect, Some(version));
        }
        Ok(())
    }

    /// Effects whose versions were not told: what is read next tells them.
    fn happened_somewhen(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        let atomic = false;
        self.pending = Some(Pending { effects, atomic });
        Ok(())
    }

    fn happen(&mut self, effect: Effect, version: Option<u64>) {
        self.changes.push(Change {
            at: effect.at.clone(),
            version,
            new: effect.new.clone(),
            sure: true,
        });
        let known = version.unwrap_or(0);
        match effect.new {
            Some(new) => {
                let new = Kept {
                    version: known,
                    ..new
                };
                self.keys.insert(effect.at, new);
            }
            None => drop(self.keys.remove(&effect.at)),
        }
    }

    /// Settles what is pending by what was found under its keys now. `must` says that it was
    /// acknowledged.
    pub fn settle(&mut self, found: &BTreeMap<At, v1::Entry>, must: bool) -> Result<(), String> {
        let Some(Pending { effects, atomic }) = self.pending.take() else {
            return Ok(());
        };
        let (mut done, mut undone) = (Vec::new(), Vec::new());
        for effect in effects {
            let before = self.keys.get(&effect.at).map(|kept| kept.version);
            let entry = found.get(&effect.at);
            let version = entry.map(|entry| entry.version);
            if version.is_some() && version == before {
                undone.push(effect);
                continue;
            }
            match (&effect.new, entry) {
                (Some(new), Some(entry)) => {
                    let version = entry.version;
                    let new = Kept {
                        version,
                        ..new.clone()
                    };
                    check_entry(entry, &effect.at.1, &new, false)?;
                    ensure!(version > self.version, "version {version} again");
                    done.push((effect, Some(version)));
                }
                (None, None) => done.push((effect, None)),
                // It may have been there, and have expired.
                (Some(new), None) if new.expires.is_some() => {
                    let lasting = self.keys.get(&effect.at);
                    let change = Change {
                        at: effect.at.clone(),
                        version: None,
                        new: Some(new.clone()),
                        sure: lasting.is_some_and(|kept| kept.expires.is_none()),
                    };
                    self.changes.push(change);
                    self.expired.insert(effect.at.clone());
                    self.keys.remove(&effect.at);
                }
                (Some(_), None) if before.is_none() => undone.push(effect),
                (_, _) => {
                    return Err(format!("{:?} is neither as before nor after", effect.at));
                }
            }
        }
        ensure!(
            !must || undone.is_empty(),
            "acknowledged and not there: {undone:?}"
        );
        ensure!(
            !atomic || done.is_empty() || undone.is_empty(),
            "half done: {done:?}, and not {undone:?}"
        );
        for (effect, version) in done {
            self.version = self.version.max(version.unwrap_or(0));
            self.happen(effect, version);
        }
        Ok(())
    }

    /// Whether a watch told what happened.
    pub fn check_watch(&self, namespace: &str, events: &[v1::WatchEvent]) -> Result<(), String> {
        ensure!(
            events.is_sorted_by_key(|event| event.version),
            "events out of their order"
        );
        let mut told: BTreeMap<&Bytes, Vec<&v1::WatchEvent>> = BTreeMap::new();
        for event in events {
            told.entry(&event.key).or_default().push(event);
        }
        let mut happened: BTreeMap<&Bytes, Vec<&Change>> = BTreeMap::new();
        for change in self.changes.iter().filter(|it| it.at.0 == namespace) {
            happened.entry(&change.at.1).or_default().push(change);
        }
        for event in events {
            let at = (namespace.to_owned(), event.key.clone());
            let is_expiry = event.r#type() == v1::WatchEventType::Expire;
            ensure!(
                !is_expiry || self.expired.contains(&at),
                "{at:?} was told to have expired"
            );
        }
        for key in told.keys() {
            ensure!(happened.contains_key(key), "{key:?} was invented");
        }
        for (key, changes) in happened {
            check_story(key, &changes, told.get(key).map_or(&[][..], |it| it))?;
        }
        Ok(())
    }
}

/// The events of one key against its changes, in their order.
fn check_story(key: &Bytes, changes: &[&Change], events: &[&v1::WatchEvent]) -> Result<(), String> {
    let mut events = events
        .iter()
        .filter(|it| it.r#type() != v1::WatchEventType::Expire)
        .peekable();
    let known: BTreeSet<u64> = changes.iter().filter_map(|it| it.version).collect();
    for change in changes {
        let kind = match change.new {
            None => v1::WatchEventType::Delete,
            Some(_) => v1::WatchEventType::Put,
        };
        let fits = |event: &&&v1::WatchEvent| {
            let fits = match change.version {
                Some(version) => version == event.version,
                None => !known.contains(&event.version),
            };
            event.r#type() == kind && fits
        };
        match (events.next_if(fits), &change.new) {
            (Some(event), Some(new)) => check_event(event, new)?,
            (Some(_), None) => {}
            (None, _) => ensure!(
                !change.sure,
                "the watch did not tell {change:?} but {:?}; of {changes:?}",
                events
                    .map(|it| (it.r#type(), it.version))
                    .collect::<Vec<_>>()
            ),
        }
    }
    ensure!(
        events.next().is_none(),
        "the watch invented something of {key:?}"
    );
    Ok(())
}

/// Whether a put was told with what is known of it, and with its value, if that is not too large.
fn check_event(event: &v1::WatchEvent, new: &Kept) -> Result<(), String> {
    let kept = Kept {
        version: event.version,
        ..new.clone()
    };
    check_result(
        &event.key,
        Some(&kept),
        (event.entry.as_ref(), &event.value),
        sent(!event.value_included, None),
    )?;
    ensure!(
        event.value_included == (new.value.len() < TOLD_BELOW),
        "{:?} of {} bytes was told with its value: {}",
        event.key,
        new.value.len(),
        event.value_included
    );
    Ok(())
}

/// When something expires that was put, or touched, within a span.
fn lasts(expiry: Option<&v1::Expiry>, before: Option<&Kept>, span: Span) -> Option<Span> {
    match expiry?.expiry.as_ref()? {
        Expiry::Ttl(ttl) => {
            let ttl = ttl.seconds as u64 * 1000 + ttl.nanos as u64 / 1_000_000;
            Some((span.0 + ttl, span.1 + ttl + 1))
        }
        Expiry::ExpireTime(time) => Some((millis(time), millis(time))),
        Expiry::Keep(_) => before.and_then(|before| before.expires),
    }
}

pub fn millis(time: &prost_types::Timestamp) -> u64 {
    time.seconds as u64 * 1000 + time.nanos as u64 / 1_000_000
}

/// The keys of a selection, in their order.
pub fn selected(keys: &Keys, namespace: &str, selection: &v1::KeySelection) -> Vec<(At, Kept)> {
    let is_in = |key: &Bytes| {
        *key >= selection.start_key
            && (selection.end_key.is_empty() || *key < selection.end_key)
            && key.starts_with(&selection.prefix)
    };
    let here = keys
        .iter()
        .filter(|((name, key), _)| name == namespace && is_in(key));
    here.map(|(at, kept)| (at.clone(), kept.clone())).collect()
}

/// What a scan should give, in its order.
fn scanned(
    (keys, namespace): (&Keys, &str),
    selection: &v1::KeySelection,
    (reverse, limit): (bool, u64),
) -> Vec<(At, Kept)> {
    let mut expected = selected(keys, namespace, selection);
    if reverse {
        expected.reverse();
    }
    if limit > 0 {
        expected.truncate(limit as usize);
    }
    expected
}

/// Why many values are not answered with, if they are not.
fn too_large(call: &Call, keys: &Keys) -> Option<Refusal> {
    let sizes: Vec<usize> = match call {
        Call::BatchGet(many) if !many.entries_only => {
            let found = many.keys.iter();
            let found = found.filter_map(|key| keys.get(&(many.namespace.clone(), key.clone())));
            found
                .map(|kept| part(&kept.value, many.range).len())
                .collect()
        }
        Call::Scan(scan) if !scan.keys_only => {
            let selection = scan.selection.clone().unwrap_or_default();
            sizes(scanned((keys, &scan.namespace), &selection, (false, 0)))
        }
        Call::StreamScan(scan) if !scan.keys_only => {
            let selection = scan.selection.clone().unwrap_or_default();
            let how = (scan.reverse, scan.limit);
            sizes(scanned((keys, &scan.namespace), &selection, how))
        }
        _ => return None,
    };
    if matches!(call, Call::BatchGet(_)) && sizes.iter().sum::<usize>() > BATCH_SIZE_MAX {
        return Some("REPLY_TOO_LARGE");
    }
    let is_too_large = sizes.into_iter().any(|size| size > ANSWER_MAX);
    is_too_large.then_some("VALUE_NEEDS_DOWNLOAD")
}

fn sizes(all: Vec<(At, Kept)>) -> Vec<usize> {
    all.into_iter().map(|(_, kept)| kept.value.len()).collect()
}

pub fn digest_of(kept: &Kept) -> Bytes {
    sums_of(&kept.value).0
}

/// BLAKE3 and xxh64 of a value.
pub fn sums_of(value: &[u8]) -> (Bytes, u64) {
    let digest = Bytes::copy_from_slice(blake3::hash(value).as_bytes());
    (digest, xxh64(value, 0))
}

/// What lies in a range; nothing when it begins behind the value.
fn part(value: &Bytes, range: Option<v1::ByteRange>) -> Bytes {
    let Some(v1::ByteRange { offset, length }) = range else {
        return value.clone();
    };
    let start = value.len().min(offset as usize);
    let end = match length {
        0 => value.len(),
        length => value.len().min(start + length as usize),
    };
    value.slice(start..end)
}

/// What of a value an answer about many keys carries.
enum Sent {
    /// Nothing but its entry.
    Entry,
    Part(Option<v1::ByteRange>),
}

fn sent(entry_only: bool, range: Option<v1::ByteRange>) -> Sent {
    match entry_only {
        true => Sent::Entry,
        false => Sent::Part(range),
    }
}

fn entry_of(entry: &Option<v1::Entry>) -> Result<&v1::Entry, String> {
    entry.as_ref().ok_or_else(|| "no entry".to_owned())
}

fn check_sums(value: &Bytes, told: (u64, u64)) -> Result<(), String> {
    let expected = (value.len() as u64, sums_of(value).1);
    ensure!(told == expected, "sums {told:?}, not {expected:?}");
    Ok(())
}

fn check_result(
    key: &Bytes,
    kept: Option<&Kept>,
    (entry, value): (Option<&v1::Entry>, &Bytes),
    sent: Sent,
) -> Result<(), String> {
    let (kept, entry) = match (kept, entry) {
        (None, None) => return Ok(()),
        (Some(kept), Some(entry)) => (kept, entry),
        (kept, _) => return Err(format!("{key:?}: there should be {kept:?}")),
    };
    check_entry(entry, key, kept, false)?;
    let expected = match sent {
        Sent::Entry => Bytes::new(),
        Sent::Part(range) => part(&kept.value, range),
    };
    ensure!(*value == expected, "other bytes of {key:?}");
    Ok(())
}

/// Whether an entry tells of a record what is known of it.
/// What a call leaves under a key.
fn left(effects: &[Effect], at: &At) -> Result<Kept, String> {
    let effect = effects.iter().find(|effect| effect.at == *at);
    let new = effect.and_then(|effect| effect.new.clone());
    new.ok_or_else(|| format!("nothing should be left under {at:?}"))
}

fn check_entry(
    entry: &v1::Entry,
    key: &Bytes,
    kept: &Kept,
    has_digest: bool,
) -> Result<(), String> {
    let told = (&entry.key, entry.version, entry.size, entry.sum64);
    let size = kept.value.len() as u64;
    let expected = (key, kept.version, size, xxh64(&kept.value, 0));
    ensure!(told == expected, "{told:?}, not {expected:?}");
    ensure!(
        entry.digest == digest_of(kept) || entry.digest.is_empty() && !has_digest,
        "the digest of {key:?} is {:?}",
        entry.digest
    );
    ensure!(
        entry.value_type == kept.value_type && entry.metadata == kept.metadata,
        "{key:?} has other metadata: {entry:?}"
    );
    let expires = entry.expire_time.as_ref().map(millis);
    let agrees = match (expires, kept.expires) {
        (Some(at), Some((first, last))) => (first..=last).contains(&at),
        (at, known) => at.is_none() && known.is_none(),
    };
    ensure!(
        agrees,
        "{key:?} expires at {expires:?}, not {:?}",
        kept.expires
    );
    Ok(())
}
