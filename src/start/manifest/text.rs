//! `MANIFEST` as text: one JSON object for people, and under it a line with the XXH3-64 of its
//! bytes, `xxh3 0123456789abcdef`.

use super::{FORMAT, Manifest, slot_table};
use crate::backup::{ChainId, Link, Origin, Progress};
use crate::codec::payload_sum;
use crate::model::{StoreId, Version};
use crate::service::UnfinishedMerge;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What every format, older or newer, begins its object with.
#[derive(Deserialize)]
struct AnyFormat {
    format: u64,
}

/// Format 1, field by field as it is spelled.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatOne {
    format: u64,
    store: String,
    slots: Vec<String>,
    shards_made: bool,
    chain: String,
    chain_floor: u64,
    restored: Vec<Restored>,
    merging: Option<Merging>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Restored {
    origin: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Merging {
    archive: PathBuf,
    size: u64,
    origin: String,
    since: u64,
    max: u64,
    horizon: u64,
    into_empty: bool,
}

/// Why a text is no manifest of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TextFault {
    /// Of a format that this program does not know.
    Format(u64),
    /// Not what was written.
    Damaged(String),
}

/// Writes a manifest.
///
/// # Errors
/// When the path of an archive is not UTF-8.
pub(super) fn format(manifest: &Manifest) -> Result<String, serde_json::Error> {
    let body = FormatOne {
        format: FORMAT,
        store: manifest.store.to_string(),
        slots: slot_table::format_rows(&manifest.homes),
        shards_made: manifest.shards_made,
        chain: manifest.chain.to_string(),
        chain_floor: manifest.chain_floor.0,
        restored: manifest.restored.iter().map(restored).collect(),
        merging: manifest.merging.as_ref().map(merging),
    };
    let mut text = serde_json::to_string_pretty(&body)?;
    text.push('\n');
    let sum = payload_sum(text.as_bytes());
    text.push_str(&format!("xxh3 {sum:016x}\n"));
    Ok(text)
}

/// Reads a manifest.
pub(super) fn parse(text: &str) -> Result<Manifest, TextFault> {
    // The format first: only it says how the rest is to be read and checked.
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<AnyFormat>();
    match values.next() {
        Some(Ok(AnyFormat { format })) if format != FORMAT => {
            return Err(TextFault::Format(format));
        }
        _ => {}
    }
    let body = checked_body(text).map_err(|what| TextFault::Damaged(what.to_owned()))?;
    let body: FormatOne =
        serde_json::from_str(body).map_err(|error| TextFault::Damaged(error.to_string()))?;
    manifest(body).map_err(TextFault::Damaged)
}

/// The text before the line with the checksum.
fn checked_body(text: &str) -> Result<&str, &'static str> {
    let (body, line) = text
        .strip_suffix('\n')
        .and_then(|text| text.rfind('\n').map(|at| text.split_at(at + 1)))
        .ok_or("it is cut off")?;
    let sum = line
        .strip_prefix("xxh3 ")
        .ok_or("its last line is not its checksum (xxh3)")?;
    if sum != format!("{:016x}", payload_sum(body.as_bytes())) {
        return Err("its checksum (xxh3) does not match");
    }
    Ok(body)
}

fn restored(progress: &Progress) -> Restored {
    Restored {
        origin: format_origin(progress.origin),
        version: progress.version.0,
    }
}

fn merging(merge: &UnfinishedMerge) -> Merging {
    Merging {
        archive: merge.archive.clone(),
        size: merge.size,
        origin: format_origin(merge.link.origin),
        since: merge.link.since.0,
        max: merge.link.max.0,
        horizon: merge.link.horizon.0,
        into_empty: merge.into_empty,
    }
}

fn manifest(body: FormatOne) -> Result<Manifest, String> {
    let progress = |it: Restored| {
        Ok::<_, String>(Progress {
            origin: parse_origin(&it.origin)?,
            version: Version(it.version),
        })
    };
    Ok(Manifest {
        store: StoreId(parse_id(&body.store)?),
        homes: slot_table::parse_rows(&body.slots)?,
        shards_made: body.shards_made,
        chain: ChainId(parse_id(&body.chain)?),
        chain_floor: Version(body.chain_floor),
        restored: body
            .restored
            .into_iter()
            .map(progress)
            .collect::<Result<_, _>>()?,
        merging: body.merging.map(merge).transpose()?,
    })
}

fn merge(it: Merging) -> Result<UnfinishedMerge, String> {
    Ok(UnfinishedMerge {
        archive: it.archive,
        size: it.size,
        link: Link {
            origin: parse_origin(&it.origin)?,
            since: Version(it.since),
            max: Version(it.max),
            horizon: Version(it.horizon),
        },
        into_empty: it.into_empty,
    })
}

fn format_origin(origin: Origin) -> String {
    match origin {
        Origin::Chain(chain) => chain.to_string(),
        Origin::Zstdb => "zstdb".to_owned(),
    }
}

fn parse_origin(text: &str) -> Result<Origin, String> {
    match text {
        "zstdb" => Ok(Origin::Zstdb),
        chain => parse_id(chain).map(|chain| Origin::Chain(ChainId(chain))),
    }
}

fn parse_id(text: &str) -> Result<u128, String> {
    u128::from_str_radix(text, 16).map_err(|_| format!("not an id in hex digits: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Homes;

    fn example() -> Manifest {
        Manifest {
            store: StoreId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            homes: Homes::even(4),
            shards_made: true,
            chain: ChainId(7),
            chain_floor: Version(u64::MAX),
            restored: vec![
                Progress {
                    origin: Origin::Zstdb,
                    version: Version(24),
                },
                Progress {
                    origin: Origin::Chain(ChainId(u128::MAX)),
                    version: Version(1),
                },
            ],
            merging: Some(UnfinishedMerge {
                archive: "/backups/daily_[24-27].zstdb.bak".into(),
                size: 12_345,
                link: Link {
                    origin: Origin::Zstdb,
                    since: Version(24),
                    max: Version(27),
                    horizon: Version(0),
                },
                into_empty: false,
            }),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = format(&example()).unwrap();
        assert_eq!(parse(&text), Ok(example()), "{text}");
    }

    #[test]
    fn format_one_is_spelled_like_this() {
        let mut manifest = example();
        manifest.restored.truncate(1);
        manifest.merging = None;
        insta::assert_snapshot!(format(&manifest).unwrap(), @r#"
        {
          "format": 1,
          "store": "0123456789abcdef0123456789abcdef",
          "slots": [
            "0-1023: 0 1 2 3"
          ],
          "shards_made": true,
          "chain": "00000000000000000000000000000007",
          "chain_floor": 18446744073709551615,
          "restored": [
            {
              "origin": "zstdb",
              "version": 24
            }
          ],
          "merging": null
        }
        xxh3 78155fa24acb9151
        "#);
    }

    #[test]
    fn a_change_of_any_byte_is_found() {
        let text = format(&example()).unwrap().into_bytes();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(parse(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_cut_at_any_byte_is_found() {
        let text = format(&example()).unwrap();
        for len in 0..text.len() {
            let cut = parse(&text[..len]);
            assert!(matches!(cut, Err(TextFault::Damaged(_))), "{len}: {cut:?}");
        }
    }

    #[test]
    fn another_format_is_known_whatever_else_it_holds() {
        for (text, format) in [
            ("{\"format\": 2, \"shape\": []}\nblake3 00\n", 2),
            ("{\"format\": 0}", 0),
        ] {
            assert_eq!(parse(text), Err(TextFault::Format(format)));
        }
    }
}
