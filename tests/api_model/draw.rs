//! Calls drawn at random, with requirements that hold and some that do not.

use crate::call::Call;
use crate::large::{self, LARGE};
use crate::model::{At, FIRST, Kept, Model, digest_of};
use crate::rules;
use crate::support::{Random, noise};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement;
use shardkeep::proto::v1::expiry::Expiry;
use shardkeep::proto::v1::operation::Change;
use shardkeep::proto::zstdb::Item;
use std::collections::BTreeMap;
use xxhash_rust::xxh64::xxh64;

/// The default one, one without compression and sharing, and one whose keys keep their first value.
pub const NAMESPACES: [&str; 3] = ["", "plain", FIRST];
/// Of each client in each namespace.
const KEYS: u64 = 8;

/// Draws one client's calls.
pub struct Draw<'a> {
    pub random: &'a mut Random,
    pub model: &'a Model,
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Draw<'_> {
    pub fn call(&mut self) -> Call {
        match self.random.within(0..108) {
            0..21 => Call::Put(self.put()),
            21 => self.upload(),
            22 => self.put_content(),
            23..26 => Call::Download(self.download()),
            26..34 => Call::Get(self.get()),
            34..38 => Call::Head(self.head()),
            38..44 => Call::BatchGet(self.batch_get()),
            44..52 => Call::Delete(self.delete()),
            52..55 => Call::DeleteRange(self.delete_range()),
            55..61 => Call::Touch(self.touch()),
            61..67 => Call::Increment(self.increment()),
            67..73 => Call::Scan(self.scan()),
            73..78 => Call::StreamScan(self.stream_scan()),
            78..88 => Call::Commit(self.commit()),
            88..91 => Call::TakeSnapshot,
            91..93 => self.drop_snapshot(),
            93..95 => Call::ZstdbSet(self.item(true)),
            95..98 => Call::ZstdbGet(self.item(false)),
            98..100 => Call::ZstdbDelete(self.item(false)),
            100..103 => Call::Measure(self.measure()),
            103 => match self.snapshot() {
                none if none.is_empty() => Call::TakeSnapshot,
                some => Call::RenewSnapshot(some),
            },
            104 => Call::ListSnapshots,
            105 => Call::UpdateNamespace(rules::update(self.random, self.own_namespace())),
            106 => Call::GetNamespace(self.own_namespace()),
            _ => Call::ListNamespaces(self.random.within(1..5) as i32),
        }
    }

    fn namespace(&mut self) -> String {
        NAMESPACES[self.random.within(0..3) as usize].to_owned()
    }

    fn own_namespace(&self) -> String {
        rules::name_of(&self.model.prefix)
    }

    fn key(&mut self) -> Bytes {
        let number = self.random.within(0..KEYS);
        [&self.model.prefix[..], &[b'0' + number as u8]]
            .concat()
            .into()
    }

    fn at(&mut self) -> At {
        (self.namespace(), self.key())
    }

    /// Any size that is stored in a way of its own. Clients have some of them in common.
    fn value(&mut self) -> Bytes {
        let size = [0, 5, 300, 5_000, 70_000][self.random.within(0..5) as usize];
        match self.random.percent(20) {
            true => self.random.within(0..1000).to_string().into(),
            false => noise(self.random.within(0..6), size).into(),
        }
    }

    fn metadata(&mut self) -> (i32, BTreeMap<String, String>) {
        let mut metadata = BTreeMap::new();
        if self.random.percent(30) {
            metadata.insert("of".to_owned(), self.random.next().to_string());
        }
        (self.random.within(0..7) as i32, metadata)
    }

    /// For ever, as long as before, for hours, or for a moment.
    fn expiry(&mut self) -> Option<v1::Expiry> {
        let hours = self.random.within(1..100);
        let moment = self.now + hours;
        let expiry = match self.random.within(0..10) {
            0 => Expiry::Keep(true),
            1 => Expiry::Ttl(prost_types::Duration {
                seconds: hours as i64 * 3600,
                nanos: 0,
            }),
            2 => Expiry::ExpireTime(time(self.now + hours * 3_600_000)),
            3 => Expiry::ExpireTime(time(moment + 20)),
            _ => return None,
        };
        Some(v1::Expiry {
            expiry: Some(expiry),
        })
    }

    /// One that holds, mostly; none, mostly.
    fn condition(&mut self, at: &At) -> Option<v1::Condition> {
        if self.random.percent(60) {
            return None;
        }
        let kept = self.model.keys.get(at);
        let right = self.random.percent(70);
        let digest = |kept: Option<&Kept>| kept.map_or_else(|| vec![7; 32].into(), digest_of);
        let requirement = match (self.random.within(0..4), right) {
            (0, _) => Requirement::Absent(true),
            (1, _) => Requirement::Present(true),
            (2, true) => Requirement::Version(kept.map_or(77, |kept| kept.version)),
            (2, false) => Requirement::Version(kept.map_or(1, |kept| kept.version + 1)),
            (_, true) => Requirement::Digest(digest(kept)),
            (_, false) => Requirement::Digest(digest(None)),
        };
        Some(v1::Condition {
            requirement: Some(requirement),
        })
    }

    fn request_id(&mut self) -> String {
        match self.random.percent(20) {
            true => format!("{:032x}", self.random.next()),
            false => String::new(),
        }
    }

    /// A snapshot that is held, or was; mostly none.
    fn snapshot(&mut self) -> String {
        let held: Vec<&String> = self.model.snapshots.held.keys().collect();
        match self.random.within(0..20) {
            0 => "0".repeat(32),
            1..8 if !held.is_empty() => {
                held[self.random.within(0..held.len() as u64) as usize].clone()
            }
            _ => String::new(),
        }
    }

    fn put(&mut self) -> v1::PutRequest {
        let at = self.at();
        // There, a condition on what is there is refused before it is looked at.
        let condition = match at.0 == FIRST {
            true => None,
            false => self.condition(&at),
        };
        let (value, (value_type, metadata)) = (self.value(), self.metadata());
        v1::PutRequest {
            condition,
            expiry: self.expiry(),
            sum64: self.random.percent(50).then(|| xxh64(&value, 0)),
            value_type,
            metadata,
            request_id: self.request_id(),
            namespace: at.0,
            key: at.1,
            value,
            ..v1::PutRequest::default()
        }
    }

    /// A put of a large value, mostly.
    fn put_of_large(&mut self) -> (v1::PutRequest, usize) {
        let which = self.random.within(0..LARGE.len() as u64) as usize;
        let value = LARGE[which].value.clone();
        let put = v1::PutRequest {
            value,
            ..self.put()
        };
        (put, which)
    }

    /// In a stream, and not always to its end; values that are not large, too.
    fn upload(&mut self) -> Call {
        let put = match self.random.percent(70) {
            true => self.put_of_large().0,
            false => self.put(),
        };
        let (header, value) = large::upload_of_put(put);
        if self.random.percent(70) {
            return Call::Upload(header, value);
        }
        let size = self.random.within(0..value.len() as u64 + 1) as usize;
        Call::UploadInPart(header, value.slice(..size))
    }

    fn put_content(&mut self) -> Call {
        let (put, which) = self.put_of_large();
        Call::PutContent(large::content_of_put(&put), which)
    }

    fn download(&mut self) -> v1::DownloadRequest {
        let (namespace, key) = self.at_of_large();
        let range = self.random.percent(60).then(|| v1::ByteRange {
            offset: [0, 3, 80_000, 5_000_000, 9_300_000][self.random.within(0..5) as usize],
            length: self.random.within(0..3) * 1_500_000,
        });
        v1::DownloadRequest {
            namespace,
            key,
            range,
            snapshot: self.snapshot(),
        }
    }

    /// A key of a large value, mostly, if there is one.
    fn at_of_large(&mut self) -> At {
        let all = self.model.keys.iter();
        let large: Vec<&At> = all
            .filter_map(|(at, kept)| (kept.value.len() > 1 << 20).then_some(at))
            .collect();
        match large.is_empty() || self.random.percent(30) {
            true => self.at(),
            false => large[self.random.within(0..large.len() as u64) as usize].clone(),
        }
    }

    fn get(&mut self) -> v1::GetRequest {
        let (namespace, key) = match self.random.percent(20) {
            true => self.at_of_large(),
            false => self.at(),
        };
        v1::GetRequest {
            namespace,
            key,
            range: self.range(),
            snapshot: self.snapshot(),
        }
    }

    /// A part of a value, or what lies behind it; mostly none.
    fn range(&mut self) -> Option<v1::ByteRange> {
        self.random.percent(30).then(|| v1::ByteRange {
            offset: [0, 3, 299, 4_000, 80_000][self.random.within(0..5) as usize],
            length: self.random.within(0..3) * 1_000,
        })
    }

    fn head(&mut self) -> v1::HeadRequest {
        let (namespace, key) = self.at();
        v1::HeadRequest {
            namespace,
            key,
            snapshot: self.snapshot(),
        }
    }

    fn batch_get(&mut self) -> v1::BatchGetRequest {
        let count = self.random.within(1..12);
        v1::BatchGetRequest {
            namespace: self.namespace(),
            keys: (0..count).map(|_| self.key()).collect(),
            entries_only: self.random.percent(30),
            snapshot: self.snapshot(),
            range: self.range(),
        }
    }

    fn delete(&mut self) -> v1::DeleteRequest {
        let at = self.at();
        v1::DeleteRequest {
            condition: self.condition(&at),
            request_id: self.request_id(),
            namespace: at.0,
            key: at.1,
            ..v1::DeleteRequest::default()
        }
    }

    fn selection(&mut self) -> Option<v1::KeySelection> {
        let [mut start, mut end] = [self.key(), self.key()];
        if start > end {
            std::mem::swap(&mut start, &mut end);
        }
        let whole = self.random.percent(40);
        Some(v1::KeySelection {
            start_key: if whole { Bytes::new() } else { start },
            end_key: if whole { Bytes::new() } else { end },
            prefix: self.model.prefix.clone(),
        })
    }

    fn delete_range(&mut self) -> v1::DeleteRangeRequest {
        v1::DeleteRangeRequest {
            namespace: self.namespace(),
            selection: self.selection(),
            limit: self.random.within(1..6) as i32,
            page_token: String::new(),
            request_id: self.request_id(),
            only_run: 0,
        }
    }

    fn touch(&mut self) -> v1::TouchRequest {
        let at = self.at();
        v1::TouchRequest {
            expiry: self.expiry(),
            condition: self.condition(&at),
            request_id: self.request_id(),
            namespace: at.0,
            key: at.1,
            ..v1::TouchRequest::default()
        }
    }

    fn increment(&mut self) -> v1::IncrementRequest {
        // A counter does not keep its first value.
        let at = (
            NAMESPACES[self.random.within(0..2) as usize].to_owned(),
            self.key(),
        );
        v1::IncrementRequest {
            delta: self.delta(),
            initial_value: self.random.within(0..3) as i64,
            condition: self.condition(&at),
            request_id: self.request_id(),
            namespace: at.0,
            key: at.1,
            only_run: 0,
        }
    }

    fn delta(&mut self) -> i64 {
        match self.random.percent(5) {
            true => i64::MAX,
            false => self.random.within(0..200) as i64 - 100,
        }
    }

    fn scan(&mut self) -> v1::ScanRequest {
        v1::ScanRequest {
            namespace: self.namespace(),
            selection: self.selection(),
            reverse: self.random.percent(50),
            keys_only: self.random.percent(30),
            page_size: self.random.within(1..10) as i32,
            page_token: String::new(),
            snapshot: self.snapshot(),
        }
    }

    fn stream_scan(&mut self) -> v1::StreamScanRequest {
        v1::StreamScanRequest {
            namespace: self.namespace(),
            selection: self.selection(),
            reverse: self.random.percent(50),
            keys_only: self.random.percent(30),
            limit: self.random.within(0..5),
            snapshot: self.snapshot(),
        }
    }

    fn measure(&mut self) -> v1::MeasureRequest {
        v1::MeasureRequest {
            namespace: self.namespace(),
            selection: self.selection(),
            snapshot: self.snapshot(),
        }
    }

    fn commit(&mut self) -> v1::CommitRequest {
        let namespace = NAMESPACES[self.random.within(0..2) as usize].to_owned();
        let mut conditions = Vec::new();
        for _ in 0..self.random.within(0..4) {
            let at = (namespace.clone(), self.key());
            let condition = self.condition(&at);
            conditions.extend(condition.map(|it| v1::KeyCondition {
                key: at.1,
                condition: Some(it),
            }));
        }
        v1::CommitRequest {
            conditions,
            operations: self.operations(),
            else_operations: self.operations(),
            request_id: self.request_id(),
            namespace,
            ..v1::CommitRequest::default()
        }
    }

    /// Each key once.
    fn operations(&mut self) -> Vec<v1::Operation> {
        let mut operations = BTreeMap::new();
        for _ in 0..self.random.within(0..6) {
            let change = match self.random.within(0..20) {
                0..12 => {
                    let (value_type, metadata) = self.metadata();
                    Change::Put(v1::PutOperation {
                        value: self.value(),
                        expiry: self.expiry(),
                        value_type,
                        metadata,
                        ..v1::PutOperation::default()
                    })
                }
                12..16 => Change::Delete(v1::DeleteOperation {}),
                16..18 => Change::Increment(v1::IncrementOperation {
                    delta: self.delta(),
                    initial_value: self.random.within(0..3) as i64,
                }),
                _ => Change::Touch(v1::TouchOperation {
                    expiry: self.expiry(),
                }),
            };
            operations.insert(self.key(), change);
        }
        let operations = operations.into_iter().map(|(key, change)| v1::Operation {
            key,
            change: Some(change),
        });
        operations.collect()
    }

    fn drop_snapshot(&mut self) -> Call {
        match self.snapshot() {
            none if none.is_empty() => Call::TakeSnapshot,
            some => Call::DropSnapshot(some),
        }
    }

    fn item(&mut self, with_value: bool) -> Item {
        let key = self.key();
        if !with_value {
            return Item {
                key,
                ..Item::default()
            };
        }
        // This front takes no empty values.
        let value = [&self.value()[..], b"."].concat();
        crate::support::set_of(key, value)
    }
}

fn time(millis: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: (millis / 1000) as i64,
        nanos: (millis % 1000 * 1_000_000) as i32,
    }
}
