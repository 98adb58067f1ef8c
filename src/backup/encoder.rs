//! Entries to bytes, into any sink: the format without the file.

use super::archive::{ArchiveHeader, Counts, FOOTER_SIZE, Footer, HEADER_SIZE};
use super::entry::Entry;
use super::fault::{Fault, Result};
use super::frame::{BODY_SIZE_MAX, FRAME_HEAD_SIZE, FrameHead, FrameKind, SUM_AT, frame_sum};
use crate::model::{self, SealedValue};
use std::io::{self, Write};
use std::path::PathBuf;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Writes one archive into a sink. The same header, salt and entries give the same bytes.
///
/// A payload goes to the sink as it is, without a copy. It is checked against its own checksum on
/// the way, so that a damaged value is found by the backup and not by the restore.
pub struct ArchiveEncoder<W> {
    sink: W,
    /// For messages.
    file: PathBuf,
    header: ArchiveHeader,
    salt: u64,
    position: u64,
    hash: Xxh3,
    counts: Counts,
    /// Head and front of the frame at hand, kept to be filled again.
    scratch: Vec<u8>,
}

impl<W: Write> ArchiveEncoder<W> {
    /// Writes the header. `file` is the name for messages, `salt` keys all checksums of this file
    /// and is to be drawn at random.
    ///
    /// # Errors
    /// `Invalid` for a range that runs backwards; what the sink answers.
    pub fn new(sink: W, file: PathBuf, header: ArchiveHeader, salt: u64) -> model::Result<Self> {
        if header.since > header.max {
            return Err(model::Error::invalid(
                "BACKUP_RANGE",
                format!(
                    "backup range runs backwards: since={}, newest version={}",
                    header.since, header.max
                ),
            ));
        }
        let mut encoder = Self {
            sink,
            file,
            header,
            salt,
            position: 0,
            hash: Xxh3::with_seed(salt),
            counts: Counts::default(),
            scratch: Vec::new(),
        };
        let bytes: [u8; HEADER_SIZE] = header.encode(salt);
        encoder.hash.update(&bytes);
        encoder.put(&bytes)?;
        Ok(encoder)
    }

    /// Appends an entry. A blob comes before every reference to it, and once; what the archive's
    /// range does not hold is refused.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not match its checksum, `TooLarge`, `Internal` for a
    /// version outside of the range, `DiskFull`; what the sink answers. The archive is then to be
    /// dropped.
    pub fn write(&mut self, entry: &Entry) -> model::Result<()> {
        self.check(entry)?;
        let value = entry.value();
        let payload = value.map_or(&[][..], |value| &value.payload[..]);

        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.resize(FRAME_HEAD_SIZE, 0);
        entry.encode_front(&mut scratch);
        let front_size = scratch.len() - FRAME_HEAD_SIZE;
        let head = FrameHead {
            kind: entry.kind(),
            namespace: entry.namespace(),
            length: body_length(front_size, payload.len())?,
            position: self.position,
        }
        .encode();
        scratch[..FRAME_HEAD_SIZE].copy_from_slice(&head);
        let mut sum = frame_sum(self.salt, &head);
        sum.update(&scratch[FRAME_HEAD_SIZE..]);
        sum.update(payload);
        scratch[SUM_AT..FRAME_HEAD_SIZE].copy_from_slice(&sum.digest().to_le_bytes());

        self.hash.update(&scratch);
        self.hash.update(payload);
        self.put(&scratch)?;
        self.put(payload)?;
        self.scratch = scratch;
        self.counts.add(entry.kind(), payload.len() as u64);
        Ok(())
    }

    /// Bytes that went to the sink so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.position
    }

    /// Writes the footer, and hands back the sink and what the archive holds.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn finish(mut self) -> model::Result<(W, Counts, u64)> {
        let footer = Footer {
            counts: self.counts,
            length: self.position + FOOTER_SIZE as u64,
            hash: self.hash.digest128(),
        };
        self.put(&footer.encode(self.salt))?;
        self.sink
            .flush()
            .map_err(|source| self.sink_fault(source))?;
        Ok((self.sink, footer.counts, footer.length))
    }

    fn check(&self, entry: &Entry) -> Result<()> {
        let (since, max) = (self.header.since, self.header.max);
        if let Some(version) = entry.version()
            && (version <= since || version > max)
        {
            return Err(Fault::OutOfRange {
                version,
                since,
                max,
            });
        }
        match entry.value() {
            Some(value) if !payload_matches(value) => Err(Fault::Payload {
                what: match entry {
                    Entry::Value { key, .. } => format!("key \"{key}\""),
                    Entry::Blob { digest, .. } => format!("blob {digest}"),
                    Entry::Reference { .. } | Entry::Tombstone { .. } | Entry::Namespace(_) => {
                        String::new()
                    }
                },
            }),
            _ => Ok(()),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink
            .write_all(bytes)
            .map_err(|source| self.sink_fault(source))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn sink_fault(&self, source: io::Error) -> Fault {
        Fault::Io {
            action: "write backup",
            file: self.file.clone(),
            source,
        }
    }
}

impl Counts {
    pub(super) fn add(&mut self, kind: FrameKind, payload_size: u64) {
        let mut uncounted = 0;
        let count = match kind {
            FrameKind::Namespace => &mut uncounted,
            FrameKind::Blob => &mut self.blobs,
            FrameKind::Value => &mut self.values,
            FrameKind::Reference => &mut self.references,
            FrameKind::Tombstone => &mut self.tombstones,
        };
        *count += 1;
        self.payload_bytes += payload_size;
    }
}

fn payload_matches(value: &SealedValue) -> bool {
    xxh3_64(&value.payload) == value.payload_sum
}

fn body_length(front_size: usize, payload_size: usize) -> Result<u32> {
    let size = front_size as u64 + payload_size as u64;
    u32::try_from(size)
        .ok()
        .filter(|_| size <= BODY_SIZE_MAX)
        .ok_or(Fault::TooLarge {
            what: "an entry",
            size,
            max: BODY_SIZE_MAX,
        })
}
