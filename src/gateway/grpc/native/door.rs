//! What comes in, checked, with the field named.

use super::entry;
use crate::model::{
    Attributes, Condition, Digest, Error, KeyRange, Lifetime, Namespace, Result, TTL_MAX_MS,
    Timestamp, ValueType, Version,
};
use crate::proto::v1;
use crate::service::{PutRule, Requirement, Service};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A condition; one without a requirement is none.
pub(super) fn requirement(condition: Option<v1::Condition>) -> Result<Option<Requirement>> {
    use v1::condition::Requirement as Asked;
    let Some(asked) = condition.and_then(|condition| condition.requirement) else {
        return Ok(None);
    };
    let requirement = match asked {
        Asked::Absent(true) => Requirement::Record(Condition::Absent),
        Asked::Present(true) => Requirement::Record(Condition::Present),
        Asked::Absent(false) => return Err(not_false("condition.absent", "present")),
        Asked::Present(false) => return Err(not_false("condition.present", "absent")),
        Asked::Version(0) => {
            let message = "version is 0, which no key has: ask for absent instead";
            return Err(Error::invalid("VERSION_ZERO", message).at("condition.version"));
        }
        Asked::Version(version) => Requirement::Record(Condition::Version(Version(version))),
        Asked::Digest(digest) => Requirement::Digest(self::digest(&digest, "condition.digest")?),
    };
    Ok(Some(requirement))
}

fn not_false(field: &'static str, other: &str) -> Error {
    let message = format!("{field} is false: set it to true, or ask for {other}, or for nothing");
    Error::invalid("CONDITION_FALSE", message).at(field)
}

/// A digest that must be there.
pub(super) fn digest(bytes: &[u8], field: &'static str) -> Result<Digest> {
    let digest = <[u8; Digest::SIZE]>::try_from(bytes).map_err(|_| {
        let message = format!(
            "digest has {} bytes: a BLAKE3 digest has {}",
            bytes.len(),
            Digest::SIZE
        );
        Error::invalid("DIGEST_SIZE", message).at(field)
    })?;
    Ok(Digest(digest))
}

/// A digest that may be left out.
pub(super) fn optional_digest(bytes: &[u8], field: &'static str) -> Result<Option<Digest>> {
    match bytes {
        [] => Ok(None),
        bytes => digest(bytes, field).map(Some),
    }
}

/// What stands with a value.
pub(super) fn attributes(
    value_type: i32,
    metadata: BTreeMap<String, String>,
) -> Result<Attributes> {
    let all = ValueType::ALL.into_iter();
    let known = all
        .clone()
        .find(|it| i32::from(entry::value_type(*it)) == value_type);
    let known = known.ok_or_else(|| {
        let last = all.len() - 1;
        let message = format!("value_type is {value_type}: it needs 0 to {last}");
        Error::invalid("VALUE_TYPE_UNKNOWN", message).at("value_type")
    })?;
    Attributes::new(known, metadata)
}

/// How long a record stays that is made at `now`.
pub(super) fn lifetime(expiry: Option<v1::Expiry>, now: Timestamp) -> Result<Lifetime> {
    use v1::expiry::Expiry as Asked;
    match expiry.and_then(|expiry| expiry.expiry) {
        None => Ok(Lifetime::Forever),
        Some(Asked::Keep(true)) => Ok(Lifetime::Kept),
        Some(Asked::Keep(false)) => Err(not_false("expiry.keep", "ttl or expire_time")),
        Some(Asked::Ttl(ttl)) => {
            let ms = ttl_ms(ttl, "expiry.ttl")?;
            Ok(Lifetime::Until(Timestamp(now.0 + ms)))
        }
        Some(Asked::ExpireTime(at)) => {
            let beyond = if at.seconds < 0 { 0 } else { u64::MAX };
            let ms = millis(at.seconds, at.nanos).unwrap_or(beyond);
            let until = Lifetime::until(Timestamp(ms), now);
            until.map_err(|error| error.at("expiry.expire_time"))
        }
    }
}

/// How long the record of a put stays that is made at `now`: as its namespace says, where the put
/// does not.
pub(super) fn put_lifetime(
    expiry: Option<v1::Expiry>,
    namespace: &Namespace,
    now: Timestamp,
) -> Result<Lifetime> {
    match expiry {
        None => Ok(namespace.default_lifetime(now)),
        expiry => lifetime(expiry, now),
    }
}

/// What a put does about a record that is there.
pub(super) fn put_rule(condition: Option<v1::Condition>) -> Result<PutRule> {
    Ok(requirement(condition)?.map_or(PutRule::Free, PutRule::If))
}

/// Milliseconds that a key stays.
pub(super) fn ttl_ms(
    ttl: prost_types::Duration,
    field: impl Into<Cow<'static, str>>,
) -> Result<u64> {
    let ms = millis(ttl.seconds, ttl.nanos).filter(|ms| (1..=TTL_MAX_MS).contains(ms));
    ms.ok_or_else(|| {
        let message = format!(
            "ttl is {}.{:09} s: it needs 1 ms to 100 years",
            ttl.seconds, ttl.nanos
        );
        Error::invalid("TTL_RANGE", message).at(field)
    })
}

/// How long a snapshot is held without being renewed.
pub(super) fn lease(asked: Option<prost_types::Duration>) -> Result<Duration> {
    const LEASE: Span = Span {
        field: "lease",
        reason: "LEASE_RANGE",
        default: Duration::from_secs(60),
        range_ms: 1_000..=3_600_000,
        said: "1 s to 1 hour",
    };
    LEASE.of(asked)
}

/// How long a watch tells nothing at most.
pub(super) fn progress_interval(asked: Option<prost_types::Duration>) -> Result<Duration> {
    const INTERVAL: Span = Span {
        field: "progress_interval",
        reason: "PROGRESS_INTERVAL_RANGE",
        default: Duration::from_secs(10),
        range_ms: 100..=3_600_000,
        said: "100 ms to 1 hour",
    };
    INTERVAL.of(asked)
}

/// How long something that a request asks for may last.
struct Span {
    field: &'static str,
    reason: &'static str,
    default: Duration,
    range_ms: std::ops::RangeInclusive<u64>,
    said: &'static str,
}

impl Span {
    fn of(&self, asked: Option<prost_types::Duration>) -> Result<Duration> {
        let Some(asked) = asked else {
            return Ok(self.default);
        };
        let ms = millis(asked.seconds, asked.nanos).filter(|ms| self.range_ms.contains(ms));
        ms.map(Duration::from_millis).ok_or_else(|| {
            let Self {
                field,
                reason,
                said,
                ..
            } = self;
            let message = format!(
                "{field} is {}.{:09} s: it needs {said}",
                asked.seconds, asked.nanos
            );
            Error::invalid(reason, message).at(*field)
        })
    }
}

/// Milliseconds, rounded up, so that what is more than nothing stays so.
fn millis(seconds: i64, nanos: i32) -> Option<u64> {
    let nanos = u64::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    let seconds = u64::try_from(seconds).ok()?;
    seconds
        .checked_mul(1000)?
        .checked_add(nanos.div_ceil(1_000_000))
}

/// The keys that are in all parts of a selection.
pub(super) fn range(selection: Option<v1::KeySelection>) -> Result<KeyRange> {
    let v1::KeySelection {
        start_key,
        end_key,
        prefix,
    } = selection.unwrap_or_default();
    let range = KeyRange::select(start_key, end_key, &prefix);
    range.map_err(|error| error.inside("selection"))
}

/// How many of something a request may ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub field: &'static str,
    pub default: usize,
    pub max: usize,
}

impl Count {
    /// The count that was asked for, 0 for the default.
    pub(super) fn of(self, asked: i32) -> Result<usize> {
        match usize::try_from(asked) {
            Ok(0) => Ok(self.default),
            Ok(count) if count <= self.max => Ok(count),
            _ => {
                let Self { field, max, .. } = self;
                let message =
                    format!("{field} is {asked}: it needs 1 to {max}, or 0 for the default");
                Err(Error::invalid("COUNT_RANGE", message).at(field))
            }
        }
    }
}

/// The namespace that a request names.
pub(super) fn namespace(service: &Service, name: &str) -> Result<Arc<Namespace>> {
    service
        .namespace(name)
        .map_err(|error| error.at("namespace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn expiry(expiry: v1::expiry::Expiry) -> Result<Lifetime> {
        let expiry = v1::Expiry {
            expiry: Some(expiry),
        };
        lifetime(Some(expiry), NOW)
    }

    #[test]
    fn a_ttl_counts_from_now_and_is_never_nothing() {
        use v1::expiry::Expiry::Ttl;
        let ttl = |seconds, nanos| expiry(Ttl(prost_types::Duration { seconds, nanos }));
        assert_eq!(ttl(2, 0).unwrap(), Lifetime::Until(Timestamp(1_002_000)));
        assert_eq!(ttl(0, 1).unwrap(), Lifetime::Until(Timestamp(1_000_001)));
        for (seconds, nanos) in [(0, 0), (-1, 0), (0, -1), (i64::MAX, 0), (1, i32::MAX)] {
            let error = ttl(seconds, nanos).unwrap_err();
            assert_eq!(
                (error.reason(), error.field()),
                ("TTL_RANGE", Some("expiry.ttl"))
            );
        }
    }

    #[test]
    fn an_expire_time_lies_ahead() {
        use v1::expiry::Expiry::ExpireTime;
        let at = |seconds| expiry(ExpireTime(prost_types::Timestamp { seconds, nanos: 0 }));
        assert_eq!(at(1001).unwrap(), Lifetime::Until(Timestamp(1_001_000)));
        for seconds in [1000, 0, -5, i64::MAX] {
            assert_eq!(at(seconds).unwrap_err().reason(), "EXPIRE_TIME_RANGE");
        }
    }

    #[test]
    fn a_selection_is_what_lies_in_all_its_parts() {
        let select = |start: &'static str, end: &'static str, prefix: &'static str| {
            range(Some(v1::KeySelection {
                start_key: start.into(),
                end_key: end.into(),
                prefix: prefix.into(),
            }))
        };
        assert_eq!(select("", "", "").unwrap(), KeyRange::all());
        let both = select("ab", "az", "a").unwrap();
        assert!(both.contains(b"ab") && both.contains(b"ay") && !both.contains(b"az"));
        assert!(select("x", "", "a").unwrap().is_empty());
        assert!(select("b", "b", "").unwrap().is_empty());
        let error = select("b", "a", "").unwrap_err();
        assert_eq!(error.reason(), "RANGE_UPSIDE_DOWN");
        assert_eq!(error.field(), Some("selection.end_key"));
    }
}
