//! Reads answers: the protocol's codes into errors, its JSON and strings into values.

use super::{ClientError, Result, sum64};
use crate::model::{StatusReport, Version};
use crate::proto::zstdb::ItemReply;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// A value that arrived whole.
#[derive(Debug, Clone)]
pub struct Found {
    /// The version of its record.
    pub version: Version,
    /// xxh64 of the value, verified.
    pub sum64: u64,
    /// The value.
    pub data: Bytes,
}

/// What is known of a value without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The version of its record.
    pub version: Version,
    /// Bytes of the value.
    pub len: u64,
    /// xxh64 of the value.
    pub sum64: u64,
}

/// One key of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// The version of its record.
    pub version: Version,
}

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Keys in the store.
    pub key_count: u64,
    /// The highest version.
    pub max_version: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Bytes of the index on disk.
    pub index_bytes: u64,
}

impl Stats {
    /// Bytes of log and index on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.log_bytes + self.index_bytes
    }
}

/// Passes answers with code 0 and turns the others into errors.
pub(super) fn accept(
    call: &'static str,
    address: &str,
    key: &[u8],
    reply: ItemReply,
) -> Result<ItemReply> {
    if reply.errcode == 0 {
        return Ok(reply);
    }
    let address = address.to_owned();
    let message = words(&reply);
    Err(match reply.errcode {
        403 => ClientError::Denied {
            call,
            address,
            message,
        },
        404 => ClientError::not_found(key),
        501 if message.contains("sum64") => ClientError::damaged(
            key,
            format!("{message}: it changed on its way to {address}"),
        ),
        // The protocol has one code for every failure: damage is told by its words only.
        500 if message.contains("damaged") => ClientError::damaged(key, message),
        501 => ClientError::Refused {
            call,
            address,
            message,
        },
        _ => ClientError::Server {
            call,
            address,
            message,
        },
    })
}

/// What the server says in `status`; some failures say it in `data` instead.
fn words(reply: &ItemReply) -> String {
    let said = [&reply.status, &reply.data]
        .into_iter()
        .find(|words| !words.is_empty());
    said.map_or_else(
        || format!("error code {}", reply.errcode),
        |words| String::from_utf8_lossy(words).trim().to_owned(),
    )
}

/// The value of an accepted Get, if it is the one that was stored.
pub(super) fn verified(key: &[u8], reply: ItemReply) -> Result<Found> {
    let found = sum64(&reply.data);
    if found != reply.sum64 {
        let message = format!(
            "its checksum is {found:016x}, stored was {:016x}",
            reply.sum64
        );
        return Err(ClientError::damaged(key, message));
    }
    Ok(Found {
        version: Version(reply.ver64),
        sum64: reply.sum64,
        data: reply.data,
    })
}

/// The answer of Exists in mode 1.
pub(super) fn head(address: &str, reply: &ItemReply) -> Result<Option<Head>> {
    #[derive(Deserialize)]
    struct Answer {
        exists: u8,
        length: u64,
    }
    let answer: Answer =
        serde_json::from_slice(&reply.data).map_err(|error| ClientError::Answer {
            call: "exists",
            address: address.to_owned(),
            cause: error.to_string(),
        })?;
    Ok((answer.exists != 0).then_some(Head {
        version: Version(reply.ver64),
        len: answer.length,
        sum64: reply.sum64,
    }))
}

/// `key:version`; the key may hold colons itself.
pub(super) fn listed(address: &str, line: &str) -> Result<Listed> {
    let parts = line.rsplit_once(':');
    let parsed = parts.and_then(|(key, version)| Some((key, version.parse().ok()?)));
    let (key, version) = parsed.ok_or_else(|| ClientError::Answer {
        call: "list",
        address: address.to_owned(),
        cause: format!("expected key:version, found {line:?}"),
    })?;
    Ok(Listed {
        key: key.to_owned(),
        version: Version(version),
    })
}

/// A decimal number, which the protocol writes as text.
pub(super) fn number(call: &'static str, address: &str, text: &[u8]) -> Result<u64> {
    let number = std::str::from_utf8(text).ok();
    let number = number.and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| ClientError::Answer {
        call,
        address: address.to_owned(),
        cause: format!("expected a number, found \"{}\"", text.escape_ascii()),
    })
}

/// The answer of Status: JSON whose members are strings, but for `details`, which are there when they
/// were asked for and the server knows them.
pub(super) fn stats(address: &str, data: &[u8]) -> Result<(Stats, Option<StatusReport>)> {
    let unread = |error: serde_json::Error| ClientError::Answer {
        call: "status",
        address: address.to_owned(),
        cause: error.to_string(),
    };
    let mut members: HashMap<String, Value> = serde_json::from_slice(data).map_err(unread)?;
    let details = members.remove("details").map(serde_json::from_value);
    let details = details.transpose().map_err(unread)?;
    let member = |name: &str| {
        let text = members.get(name).and_then(Value::as_str).unwrap_or("");
        number("status", address, text.as_bytes())
    };
    let stats = Stats {
        key_count: member("key_count")?,
        max_version: member("max_version")?,
        log_bytes: member("vlog_size")?,
        index_bytes: member("lsm_size")?,
    };
    Ok((stats, details))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(errcode: i32, status: &'static str) -> ItemReply {
        ItemReply {
            errcode,
            status: Bytes::from_static(status.as_bytes()),
            ..ItemReply::default()
        }
    }

    #[test]
    fn each_code_says_what_to_do_next() {
        let error = |reply| accept("set", "s:1", b"k", reply).expect_err("not code 0");
        assert!(matches!(
            error(reply(403, "no")),
            ClientError::Denied { .. }
        ));
        assert!(matches!(
            error(reply(404, "Not Found")),
            ClientError::NotFound { .. }
        ));
        assert!(matches!(
            error(reply(501, "disabled")),
            ClientError::Refused { .. }
        ));
        assert!(matches!(
            error(reply(501, "data sum64 does not match")),
            ClientError::Damaged { .. }
        ));
        assert!(matches!(error(reply(500, "?")), ClientError::Server { .. }));
        assert!(accept("set", "s:1", b"k", reply(0, "")).is_ok());
    }

    #[test]
    fn a_value_that_does_not_fit_its_checksum_is_never_returned() {
        let mut answer = reply(0, "");
        answer.data = Bytes::from_static(b"value");
        answer.sum64 = sum64(b"value");
        assert_eq!(verified(b"k", answer.clone()).expect("fits").data, "value");
        answer.data = Bytes::from_static(b"valuE");
        let error = verified(b"k", answer).expect_err("one bit off");
        assert!(matches!(error, ClientError::Damaged { .. }));
    }

    #[test]
    fn a_listed_key_may_hold_colons() {
        let listed = listed("s:1", "a:b:7").expect("a listing line");
        assert_eq!((listed.key.as_str(), listed.version), ("a:b", Version(7)));
        assert!(super::listed("s:1", "no version").is_err());
    }

    #[test]
    fn stats_are_read_from_strings() {
        let text = br#"{"key_count":"2","lsm_size":"10","max_version":"3","vlog_size":"90"}"#;
        let (told, details) = stats("s:1", text).expect("stats");
        assert_eq!((told.key_count, told.disk_bytes(), details), (2, 100, None));
    }
}
