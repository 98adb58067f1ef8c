//! Changes as they come out of a backup file: ours, or zstdb's.

use super::checked::Checked;
use super::merge::{Change, Place};
use crate::backup::{
    ArchiveReader, ArchiveSummary, BackupFile, Entry, Kind, Link, ZstdbReader, ZstdbRecord,
    ZstdbValue,
};
use crate::codec::{decode_attributes, digest_of, sum64_of, unfold};
use crate::model::{Error, Result, Timestamp, ValueInfo, Version};
use bytes::Bytes;

/// A backup that was read whole and found sound; its changes come from the same open file.
pub(super) enum Source {
    Own(ArchiveReader),
    /// With the longest value that is taken.
    Zstdb(ZstdbReader, u64),
}

/// What the whole file says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub link: Link,
    /// The highest version in it.
    pub highest: Version,
}

impl Source {
    /// Reads every byte. A value of more than `raw_len_max` bytes is refused before it is unfolded;
    /// `progress` is told bytes done and in all.
    pub fn judge(
        file: BackupFile,
        raw_len_max: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, Judged)> {
        match file.recognise()? {
            Kind::Own => {
                let mut reader = ArchiveReader::open(file)?;
                if reader.header().is_export() {
                    let message = "the file is an export, not a backup: take it in with `shardkeep import`, on a running server";
                    return Err(Error::invalid("BACKUP_IS_EXPORT", message));
                }
                let ArchiveSummary {
                    header,
                    raw_len_max: longest,
                    ..
                } = reader.verify(progress)?;
                if longest > raw_len_max {
                    return Err(too_large(longest, raw_len_max));
                }
                let judged = Judged {
                    link: header.link(),
                    highest: header.max,
                };
                Ok((Self::Own(reader), judged))
            }
            Kind::Zstdb => {
                let mut reader = ZstdbReader::open(file);
                let summary = reader.verify(
                    &mut |record| checked(record, raw_len_max).map(drop),
                    progress,
                )?;
                let judged = Judged {
                    link: summary.link(),
                    highest: summary.highest.max(summary.max),
                };
                Ok((Self::Zstdb(reader, raw_len_max), judged))
            }
        }
    }

    /// Hands out every change, until `take` has enough.
    pub fn changes(&mut self, now: Timestamp, take: &mut dyn FnMut(Change) -> bool) -> Result<()> {
        match self {
            Self::Own(reader) => {
                for entry in reader.entries() {
                    if !take(change_of(entry?)?) {
                        return Ok(());
                    }
                }
            }
            Self::Zstdb(reader, raw_len_max) => {
                for record in reader.entries() {
                    if !take(change_of_zstdb(record?, *raw_len_max, now)?) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Small files can hold values that unfold to more than the memory of the machine.
fn too_large(raw_len: u64, max: u64) -> Error {
    let message = format!(
        "the backup holds a value of {raw_len} bytes, max={max} (server.max_upload_size): raise it for the restore, or build a new directory with `shardkeep restore --data-dir`"
    );
    Error::too_large("BACKUP_VALUE_TOO_LARGE", message)
}

fn change_of(entry: Entry) -> Result<Change> {
    Ok(match entry {
        Entry::Namespace(namespace) => Change::Namespace(namespace),
        Entry::Blob { digest, value } => Change::Blob { digest, value },
        Entry::Value {
            key,
            version,
            expiry,
            attributes,
            value,
        } => Change::Sealed {
            at: Place {
                key,
                version,
                expiry,
                attributes: sound(attributes)?,
            },
            value,
        },
        Entry::Reference {
            key,
            version,
            expiry,
            attributes,
            digest,
            info,
        } => Change::Linked {
            at: Place {
                key,
                version,
                expiry,
                attributes: sound(attributes)?,
            },
            digest,
            info,
        },
        Entry::Tombstone { key, version } => Change::Deleted {
            at: Place {
                key,
                version,
                expiry: None,
                attributes: Bytes::new(),
            },
        },
    })
}

/// The attributes of an archive, if they are some: the archive itself does not look into them.
fn sound(attributes: Bytes) -> Result<Bytes> {
    match decode_attributes(&attributes) {
        Ok(_) => Ok(attributes),
        Err(error) => {
            let message = format!("what stands with a value in the backup cannot be read: {error}");
            Err(Error::corrupt("BACKUP_DAMAGED", message))
        }
    }
}

/// An expired record is a delete.
fn change_of_zstdb(record: ZstdbRecord, raw_len_max: u64, now: Timestamp) -> Result<Change> {
    let value = checked(&record, raw_len_max)?;
    let ZstdbRecord {
        key,
        version,
        expiry,
        ..
    } = record;
    let at = Place {
        key,
        version,
        expiry,
        attributes: Bytes::new(),
    };
    Ok(
        match value.filter(|_| expiry.is_none_or(|expiry| expiry > now)) {
            Some(value) => Change::Raw { at, value },
            None => Change::Deleted { at },
        },
    )
}

/// The raw value of a record; zstd's own checksum is the only one that zstdb's files have.
fn checked(record: &ZstdbRecord, raw_len_max: u64) -> Result<Option<Checked>> {
    let Some(value) = &record.value else {
        return Ok(None);
    };
    if let Some(raw_len) = value.raw_len.filter(|raw_len| *raw_len > raw_len_max) {
        return Err(too_large(raw_len, raw_len_max));
    }
    let data = raw_of(value, raw_len_max).map_err(|what| {
        let message = format!(
            "the backup's value of key {} at version {} is damaged: {what}",
            record.key, record.version
        );
        Error::corrupt("BACKUP_DAMAGED", message)
    })?;
    let info = ValueInfo {
        raw_len: data.len() as u64,
        sum64: sum64_of(&data),
    };
    let digest = Some(digest_of(&data));
    Ok(Some(Checked {
        data,
        info,
        digest,
        compress: true,
    }))
}

fn raw_of(value: &ZstdbValue, raw_len_max: u64) -> Result<Bytes, String> {
    let raw_len_max = value.raw_len_max.min(raw_len_max);
    let data = unfold(&value.payload, raw_len_max).map_err(|error| error.to_string())?;
    match value.raw_len {
        Some(raw_len) if raw_len != data.len() as u64 => {
            Err(format!("{} bytes instead of {raw_len}", data.len()))
        }
        _ => Ok(data),
    }
}
