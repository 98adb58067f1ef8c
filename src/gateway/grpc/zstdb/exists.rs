//! Exists, and the JSON of its request and reply.

use super::errcode::text;
use super::{json, reply};
use crate::proto::zstdb::{Item, ItemReply};
use crate::service::{Head, Service};
use std::collections::BTreeMap;

/// The mode that asks for the length and the checksum.
const MODE_HEAD: i64 = 1;

/// Tells whether a key is there, without reading its value.
pub(super) async fn exists(service: &Service, item: Item) -> ItemReply {
    if item.key.is_empty() {
        return reply::data(answer(None, 0));
    }
    let mode = mode_of(&item.data);
    match service.head(&item.key).await {
        Ok(Some(head)) => ItemReply {
            ver64: head.version.0,
            sum64: if mode == MODE_HEAD { head.sum64 } else { 0 },
            ..reply::key_data(item.key, answer(Some(head), mode))
        },
        Ok(None) => ItemReply {
            data: answer(None, mode).into(),
            ..reply::failed(404, text::EXISTS_MISS, item.key)
        },
        Err(error) => reply::of_error(&error, item.key),
    }
}

/// The request's mode. zstdb reads a JSON object of 64-bit integers; whatever is not one has mode 0.
/// As in Go's decoder, `null` counts as 0 and the last of equal names wins.
fn mode_of(data: &[u8]) -> i64 {
    let members = serde_json::from_slice::<BTreeMap<String, Option<i64>>>(data);
    let members = members.unwrap_or_default();
    members.get("mode").copied().flatten().unwrap_or(0)
}

/// `{"exists":...,"length":...,"mode":...}`. The length is given where it was asked for.
fn answer(head: Option<Head>, mode: i64) -> String {
    let length = match &head {
        Some(head) if mode == MODE_HEAD => head.raw_len,
        _ => 0,
    };
    json::line(&BTreeMap::from([
        ("exists", i128::from(head.is_some())),
        ("length", i128::from(length)),
        ("mode", i128::from(mode)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Version;
    use bytes::Bytes;

    #[test]
    fn the_mode_is_read_as_zstdb_reads_it() {
        let cases = [
            ("", 0),
            (r#"{"mode": 0}"#, 0),
            (r#"{"mode": 1}"#, 1),
            (r#"{"mode": 2}"#, 2),
            (r#"{"mode": -1}"#, -1),
            (r#"{"mode":"1"}"#, 0),
            (r#"{"mode":1,"x":"y"}"#, 0),
            (r#"{"mode":1,"x":2}"#, 1),
            (r#"{"mode":1,"x":null}"#, 1),
            (r#"{"mode":1.0}"#, 0),
            (r#"{"mode":1.5}"#, 0),
            (r#"{"mode":1e0}"#, 0),
            (r#"{"MODE":1}"#, 0),
            ("not json", 0),
            ("null", 0),
            ("[]", 0),
            (r#"{"mode":null}"#, 0),
            (r#"{"mode":1,"mode":0}"#, 0),
            (r#"{"mode":0,"mode":1}"#, 1),
            (r#"{"mode":1} x"#, 0),
            ("{\"mode\":1}\n", 1),
            (r#"{"mode":99999999999999999999}"#, 0),
            (r#"{"mode":9223372036854775807}"#, i64::MAX),
            (r#"{"mode":9223372036854775808}"#, 0),
        ];
        for (data, mode) in cases {
            assert_eq!(mode_of(data.as_bytes()), mode, "{data}");
        }
        assert_eq!(mode_of(b"{\"mode\":1,\"\xff\":1}"), 0);
    }

    #[test]
    fn the_length_is_told_in_mode_1_only() {
        let head = Head {
            version: Version(7),
            raw_len: 28,
            sum64: 9,
            digest: None,
            expiry: None,
            attributes: Bytes::new(),
        };
        assert_eq!(
            answer(Some(head.clone()), 1),
            "{\"exists\":1,\"length\":28,\"mode\":1}\n"
        );
        assert_eq!(
            answer(Some(head), 2),
            "{\"exists\":1,\"length\":0,\"mode\":2}\n"
        );
        assert_eq!(answer(None, 1), "{\"exists\":0,\"length\":0,\"mode\":1}\n");
    }
}
