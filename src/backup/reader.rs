//! An archive read back: once to check every byte, and again, from the same open file, to use it.
//!
//! Both passes are the same walk and check the same things; the first drops the payloads as it goes,
//! so that it needs no more memory for a value of 1 GiB than for an empty one.

use super::archive::{
    ArchiveHeader, Counts, FOOTER_SIZE, FORMAT_VERSION, Footer, HEADER_SIZE, HeaderFault,
};
use super::entry::Entry;
use super::fault::{Fault, Result};
use super::file::{BackupFile, Cursor};
use super::frame::{BODY_SIZE_MAX, FRAME_HEAD_SIZE, FrameHead, frame_sum};
use crate::model::{self, Codec};
use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

/// What a verified archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// What it says of itself.
    pub header: ArchiveHeader,
    /// What is in it.
    pub counts: Counts,
    /// Bytes of its longest value, raw, as the archive says.
    pub raw_len_max: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Reads one archive.
#[derive(Debug)]
pub struct ArchiveReader {
    file: BackupFile,
    header: ArchiveHeader,
    salt: u64,
    footer: Footer,
    /// Offset of the footer.
    end: u64,
}

impl ArchiveReader {
    /// Reads both ends of the file: a cut, lengthened or unfinished one is refused here already.
    ///
    /// # Errors
    /// `Corrupt`, with the offset; `Invalid` for a newer format; what the file system answers.
    pub fn open(file: BackupFile) -> model::Result<Self> {
        let length = file.length();
        if length < (HEADER_SIZE + FOOTER_SIZE) as u64 {
            let fault = file.damaged(length, "it is shorter than an empty archive");
            return Err(fault.into());
        }
        let end = length - FOOTER_SIZE as u64;
        let mut cursor = file.cursor();
        let mut bytes = [0; HEADER_SIZE];
        cursor.read(&mut bytes)?;
        let (header, salt) = ArchiveHeader::decode(&bytes).map_err(|fault| match fault {
            HeaderFault::Damaged(what) => file.damaged(0, what),
            HeaderFault::Newer(found) => Fault::Newer {
                file: file.path().to_owned(),
                found,
                known: FORMAT_VERSION,
            },
        })?;
        let mut bytes = [0; FOOTER_SIZE];
        file.cursor_at(end).read(&mut bytes)?;
        let footer = Footer::decode(&bytes, salt).map_err(|what| file.damaged(end, what))?;
        if footer.length != length {
            let what = format!(
                "the footer ends an archive of {} bytes, the file has {length}",
                footer.length
            );
            return Err(file.damaged(end, what).into());
        }
        Ok(Self {
            file,
            header,
            salt,
            footer,
            end,
        })
    }

    /// What the archive says of itself.
    #[must_use]
    pub fn header(&self) -> &ArchiveHeader {
        &self.header
    }

    /// What the archive says it holds.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.footer.counts
    }

    /// Checks every byte of the file. `progress` hears of bytes done and bytes in all.
    ///
    /// # Errors
    /// `Corrupt`, with the offset; what the file system answers.
    pub fn verify(&mut self, progress: &mut dyn FnMut(u64, u64)) -> model::Result<ArchiveSummary> {
        let mut walk = Walk::new(self)?;
        let mut raw_len_max = 0;
        while let Some(entry) = walk.next(Keep::Nothing)? {
            // A value in chunks is never in memory as a whole.
            let value = entry.value().filter(|it| it.codec != Codec::Chunks);
            let raw_len = value.map_or(0, |value| value.info.raw_len);
            raw_len_max = raw_len_max.max(raw_len);
            progress(walk.cursor.position(), self.file.length());
        }
        progress(self.file.length(), self.file.length());
        Ok(ArchiveSummary {
            header: self.header,
            counts: walk.counts,
            raw_len_max,
            bytes: self.file.length(),
        })
    }

    /// The entries, from the first, checked again. What follows an error is the end.
    pub fn entries(&self) -> Entries<'_> {
        Entries {
            walk: Some(Walk::new(self)),
        }
    }

    /// The entry that begins at this offset, as [`Entries::position`] told it, checked again.
    ///
    /// # Errors
    /// `Corrupt`, with the offset, for damage and for an offset at which none begins; what the file
    /// system answers.
    pub fn entry_at(&self, position: u64) -> model::Result<Entry> {
        let mut walk = Walk::new(self)?;
        walk.cursor = self.file.cursor_at(position);
        let entry = walk.next(Keep::Payload)?;
        let none = || self.file.damaged(position, "no entry begins here");
        Ok(entry.ok_or_else(none)?)
    }
}

impl Entries<'_> {
    /// Where the next entry begins, in bytes; `None` at the end.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        let walk = self.walk.as_ref()?.as_ref();
        walk.ok().map(|walk| walk.cursor.position())
    }
}

/// The entries of an archive, in the order they were written.
pub struct Entries<'a> {
    /// `None` once the end was reached, or an error handed out.
    walk: Option<Result<Walk<'a>>>,
}

impl Iterator for Entries<'_> {
    type Item = model::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut walk = match self.walk.take()? {
            Ok(walk) => walk,
            Err(fault) => return Some(Err(fault.into())),
        };
        let next = walk.next(Keep::Payload).transpose()?;
        if next.is_ok() {
            self.walk = Some(Ok(walk));
        }
        Some(next.map_err(model::Error::from))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Payload,
    Nothing,
}

/// One pass over the frames.
struct Walk<'a> {
    archive: &'a ArchiveReader,
    cursor: Cursor<'a>,
    hash: Xxh3,
    counts: Counts,
    /// The part of a payload at hand that is checked and dropped.
    chunk: Vec<u8>,
}

impl<'a> Walk<'a> {
    const CHUNK_SIZE: usize = 1 << 20;

    fn new(archive: &'a ArchiveReader) -> Result<Self> {
        let mut walk = Self {
            archive,
            cursor: archive.file.cursor(),
            hash: Xxh3::with_seed(archive.salt),
            counts: Counts::default(),
            chunk: Vec::new(),
        };
        let mut header = [0; HEADER_SIZE];
        walk.read(&mut header)?;
        Ok(walk)
    }

    fn next(&mut self, keep: Keep) -> Result<Option<Entry>> {
        let position = self.cursor.position();
        if position == self.archive.end {
            return self.end().map(|()| None);
        }
        let (head, stored_sum, mut sum) = self.frame_head(position)?;
        let at = |what| self.archive.file.damaged(position, what);
        let length = u64::from(head.length);
        let left = self.archive.end - self.cursor.position();
        let fixed_size = head.kind.fixed_size();
        if length < fixed_size as u64 || length > BODY_SIZE_MAX || length > left {
            return Err(at("a frame's length cannot be"));
        }

        let mut front = vec![0; fixed_size];
        self.read(&mut front)?;
        let front_size = head.kind.front_size(&front, length).map_err(at)?;
        front.resize(front_size, 0);
        self.read(&mut front[fixed_size..])?;
        sum.update(&front);
        let payload_size = length - front_size as u64;
        let (payload, payload_sum) = self.payload(payload_size, keep, &mut sum)?;
        if sum.digest() != stored_sum {
            return Err(at("a frame's checksum does not match"));
        }
        let entry = Entry::decode((head.kind, head.namespace), &front, payload).map_err(at)?;
        self.check(&entry, payload_sum).map_err(at)?;
        self.counts.add(head.kind, payload_size);
        Ok(Some(entry))
    }

    fn frame_head(&mut self, position: u64) -> Result<(FrameHead, u64, Xxh3)> {
        let at = |what| self.archive.file.damaged(position, what);
        if self.archive.end - position < FRAME_HEAD_SIZE as u64 {
            return Err(at("what stands before the footer is no frame"));
        }
        let mut bytes = [0; FRAME_HEAD_SIZE];
        self.read(&mut bytes)?;
        let (head, stored_sum) = FrameHead::decode(&bytes).map_err(at)?;
        if head.position != position {
            return Err(at("a frame stands where it was not written"));
        }
        Ok((head, stored_sum, frame_sum(self.archive.salt, &bytes)))
    }

    /// Reads a payload into memory, or only through it, and sums it.
    fn payload(&mut self, size: u64, keep: Keep, sum: &mut Xxh3) -> Result<(Bytes, u64)> {
        let mut own_sum = Xxh3::new();
        let mut payload = Vec::new();
        let mut chunk = std::mem::take(&mut self.chunk);
        let mut left = size;
        if keep == Keep::Payload {
            payload.reserve_exact(usize::try_from(size).expect("a body's length is bounded"));
        }
        while left > 0 {
            let step =
                usize::try_from(left).map_or(Self::CHUNK_SIZE, |left| left.min(Self::CHUNK_SIZE));
            let part = match keep {
                Keep::Payload => {
                    let from = payload.len();
                    payload.resize(from + step, 0);
                    &mut payload[from..]
                }
                Keep::Nothing => {
                    chunk.resize(step, 0);
                    &mut chunk[..]
                }
            };
            self.read(part)?;
            sum.update(part);
            own_sum.update(part);
            left -= step as u64;
        }
        self.chunk = chunk;
        Ok((Bytes::from(payload), own_sum.digest()))
    }

    fn check(&self, entry: &Entry, payload_sum: u64) -> Result<(), &'static str> {
        let header = &self.archive.header;
        if let Some(version) = entry.version()
            && (version <= header.since || version > header.max)
        {
            return Err("an entry's version is outside of the archive's range");
        }
        match entry.value() {
            Some(value) if value.payload_sum != payload_sum => {
                Err("a payload does not match its checksum")
            }
            _ => Ok(()),
        }
    }

    fn end(&self) -> Result<()> {
        let (footer, at) = (&self.archive.footer, self.archive.end);
        if self.hash.digest128() != footer.hash {
            return Err(self
                .archive
                .file
                .damaged(at, "the hash of all before it does not match"));
        }
        if self.counts != footer.counts {
            return Err(self
                .archive
                .file
                .damaged(at, "the footer counts other entries"));
        }
        Ok(())
    }

    /// All bytes before the footer pass here, for the hash.
    fn read(&mut self, into: &mut [u8]) -> Result<()> {
        self.cursor.read(into)?;
        self.hash.update(into);
        Ok(())
    }
}
